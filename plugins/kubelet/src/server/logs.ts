/** Reads and follows a container's log file: tail from the end, since, limits, rotation. */
import { watch } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { parseCriLine } from "./log-lines.ts";

export interface LogOptions {
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly tailLines?: number;
  /** Unix milliseconds. */
  readonly since?: number;
  readonly limitBytes?: number;
  /** Only this stream. */
  readonly stream?: "stdout" | "stderr";
}

export interface LogSource {
  readonly path: string;
  /** Whether the container may still write. */
  running(): boolean;
  /** Calls `fn` when that may have changed; returns the unsubscribe function. */
  onChange(fn: () => void): () => void;
}

const BLOCK = 64 * 1024;
const NEWLINE = 10;

/** Writes the log to `write` (which resolves when the reader wants more) until its end, the limit or the signal. */
export async function streamLog(
  source: LogSource, options: LogOptions, write: (text: string) => Promise<void>, signal: AbortSignal,
): Promise<void> {
  let file: FileHandle | undefined = await open(source.path, "r");
  const format = formatter(options);
  const change = changes(source, signal);
  try {
    const { size } = await file.stat();
    // Who does not follow gets what was there when he asked: of a busy log the last line, and not those that came since.
    const end = options.follow ? Number.POSITIVE_INFINITY : size;
    let offset = options.tailLines === undefined ? 0 : await tailOffset(file, options.tailLines, size);
    let rest = "";
    for (;;) {
      // Asked before the read, so that what was written before the end is read.
      const more = options.follow && source.running();
      const read = await readFrom(file, offset, end);
      offset = read.offset;
      const lines = (rest + read.text).split("\n");
      rest = lines.pop()!;
      const { text, full } = format(lines);
      if (text) await write(text);
      if (full || signal.aborted) return;
      if (read.text) continue;
      if (!options.follow) return;
      const next = await rotated(file, source.path);
      if (next) {
        await file.close();
        file = next;
        offset = 0;
      } else if (!more) return;
      else await change.next();
      if (signal.aborted) return;
    }
  } finally {
    change.stop();
    await file?.close();
  }
}

async function readFrom(file: FileHandle, offset: number, limit: number): Promise<{ text: string; offset: number }> {
  const chunk = Buffer.allocUnsafe(BLOCK);
  const { bytesRead } = await file.read(chunk, 0, Math.min(BLOCK, limit - offset), offset);
  const part = chunk.subarray(0, bytesRead);
  // A character that is cut in two is left for the next read.
  const end = bytesRead === BLOCK ? part.lastIndexOf(NEWLINE) + 1 || bytesRead : bytesRead;
  return { text: part.subarray(0, end).toString("utf8"), offset: offset + end };
}

/** Byte offset at which the last `lines` lines begin, found from the end. */
async function tailOffset(file: FileHandle, lines: number, size: number): Promise<number> {
  if (lines <= 0) return size;
  let found = 0;
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - BLOCK);
    const { buffer } = await file.read(Buffer.allocUnsafe(end - start), 0, end - start, start);
    for (let i = buffer.length - 1; i >= 0; i--) {
      if (buffer[i] !== NEWLINE || start + i === size - 1) continue;
      if (++found === lines) return start + i + 1;
    }
    end = start;
  }
  return 0;
}

/** The file that took this one's place, if it was rotated away. */
async function rotated(file: FileHandle, path: string): Promise<FileHandle | undefined> {
  const next = await open(path, "r").catch(() => undefined);
  if (!next) return undefined;
  const [now, then] = await Promise.all([next.stat(), file.stat()]);
  if (now.ino !== then.ino) return next;
  await next.close();
  return undefined;
}

type Format = (lines: readonly string[]) => { text: string; full: boolean };

function formatter({ timestamps, since, limitBytes, stream }: LogOptions): Format {
  let left = limitBytes ?? Infinity;
  let newLine = true;
  return (lines) => {
    let text = "";
    for (const raw of lines) {
      const line = parseCriLine(raw);
      if (!line || (stream && line.stream !== stream)) continue;
      if (since !== undefined && Date.parse(line.time) < since) continue;
      text += (timestamps && newLine ? `${line.time} ` : "") + line.content + (line.partial ? "" : "\n");
      newLine = !line.partial;
    }
    if (left === Infinity) return { text, full: false };
    const bytes = Buffer.from(text);
    const taken = bytes.subarray(0, left);
    left -= taken.length;
    return { text: taken.toString("utf8"), full: left <= 0 };
  };
}

/** Wakes when the file or the container changes, or the reader leaves; changes between two waits are not lost. */
function changes(source: LogSource, signal: AbortSignal): { next(): Promise<void>; stop(): void } {
  let pending = false;
  let wake: (() => void) | undefined;
  const changed = (): void => {
    pending = true;
    wake?.();
  };
  const name = basename(source.path);
  const watcher = watch(dirname(source.path), (_event, file) => {
    if (file === null || file === name) changed();
  });
  watcher.on("error", changed);
  const unsubscribe = source.onChange(changed);
  signal.addEventListener("abort", changed, { once: true });
  return {
    async next() {
      if (!pending) await new Promise<void>((resolve) => (wake = resolve));
      pending = false;
      wake = undefined;
    },
    stop() {
      watcher.close();
      unsubscribe();
      signal.removeEventListener("abort", changed);
    },
  };
}
