/** Who this machine is to the server that it joins: a password, so that no other takes its name, and an id for names that others have too. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { k3spError, makeFolder, replaceFileDurably } from "@k3s-p/plugin-api";

/** As K3s; not below the data directory, which may be emptied while the server still knows the node. */
export const nodeFolder = "/etc/rancher/node";

export const nodePassword = (folder: string): Promise<string> => kept(join(folder, "password"), 16);
export const nodeId = (folder: string): Promise<string> => kept(join(folder, "id"), 4);

/** What the file holds; random bytes, as hex, are put there first where there is none. */
async function kept(path: string, bytes: number): Promise<string> {
  try {
    const found = (await readFile(path, "utf8").catch(noneYet)).trim();
    if (found) return found;
    const fresh = randomBytes(bytes).toString("hex");
    await makeFolder(dirname(path), 0o755);
    await replaceFileDurably(path, `${fresh}\n`);
    return fresh;
  } catch (cause) {
    throw k3spError("K3SP_PERMISSION_DENIED", { message: `${path} cannot be read or written`, cause });
  }
}

function noneYet(error: NodeJS.ErrnoException): string {
  if (error.code === "ENOENT") return "";
  throw error;
}
