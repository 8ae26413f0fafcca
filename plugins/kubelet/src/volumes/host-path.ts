/** The checks of `hostPath.type`. */
import { stat, writeFile } from "node:fs/promises";
import type { Stats } from "node:fs";
import { dirname } from "node:path";
import { makeFolder } from "@k3s-p/plugin-api";

interface TypeRule {
  readonly noun: string;
  readonly is: (info: Stats) => boolean;
}

const rules: Readonly<Record<string, TypeRule>> = {
  Directory: { noun: "directory", is: (i) => i.isDirectory() },
  File: { noun: "file", is: (i) => i.isFile() },
  Socket: { noun: "socket", is: (i) => i.isSocket() },
  CharDevice: { noun: "character device", is: (i) => i.isCharacterDevice() },
  BlockDevice: { noun: "block device", is: (i) => i.isBlockDevice() },
};

/** Makes or checks the path as its type says; rejects with upstream's message. */
export async function checkHostPath(path: string, type = ""): Promise<void> {
  if (type === "") return;
  const present = await stat(path).catch(() => undefined);
  if (type === "DirectoryOrCreate" && !present) await makeFolder(path, 0o755);
  if (type === "FileOrCreate" && !present) {
    await makeFolder(dirname(path), 0o755);
    await writeFile(path, "", { mode: 0o644, flag: "a" });
  }
  const rule = rules[type.replace("OrCreate", "")];
  if (!rule) throw new Error(`hostPath type check failed: ${path} is not a ${type}`);
  const info = await stat(path).catch(() => undefined);
  if (!info || !rule.is(info)) throw new Error(`hostPath type check failed: ${path} is not a ${rule.noun}`);
}
