/** How much a folder or a file system holds, asked in a way that a slow disk or a dead server cannot hold up others. */
import { readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";

export interface FolderUsage {
  readonly bytes: number;
  readonly inodes: number;
}

/** What lies below the folder, without what it links to. */
export async function folderUsage(folder: string): Promise<FolderUsage> {
  let [bytes, inodes] = [0, 1];
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])) {
    inodes++;
    if (entry.isFile()) bytes += await stat(join(entry.parentPath, entry.name)).then((s) => s.blocks * 512, () => 0);
  }
  return { bytes, inodes };
}

export interface Space {
  readonly freePercent: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly usedBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
}

export async function spaceOf(path: string): Promise<Space> {
  const fs = await statfs(path);
  const totalBytes = fs.blocks * fs.bsize;
  const freeBytes = fs.bavail * fs.bsize;
  return {
    totalBytes, freeBytes, usedBytes: (fs.blocks - fs.bfree) * fs.bsize, freePercent: totalBytes ? (100 * freeBytes) / totalBytes : 100,
    inodes: fs.files, inodesFree: fs.ffree,
  };
}

/** Longest wait for an answer, milliseconds: a server of NFS that is gone gives none. */
const PATIENCE = 1000;

export interface Remembered<T> {
  /** Undefined when there is no answer, now or from before. */
  of(path: string): Promise<T | undefined>;
}

/** Answers stay good for `ttl` ms. A path is never asked twice at a time, and one that is slow gives its last answer. */
export function remember<T>(read: (path: string) => Promise<T>, ttl: number, now: () => number): Remembered<T> {
  const known = new Map<string, { at: number; value: T | undefined; asking: Promise<T | undefined> | undefined }>();

  function ask(path: string): Promise<T | undefined> {
    const entry = known.get(path) ?? { at: -Infinity, value: undefined, asking: undefined };
    known.set(path, entry);
    entry.asking ??= read(path).then((value) => (entry.value = value), () => (entry.value = undefined)).finally(() => {
      entry.at = now();
      entry.asking = undefined;
    });
    return entry.asking;
  }
  /** Paths of volumes that are long gone. */
  function forgetOld(): void {
    for (const [path, { at, asking }] of known) if (!asking && now() - at > 10 * Math.max(ttl, 60_000)) known.delete(path);
  }

  return {
    async of(path) {
      const entry = known.get(path);
      if (entry && !entry.asking && now() - entry.at < ttl) return entry.value;
      forgetOld();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<T | undefined>((resolve) => (timer = setTimeout(() => resolve(entry?.value), PATIENCE)));
      return Promise.race([ask(path), late]).finally(() => clearTimeout(timer));
    },
  };
}
