/** The audit log's file: lines are appended in order, and a full file is put aside under its time. */
import { createWriteStream, openSync, readdirSync, renameSync, rmSync, statSync, type WriteStream } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { makeFolder } from "@k3s-p/plugin-api";

export interface LineSink {
  write(line: string): void;
  close(): Promise<void>;
}

export interface FileOptions {
  /** `-` is the standard output. */
  readonly path: string;
  /** Bytes after which the file is put aside; default upstream's 100 MB. */
  readonly maxSize?: number;
  /** Files put aside that are kept; 0 = all. */
  readonly maxBackups?: number;
  readonly now?: () => Date;
  readonly onError?: (error: unknown) => void;
}

const MAX_SIZE = 100 * 1024 * 1024;

export async function openLog(options: FileOptions): Promise<LineSink> {
  const { path, maxSize = MAX_SIZE, onError = () => {} } = options;
  if (path === "-") return { write: (line) => void process.stdout.write(`${line}\n`), close: async () => {} };
  await makeFolder(dirname(path), 0o700);
  let size = sizeOf(path);
  let stream = open(path, onError);
  return {
    write(line) {
      if (stream.writableEnded) return;
      const text = `${line}\n`;
      size += Buffer.byteLength(text);
      stream.write(text);
      if (size < maxSize) return;
      stream.end();
      putAside(options);
      size = 0;
      stream = open(path, onError);
    },
    close: () => new Promise((resolve) => stream.end(resolve)),
  };
}

function open(path: string, onError: (error: unknown) => void): WriteStream {
  // Opened at once: the stream keeps to its file, whatever name that has later.
  return createWriteStream(path, { fd: openSync(path, "a", 0o600) }).on("error", onError);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** `audit.log` becomes `audit-2026-01-02T03-04-05.006.log`; what is open goes on writing to it. */
function putAside({ path, maxBackups = 0, now = () => new Date() }: FileOptions): void {
  const extension = extname(path);
  const stem = basename(path, extension);
  const time = now().toISOString().replace(/Z$/, "").replaceAll(":", "-");
  renameSync(path, join(dirname(path), `${stem}-${time}${extension}`));
  if (maxBackups === 0) return;
  const old = readdirSync(dirname(path)).filter((name) => name.startsWith(`${stem}-`) && name.endsWith(extension)).sort();
  for (const name of old.slice(0, Math.max(0, old.length - maxBackups))) rmSync(join(dirname(path), name), { force: true });
}
