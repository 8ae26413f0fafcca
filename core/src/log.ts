/** pino loggers that carry the plugin's id: readable lines on a terminal, JSON otherwise. */
import { pino, stdTimeFunctions } from "pino";
import type { Logger } from "@k3s-p/plugin-api";

const levels: Readonly<Record<number, string>> = { 10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARN", 50: "ERROR", 60: "FATAL" };
const hidden = new Set(["level", "time", "plugin", "msg", "err"]);

/** `now  INFO  apiserver  listening on ... key=value` */
export function readable(line: string): string {
  const record = JSON.parse(line) as Record<string, unknown> & { level: number; err?: { stack?: string; message?: string } };
  const fields = Object.entries(record)
    .filter(([key]) => !hidden.has(key))
    .map(([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const cause = record.err ? `\n    ${record.err.stack ?? record.err.message}` : "";
  return `${String(record.time)} ${levels[record.level]!.padEnd(5)} ${String(record.plugin ?? "kernel").padEnd(18)} ${String(record.msg ?? "")}${fields.join("")}${cause}\n`;
}

export function createLogger(options: { readonly debug?: boolean; readonly pretty?: boolean } = {}): (plugin: string) => Logger {
  const { debug = false, pretty = process.stderr.isTTY === true } = options;
  // Synchronous writes: the last lines before an exit are the ones that matter.
  const destination = { write: (line: string) => void process.stderr.write(pretty ? readable(line) : line) };
  const root = pino({ level: debug ? "debug" : "info", base: null, timestamp: stdTimeFunctions.isoTime }, destination);
  return (plugin) => root.child({ plugin }) as Logger;
}
