/** What a plugin's process prints becomes lines of its log, at a bounded rate. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Logger } from "@k3s-p/plugin-api";

/** Lines that a plugin may write to its log in one second; more are counted and dropped. */
const linesPerSecond = 200;

export function limitLog(log: Logger): Logger {
  let second = 0;
  let count = 0;
  const at = (level: keyof Logger) => (first: string | object, message?: string): void => {
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) {
      if (count > linesPerSecond) log.warn(`${count - linesPerSecond} lines were dropped: at most ${linesPerSecond} a second are kept`);
      second = now;
      count = 0;
    }
    if (++count <= linesPerSecond) (log[level] as (a: string | object, b?: string) => void)(first, message);
  };
  return { trace: at("trace"), debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") } as Logger;
}

/** Returns the last lines, which say why a process ended. `taken` deals with a line itself where it returns true. */
export function forwardOutput(child: ChildProcess, log: Logger, taken: (line: string) => boolean = () => false): () => readonly string[] {
  const last: string[] = [];
  const write = (level: "info" | "warn") => (line: string): void => {
    if (taken(line)) return;
    if (last.push(line) > 20) last.shift();
    log[level](line);
  };
  createInterface({ input: child.stdout! }).on("line", write("info"));
  createInterface({ input: child.stderr! }).on("line", write("warn"));
  return () => last;
}
