/** For plugin tests: the program of an `exec` plugin as a plain child process, where no kernel supervises it. */
import { createInterface } from "node:readline";
import { spawn } from "node:child_process";
import { appendFileSync } from "node:fs";
import type { PluginContext } from "./plugin.ts";
import { untilListens } from "./socket.ts";

/** Told as a failure when it ends by itself; ended by `ctx.defer`. */
export function localProgram(command: string, ctx: Pick<PluginContext, "defer" | "fail" | "log">): PluginContext["program"] {
  return async ({ args = [], env = {}, ready, logFile } = {}) => {
    const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    const over = new AbortController();
    const up = Promise.withResolvers<void>();
    let stopped = false;
    const write = (line: string): void => {
      if (logFile === undefined) ctx.log.info(line);
      else appendFileSync(logFile, `${line}\n`);
      if (typeof ready === "string" && line.includes(ready)) up.resolve();
    };
    for (const input of [child.stdout, child.stderr]) createInterface({ input }).on("line", write);
    const ended = new Promise<Error>((resolve) => {
      child.on("error", resolve);
      child.on("close", (code, signal) => resolve(new Error(`${command} ended: ${code ?? signal}`)));
    });
    void ended.then((error) => {
      over.abort(error);
      up.reject(error);
      if (!stopped) ctx.fail(error);
    });
    ctx.defer(async () => {
      stopped = true;
      child.kill();
      const kill = setTimeout(() => child.kill("SIGKILL"), 5000);
      await ended;
      clearTimeout(kill);
    });
    if (ready === undefined) up.resolve();
    else if (typeof ready === "object") void untilListens(ready.socket, over.signal).then(up.resolve, up.reject);
    await up.promise;
    return { pid: child.pid! };
  };
}
