/** Environment variables from a file that an earlier container wrote into an emptyDir (`fileKeyRef`, KEP-3721). */
import { constants } from "node:fs";
import { open, readlink, realpath } from "node:fs/promises";
import { join } from "node:path";

/**
 * Value of a key in a file of lines `KEY='value'`; undefined when it is not there. What stands between the quotes is
 * taken as it is, line breaks included; blank lines and `# comments` are passed over.
 */
export function envFileValue(text: string, key: string): string | undefined {
  const entry = /(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*(?:([^=\s'#][^=\s']*)[ \t]*=[ \t]*'([^']*)'[ \t]*(?:#[^\n]*)?(?:\r?\n|$)|(?:#[^\n]*)?$)/y;
  while (entry.lastIndex < text.length) {
    const from = entry.lastIndex;
    const match = entry.exec(text);
    if (!match) throw new Error(`invalid environment variable format at line ${lineOf(text, from)}: want KEY='value'`);
    if (match[1] === key) return match[2]!;
    if (match[1] === undefined) return undefined;
  }
  return undefined;
}

/** Line of the first entry after `from`. */
function lineOf(text: string, from: number): number {
  const skipped = /^(?:[ \t]*(?:#[^\n]*)?\r?\n)*/.exec(text.slice(from))![0].length;
  return text.slice(0, from + skipped).split("\n").length;
}

/** The file below the volume's folder, undefined when there is none; links that lead out of the volume are refused. */
export async function readVolumeFile(volume: string, path: string): Promise<string | undefined> {
  const root = await realpath(volume);
  const handle = await open(join(root, path), constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  });
  if (!handle) return undefined;
  try {
    const real = await readlink(`/proc/self/fd/${handle.fd}`);
    if (!real.startsWith(`${root}/`)) throw new Error(`file "${path}" not within volume path "${root}"`);
    if (!(await handle.stat()).isFile()) throw new Error(`"${path}" is not a file`);
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}
