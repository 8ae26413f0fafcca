/** Keeps each plugin's last log lines in memory for `k3s-p plugin logs`, and hands new ones to followers. */
import type { Logger } from "@k3s-p/plugin-api";

export interface LogLine {
  readonly time: string;
  readonly level: string;
  readonly message: string;
}

export interface LogBook {
  /** Like the logger maker that it wraps. */
  readonly log: (plugin: string) => Logger;
  last(plugin: string): readonly LogLine[];
  follow(plugin: string, fn: (line: LogLine) => void): () => void;
}

const kept = 200;
const levels = ["trace", "debug", "info", "warn", "error"] as const;

export function createLogBook(inner: (plugin: string) => Logger, now: () => Date = () => new Date()): LogBook {
  const books = new Map<string, LogLine[]>();
  const followers = new Map<string, Set<(line: LogLine) => void>>();

  function write(plugin: string, line: LogLine): void {
    const lines = books.get(plugin) ?? [];
    books.set(plugin, lines);
    lines.push(line);
    if (lines.length > kept) lines.shift();
    for (const fn of followers.get(plugin) ?? []) fn(line);
  }

  return {
    log(plugin) {
      const logger = inner(plugin);
      const entries = levels.map((level) => [level, (first: string | object, message?: string) => {
        (logger[level] as (a: string | object, b?: string) => void)(first, message);
        // What the level of the server leaves out of its output is left out here too.
        if (level === "info" || level === "warn" || level === "error") write(plugin, { time: now().toISOString(), level, message: textOf(first, message) });
      }]);
      return Object.fromEntries(entries) as unknown as Logger;
    },
    last: (plugin) => books.get(plugin) ?? [],
    follow(plugin, fn) {
      const set = followers.get(plugin) ?? new Set();
      followers.set(plugin, set.add(fn));
      return () => void set.delete(fn);
    },
  };
}

function textOf(first: string | object, message = ""): string {
  if (typeof first === "string") return first;
  const { err, ...fields } = first as { err?: { message?: string } } & Record<string, unknown>;
  const words = Object.entries(fields).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return [message, ...words, ...(err?.message ? [err.message] : [])].filter(Boolean).join(" ");
}
