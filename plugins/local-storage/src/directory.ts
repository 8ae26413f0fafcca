/** The folders behind volumes: made and removed below known roots only, never through a symlink. */
import { chmod, lstat, mkdir, realpath, rm } from "node:fs/promises";
import { dirname, relative, resolve, sep } from "node:path";
import { makeFolder } from "@k3s-p/plugin-api";

/** A path that must not be touched; trying again would not help. */
export class RefusedPath extends Error {
  override readonly name = "RefusedPath";
}

/** Makes `path` (mode 0777) below `root`; its parent becomes 0700, so that only root and pods reach the volume. */
export async function makeDirectory(root: string, path: string): Promise<void> {
  assertBelow(root, path);
  await makeFolder(root, 0o700);
  await refuseSymlinks(root, path);
  await mkdir(path, { recursive: true, mode: 0o777 });
  await chmod(path, 0o777);
  await chmod(dirname(path), 0o700);
}

/** Removes `path` and what is in it; fine when it is gone already. Symlinks inside are removed, not followed. */
export async function removeDirectory(roots: readonly string[], path: string): Promise<void> {
  const root = roots.find((candidate) => isBelow(candidate, path));
  if (root === undefined) throw new RefusedPath(`${path} is not below a storage path (${roots.join(", ")})`);
  await refuseSymlinks(root, path);
  await rm(path, { recursive: true, force: true });
}

export function isBelow(root: string, path: string): boolean {
  const rest = relative(resolve(root), resolve(path));
  return rest !== "" && rest !== ".." && !rest.startsWith(`..${sep}`) && resolve(path) === path.replace(/\/+$/, "");
}

function assertBelow(root: string, path: string): void {
  if (!isBelow(root, path)) throw new RefusedPath(`${path} is not below the storage path ${root}`);
}

/** The root itself may be reached through a symlink (an operator's choice); nothing below it may be one. */
async function refuseSymlinks(root: string, path: string): Promise<void> {
  let current = await realpath(root).catch(() => resolve(root));
  for (const part of relative(resolve(root), resolve(path)).split(sep)) {
    current = `${current}${sep}${part}`;
    const stat = await lstat(current).catch(() => undefined);
    if (!stat) return;
    if (!stat.isDirectory()) throw new RefusedPath(`${current} is not a directory`);
  }
}
