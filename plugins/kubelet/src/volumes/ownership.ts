/** Ownership by fsGroup: the group of every file, readable (and writable) by it, with setgid folders. */
import { chmod, chown, lchown, lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";

const KEEP_OWNER = -1 >>> 0;

export interface FsGroup {
  readonly gid: number;
  readonly readOnly: boolean;
  /** `fsGroupChangePolicy: OnRootMismatch`: leave the tree alone when its root is right. */
  readonly onRootMismatch: boolean;
}

export async function applyFsGroup(root: string, group: FsGroup): Promise<void> {
  if (group.onRootMismatch && (await isRight(root, group))) return;
  await applyTree(root, group);
}

/** The group of one folder alone, whose contents are written with theirs. */
export async function ownFolder(path: string, gid: number): Promise<void> {
  const info = await stat(path);
  if (info.gid === gid && (info.mode & 0o2000) !== 0) return;
  await chown(path, KEEP_OWNER, gid);
  await chmod(path, (info.mode & 0o7777) | 0o2550);
}

const bits = (group: FsGroup, directory: boolean): number =>
  (group.readOnly ? 0o440 : 0o660) | (directory ? 0o2110 : 0);

async function isRight(root: string, group: FsGroup): Promise<boolean> {
  const info = await stat(root);
  const wanted = bits(group, true);
  return info.gid === group.gid && (info.mode & wanted) === wanted;
}

async function applyTree(path: string, group: FsGroup): Promise<void> {
  const info = await lstat(path);
  if (info.isSymbolicLink()) return lchown(path, KEEP_OWNER, group.gid);
  if (info.isDirectory()) {
    for (const name of await readdir(path)) await applyTree(join(path, name), group);
  }
  await chown(path, KEEP_OWNER, group.gid);
  await chmod(path, (info.mode & 0o7777) | bits(group, info.isDirectory()));
}
