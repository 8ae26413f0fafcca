/** Writes files that readers find whole: the old content or the new one, never half of it. */
import { chmod, rename, rm, writeFile } from "node:fs/promises";

let serial = 0;

/** Replaces the file in one step; its folder must exist. A write that fails leaves the old file, and nothing beside it. The mode is `mode`, whatever the umask. */
export async function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const fresh = `${path}.${process.pid}-${++serial}.tmp`;
  try {
    await writeFile(fresh, content, { mode });
    await chmod(fresh, mode);
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}
