/** A part of the configuration that is read from files, and again when they change; a wrong change leaves it as it was. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { messageOf } from "@k3s-p/plugin-api";
import { followFiles } from "../server/files.ts";
import { counter, gauge } from "../server/metric-families.ts";

export interface ReloadReport {
  /** Names this server in metrics. */
  readonly server: string;
  readonly info: (message: string) => void;
  readonly error: (message: string) => void;
}

export interface Reloaded<T> {
  current(): T;
  /** Under upstream's names. */
  metrics(): string;
  close(): void;
}

export interface ReloadOptions<T> extends ReloadReport {
  readonly what: "authentication" | "authorization";
  /** Adds to the set every file that it reads. */
  readonly read: (files: Set<string>) => Promise<T>;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Rejects when the first reading does. */
export async function reloadable<T>({ what, read, now, ...report }: ReloadOptions<T>): Promise<Reloaded<T>> {
  const figures = createFigures(what, report.server, now);
  const files = new Set<string>();
  let value = await read(files);
  let hash = await hashOf(files);
  let stop = follow();
  let closed = false;
  let last: Promise<void> = Promise.resolve();
  figures.uses(hash);

  function follow(): () => void {
    if (files.size === 0) return () => {};
    return followFiles([...files], {
      onChange: () => void (last = last.then(reload)),
      onError: (error) => report.error(`changes of the ${what} configuration count at the next start only: ${messageOf(error)}`),
    });
  }

  async function reload(): Promise<void> {
    const before = files.size;
    const seen = await hashOf(files);
    if (closed || seen === hash) return;
    hash = seen;
    try {
      const next = await read(files);
      hash = await hashOf(files);
      value = next;
      figures.reloaded("success");
      figures.uses(hash);
      report.info(`the ${what} configuration was reloaded`);
    } catch (error) {
      figures.reloaded("failure");
      report.error(`the ${what} configuration stays as it was: ${messageOf(error)}`);
    }
    if (closed || files.size === before) return;
    stop();
    stop = follow();
  }

  return {
    current: () => value,
    metrics: figures.render,
    close() {
      closed = true;
      stop();
    },
  };
}

function createFigures(what: string, server: string, now: () => number) {
  const own = { apiserver_id_hash: `sha256:${createHash("sha256").update(server).digest("hex")}` };
  const prefix = `apiserver_${what}_config_controller`;
  const reloads = counter(`${prefix}_automatic_reloads_total`, `Total number of automatic reloads of ${what} configuration split by status and apiserver identity.`);
  const times = gauge(`${prefix}_automatic_reload_last_timestamp_seconds`, `Timestamp of the last automatic reload of ${what} configuration split by status and apiserver identity.`);
  const info = gauge(`${prefix}_last_config_info`, "Information about the last applied configuration with hash as label, split by apiserver identity.");
  return {
    reloaded(status: "success" | "failure"): void {
      reloads.add({ ...own, status });
      times.set({ ...own, status }, now() / 1000);
    },
    uses(hash: string): void {
      info.clear();
      if (hash) info.set({ ...own, hash }, 1);
    },
    render: () => reloads.render() + times.render() + info.render(),
  };
}

/** Of what is in the files, those that are not there included; empty without files. */
async function hashOf(files: ReadonlySet<string>): Promise<string> {
  if (files.size === 0) return "";
  const texts = await Promise.all([...files].map((file) => readFile(file).catch((error: NodeJS.ErrnoException) => String(error.code))));
  const hash = createHash("sha256");
  for (const text of texts) hash.update(text);
  return `sha256:${hash.digest("hex")}`;
}
