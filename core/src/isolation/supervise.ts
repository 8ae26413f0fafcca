/** A program that belongs to a plugin: its output goes to the plugin's log, its end is noticed, its stop has a limit. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { createInterface } from "node:readline";
import { k3spError, type K3spError, type Logger } from "@k3s-p/plugin-api";
import { pidOf } from "../kernel/hosts/host.ts";
import type { Manifest } from "../kernel/manifest.ts";
import { limitLog } from "./child-output.ts";
import { confine } from "./confine.ts";
import { openLogFile, type LogFile } from "./log-file.ts";

export interface SuperviseOptions {
  readonly manifest: Manifest;
  readonly log: Logger;
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Each line of its output; true = it is dealt with and not logged. */
  readonly onLine: (line: string) => boolean;
  /** Gets its output in place of the log. */
  readonly logFile?: string | undefined;
}

export interface Supervised {
  readonly pid: number | undefined;
  /** Resolves when the program has ended, for whatever reason. */
  readonly ended: Promise<K3spError>;
  /** What is wrong with it, with the last lines of its output. */
  failure(why: string): K3spError;
  /** SIGTERM, and SIGKILL five seconds later. */
  stop(): Promise<void>;
  /** SIGKILL, for what does not answer. */
  kill(): void;
}

/**
 * Scripts in JavaScript and TypeScript run under the server's own Node, everything else by itself; none with more
 * rights than declared. It is a child of the server and not of the runner: the fork costs 5 ms at a start, and its end
 * must be told apart from the runner's.
 */
export function supervise({ manifest, log, args = [], env, onLine, logFile }: SuperviseOptions): Supervised {
  const [command = "", ...rest] = confine(manifest, args);
  const { PATH = "" } = process.env;
  const file = logFile === undefined ? undefined : openLogFile(logFile, log);
  const child = spawn(command, rest, {
    env: { PATH, ...env }, cwd: manifest.dir, stdio: ["pipe", "pipe", "pipe"],
    // A group of its own, so that what it starts ends with it.
    detached: true,
  });
  const signal = (name: "SIGTERM" | "SIGKILL"): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      // It has ended.
    }
  };
  const last = keepOutput(child, onLine, file, log);
  const failure = (why: string): K3spError => k3spError("K3SP_PLUGIN_CRASHED", {
    message: `${manifest.id} failed: ${why}`, detail: last, plugin: manifest.id, ...(logFile !== undefined && { fix: `see ${logFile}` }),
  });
  const ended = new Promise<K3spError>((resolve) => {
    child.on("error", (error) => resolve(failure(error.message)));
    child.on("exit", () => signal("SIGKILL"));
    child.on("close", (code, signal) => resolve(failure(signal ? `its process was ended by ${signal}` : `its process ended with exit code ${code}`)));
  });
  return {
    get pid() { return pidOf(child); },
    ended,
    failure,
    kill: () => signal("SIGKILL"),
    async stop() {
      signal("SIGTERM");
      const kill = setTimeout(() => signal("SIGKILL"), 5000);
      await ended;
      clearTimeout(kill);
    },
  };
}

/** Lines that `onLine` does not deal with go to the file, or else to the log at a bounded rate. Returns the last ones, kept current. */
function keepOutput(child: ChildProcessWithoutNullStreams, onLine: SuperviseOptions["onLine"], file: LogFile | undefined, log: Logger): readonly string[] {
  const calm = limitLog(log);
  const last: string[] = [];
  const read = (level: "info" | "warn") => (line: string): void => {
    if (onLine(line)) return;
    if (last.push(line) > 5) last.shift();
    if (file) file.write(line);
    else calm[level](line);
  };
  createInterface({ input: child.stdout }).on("line", read("info"));
  createInterface({ input: child.stderr }).on("line", read("warn"));
  child.on("close", () => file?.close());
  return last;
}
