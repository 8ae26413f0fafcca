/** Who this machine is to its cluster: a password, so that no other takes its name, and an id for names that others have too. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { k3spError, makeFolder, replaceFileDurably } from "@k3s-p/plugin-api";
import type { Settings } from "../config/load.ts";
import { nodeInfo } from "../node/identity.ts";

/** As K3s; not below the data directory, which may be emptied while the server still knows the node. */
export const nodeFolder = "/etc/rancher/node";

export const nodePassword = (folder: string): Promise<string> => kept(join(folder, "password"), 16);

/** `--with-node-id`: the name is this one from here on. */
export async function withNodeId(settings: Settings, folder: string): Promise<Settings> {
  const asked = settings.values.get("with-node-id");
  if (asked?.value !== true) return settings;
  const name = `${nodeInfo(settings, []).name}-${await kept(join(folder, "id"), 4)}`;
  return { ...settings, values: new Map([...settings.values, ["node-name", { value: name, source: asked.source }]]) };
}

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
