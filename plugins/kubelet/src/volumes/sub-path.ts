/**
 * `subPath` of a volume, safe against symlinks that lead out of it: the path is opened, the opened file is checked
 * to lie in the volume, and that very file is bind-mounted where no container can change it.
 */
import { chmod, lstat, mkdir, open, readlink, realpath, writeFile } from "node:fs/promises";
import { constants } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import type { Mounter } from "./mounts.ts";

export interface SubPathRequest {
  /** Host path of the volume. */
  readonly volume: string;
  readonly subPath: string;
  /** Where the bind mount goes, below the pod's `volume-subpaths`. */
  readonly target: string;
  /** A subPath that is missing is made as a folder, unless the volume is read-only. */
  readonly create: boolean;
}

export async function prepareSubPath(request: SubPathRequest, mounts: Mounter): Promise<string> {
  const { volume, subPath, target, create } = request;
  if (isAbsolute(subPath)) throw new Error(`error SubPath \`${subPath}\` must not be an absolute path`);
  if (subPath.split("/").includes("..")) throw new Error(`unable to provision SubPath \`${subPath}\`: must not contain '..'`);
  const root = await realpath(volume);
  if (create) await makeFolder(root, subPath);
  const handle = await open(join(root, subPath), constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const source = `/proc/${process.pid}/fd/${handle.fd}`;
    const real = await readlink(source);
    if (real !== root && !real.startsWith(`${root}/`)) throw new Error(`subpath "${subPath}" not within volume path "${root}"`);
    await makeTarget(target, (await handle.stat()).isDirectory());
    await mounts.bind(source, target);
    return target;
  } finally {
    await handle.close();
  }
}

/** Makes the missing folders of a subPath, each with the volume's own mode, never through a symlink that leaves it. */
async function makeFolder(root: string, subPath: string): Promise<void> {
  const mode = (await lstat(root)).mode & 0o7777;
  let folder = root;
  for (const part of subPath.split("/").filter(Boolean)) {
    const next = join(folder, part);
    const real = await realpath(next).catch(() => undefined);
    if (real === undefined) {
      await mkdir(next);
      await chmod(next, mode);
      folder = next;
    } else {
      if (real !== root && !real.startsWith(`${root}/`)) throw new Error(`subpath "${subPath}" not within volume path "${root}"`);
      folder = real;
    }
  }
}

async function makeTarget(target: string, directory: boolean): Promise<void> {
  await mkdir(directory ? target : dirname(target), { recursive: true, mode: 0o750 });
  if (!directory) await writeFile(target, "", { flag: "a", mode: 0o640 });
}
