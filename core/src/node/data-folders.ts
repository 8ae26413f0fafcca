/** Makes the folders of the data directory, and finds out before anything starts whether its owner can keep its state there. */
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { k3spError, makeFolder, type Role } from "@k3s-p/plugin-api";
import type { Paths } from "@k3s-p/plugin-api/slots";

/** What a new server writes before it is ready, roughly: keys, certificates and an empty database. */
const FIRST_BYTES = 256 * 1024;

export async function makeDataFolders({ dataDir, server, agent }: Paths, role: Role): Promise<void> {
  const [folder, mode] = role === "server" ? [server, 0o700] : [agent];
  try {
    await makeFolder(dataDir);
    await makeFolder(folder, mode);
    tryWriting(folder);
  } catch (cause) {
    const { code = "" } = cause as NodeJS.ErrnoException;
    throw k3spError("K3SP_PERMISSION_DENIED", {
      message: `data-dir: ${dataDir} cannot be made or written${reasons[code] ?? (isOther(dataDir) ? ": it is not a folder" : "")}`, cause,
      fix: code === "ENOSPC" || code === "EDQUOT" ? "make room on the disk, or name a folder on another one with --data-dir" : "name a folder that this user may write with --data-dir",
    });
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: ": its file system takes no folders",
  ENOSPC: ": the disk is full",
  EDQUOT: ": the quota is used up",
  EROFS: ": the file system is read-only",
};

const isOther = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === false;

function tryWriting(folder: string): void {
  const probe = join(folder, `.probe-${process.pid}`);
  try {
    writeFileSync(probe, Buffer.alloc(FIRST_BYTES));
  } finally {
    rmSync(probe, { force: true });
  }
}
