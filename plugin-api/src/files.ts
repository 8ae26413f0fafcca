/** Writes files that readers find whole: the old content or the new one, never half of it. */
import { chmod, mkdir, open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";

let serial = 0;

/** Replaces the file in one step; its folder must exist. A write that fails leaves the old file, and nothing beside it. The mode is `mode`, whatever the umask. */
export const replaceFile = (path: string, content: string | Uint8Array, mode = 0o600): Promise<void> => replace(path, content, mode, async () => {});

/** As `replaceFile`, and a power cut after it takes nothing away: for what cannot be made again, as it costs two writes to the disk. */
export async function replaceFileDurably(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await replace(path, content, mode, (file) => file.sync());
  const folder = await open(dirname(path));
  await folder.sync().finally(() => folder.close());
}

async function replace(path: string, content: string | Uint8Array, mode: number, sync: (file: FileHandle) => Promise<void>): Promise<void> {
  const fresh = `${path}.${process.pid}-${++serial}.tmp`;
  try {
    const file = await open(fresh, "w", mode);
    try {
      await file.writeFile(content);
      // By its path: Node's permission flags, under which plugins run, allow it only so.
      await chmod(fresh, mode);
      await sync(file);
    } finally {
      await file.close();
    }
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}

/**
 * Makes the folder and those above it that are missing; only the last one gets `mode`. For paths that users choose:
 * below `/proc`, where nothing can be made, the `recursive` of Node's mkdir never ends, and this rejects.
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  try {
    return await makeOne(path, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) throw error;
    await makeFolder(dirname(path));
  }
  await makeOne(path, mode);
}

async function makeOne(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST" || !(await stat(path)).isDirectory()) throw error;
  }
}
