/**
 * Writes a set of files so that a reader sees all of the old or all of the new: a timestamped folder, then the
 * symlink `..data` swapped by rename. The layout is upstream's; images and sidecars rely on `..data`.
 */
import { chmod, chown, lstat, mkdir, mkdtemp, readFile, readdir, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

export interface FileProjection {
  readonly data: Uint8Array;
  readonly mode: number;
  /** Owner of the file, when it is to be another than root. */
  readonly uid?: number;
}

export type Payload = ReadonlyMap<string, FileProjection>;

const DATA = "..data";

/** Returns whether anything changed. `gid` becomes the group of every file (fsGroup). */
export async function writeAtomically(target: string, payload: Payload, gid?: number, now: () => Date = () => new Date()): Promise<boolean> {
  for (const path of payload.keys()) validatePath(path);
  const old = await readlink(join(target, DATA)).catch(() => undefined);
  if (old !== undefined && (await isCurrent(join(target, old), payload))) return false;
  const stamp = now().toISOString().slice(0, 19).replaceAll(/[-:]/g, "_").replace("T", "_");
  const folder = await mkdtemp(join(target, `..${stamp}.`));
  await chmod(folder, 0o755);
  for (const [path, file] of payload) await writeOne(folder, path, file, gid);
  if (gid !== undefined) await chown(folder, -1 >>> 0, gid).catch(() => {});
  const name = folder.slice(target.length + 1);
  await symlink(name, join(target, `${DATA}_tmp`));
  await rename(join(target, `${DATA}_tmp`), join(target, DATA));
  await linkVisible(target, payload);
  if (old !== undefined) await rm(join(target, old), { recursive: true, force: true });
  return true;
}

function validatePath(path: string): void {
  const bad = path === "" || path.startsWith("/") || path.split("/").includes("..") || path.startsWith("..");
  if (bad) throw new Error(`invalid path in volume: "${path}"`);
}

async function isCurrent(folder: string, payload: Payload): Promise<boolean> {
  const present = await filesBelow(folder);
  if (present.length !== payload.size) return false;
  for (const [path, file] of payload) {
    const stored = await readFile(join(folder, path)).catch(() => undefined);
    if (!stored || Buffer.compare(stored, file.data) !== 0) return false;
    if (((await lstat(join(folder, path))).mode & 0o7777) !== file.mode) return false;
  }
  return true;
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  return entries.filter((e) => !e.isDirectory()).map((e) => join(e.parentPath, e.name));
}

async function writeOne(folder: string, path: string, file: FileProjection, gid: number | undefined): Promise<void> {
  const full = join(folder, path);
  await mkdir(dirname(full), { recursive: true, mode: 0o755 });
  await writeFile(full, file.data);
  await chmod(full, file.mode);
  if (gid !== undefined || file.uid !== undefined) await chown(full, file.uid ?? 0, gid ?? 0);
}

/** First path segments as symlinks into `..data`; those that are gone are removed. */
async function linkVisible(target: string, payload: Payload): Promise<void> {
  const wanted = new Set([...payload.keys()].map((path) => path.split("/")[0]!));
  for (const name of await readdir(target)) {
    if (!name.startsWith("..") && !wanted.has(name)) await rm(join(target, name), { recursive: true, force: true });
  }
  for (const name of wanted) {
    const present = await readlink(join(target, name)).catch(() => undefined);
    if (present !== join(DATA, name)) await symlink(join(DATA, name), join(target, name));
  }
}
