/** How a `cni` plugin puts its network in place: the configuration list and the programs that it names. */
import { mkdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { replaceFile } from "../files.ts";
import type { CniConfList } from "../slots/node.ts";
import type { Runtime } from "../slots/runtime.ts";

export interface CniInstall {
  readonly confList: CniConfList;
  /** `10-flannel.conflist`; the runtime uses the first file in alphabetical order. */
  readonly fileName: string;
  /** Absolute paths of CNI programs of the plugin's own, copied beside the distribution's. */
  readonly binaries?: readonly string[];
}

/** What `installCni` uses of a plugin's context. */
export interface CniContext {
  readonly needs: { readonly runtime: Pick<Runtime, "cni"> };
  defer(undo: () => void | Promise<void>): void;
}

/** Names of the lists that plugins installed, one a line. The runtime reads only .conf, .conflist and .json. */
const recordName = ".installed";

/**
 * Writes the list atomically into the runtime's configuration folder, and copies the programs. A list that another
 * plugin left behind (the server was killed, then started with another network) is removed; files that no plugin
 * wrote stay. On stop both are taken back: running pods keep their links and addresses.
 */
export async function installCni(ctx: CniContext, install: CniInstall): Promise<void> {
  const { confDir, binDir } = ctx.needs.runtime.cni;
  await Promise.all([mkdir(confDir, { recursive: true }), mkdir(binDir, { recursive: true })]);
  for (const program of install.binaries ?? []) {
    const copy = join(binDir, basename(program));
    ctx.defer(() => rm(copy, { force: true }));
    await replaceFile(copy, await readFile(program), 0o755);
  }
  const record = join(confDir, recordName);
  const stale = (await readIfThere(record)).split("\n").filter((name) => name && name !== install.fileName);
  await replaceFile(record, `${install.fileName}\n`);
  const path = join(confDir, install.fileName);
  ctx.defer(() => rm(path, { force: true }));
  await replaceFile(path, `${JSON.stringify(install.confList, null, 2)}\n`);
  await Promise.all(stale.map((name) => rm(join(confDir, basename(name)), { force: true })));
}

const readIfThere = (path: string) => readFile(path, "utf8").catch(() => "");
