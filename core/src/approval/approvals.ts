/**
 * The lock file of plugins: what each one that did not come with the server may do, and the code that this was said of.
 *
 * The first start records what the manifest asks for. From then on less is taken as it comes, and more is refused until
 * the user approves it. The file is read anew each time: a stopped server's is changed by `k3s-p plugin approve`.
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { k3spError, replaceFileDurably, type Logger } from "@k3s-p/plugin-api";
import type { Paths } from "@k3s-p/plugin-api/slots";
import { didYouMean, type Manifest } from "../kernel/manifest.ts";
import { hashOf } from "./hash.ts";
import { beyond, describeRights, rightsOf } from "./rights.ts";

export interface Recorded {
  readonly version: string;
  readonly hash: string;
  readonly rights: readonly string[];
}

interface Entry extends Recorded {
  /** What was refused, until it is approved. */
  readonly pending?: Recorded;
}

type Lock = Readonly<Record<string, Entry>>;

export interface Approval {
  /** `new` = it was never started; `included` = it came with the server. */
  readonly state: "included" | "new" | "approved" | "pending";
  readonly rights: readonly string[];
  /** What it asks for beyond what was approved. */
  readonly added: readonly string[];
}

export interface Approvals {
  /** Records the plugin, or rejects with `K3SP_PLUGIN_UNAPPROVED`. Called before any of its code runs. */
  admit(manifest: Manifest, log: Logger): Promise<void>;
  /** Changes nothing. */
  of(manifest: Manifest): Approval;
  /** What waits to be approved; undefined = nothing. */
  pending(id: string): { readonly version: string; readonly added: readonly string[] } | undefined;
  approve(id: string): Promise<void>;
}

/** With the server's own files; with those of the agent on a machine that has no others. */
export const lockFile = ({ server, agent }: Pick<Paths, "server" | "agent">): string =>
  join(existsSync(agent) && !existsSync(server) ? agent : server, "plugins.lock.json");

/** Changes follow one another, also those of several plugins that start together. */
let queue: Promise<unknown> = Promise.resolve();

export function openApprovals(file: string): Approvals {
  const read = (): Lock => (existsSync(file) ? parse(file) : {});

  function put(id: string, entry: Entry): Promise<void> {
    const write = queue.then(async () => {
      const lock = Object.entries({ ...read(), [id]: entry }).sort(([a], [b]) => (a < b ? -1 : 1));
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      await replaceFileDurably(file, `${JSON.stringify(Object.fromEntries(lock), null, 2)}\n`);
    });
    queue = write.catch(() => {});
    return write;
  }

  const entryOf = (id: string): Entry => {
    const lock = read();
    if (lock[id]) return lock[id];
    throw k3spError("K3SP_PLUGIN_UNKNOWN", { message: `no plugin named "${id}" is in ${file}${didYouMean(id, Object.keys(lock))}`, fix: "give the name of a plugin that was started before" });
  };

  return {
    async admit(manifest, log) {
      const { id, version } = manifest;
      const known = read()[id];
      const found: Recorded = { version, hash: hashOf(manifest), rights: rightsOf(manifest) };
      if (!known) {
        log.info(`first start of ${id} ${version}; it may: ${describeRights(found.rights).join("; ") || "nothing beside its own folders"} (recorded in ${file})`);
        return put(id, found);
      }
      const added = beyond(found.rights, known.rights);
      if (added.length) {
        await put(id, { ...known, pending: found });
        throw unapproved(manifest, added);
      }
      if (same(found, known)) return;
      log.info(`${id} ${version} has changed since ${known.version} was recorded, and asks for no more than that`);
      // An update in place gives way to the old manifest, and waits all the same; other code has taken its place.
      await put(id, { ...found, ...(known.pending?.hash === found.hash && { pending: known.pending }) });
    },
    of(manifest) {
      const rights = rightsOf(manifest);
      if (manifest.source.kind === "default") return { state: "included", rights, added: [] };
      const known = read()[manifest.id];
      const added = known ? beyond(rights, known.rights) : [];
      return { state: !known ? "new" : added.length ? "pending" : "approved", rights, added };
    },
    pending(id) {
      const { pending, rights } = entryOf(id);
      return pending && { version: pending.version, added: beyond(pending.rights, rights) };
    },
    async approve(id) {
      const { pending, ...known } = entryOf(id);
      await put(id, pending ?? known);
    },
  };
}

const same = (a: Recorded, b: Recorded): boolean => a.version === b.version && a.hash === b.hash && a.rights.join() === b.rights.join();

function parse(file: string): Lock {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Lock;
  } catch (cause) {
    throw k3spError("K3SP_PLUGIN_UNAPPROVED", { message: `${file} is not valid, so no plugin is approved`, cause, fix: "correct the file, or remove it to record anew what the plugins ask for" });
  }
}

const unapproved = ({ id, version, source }: Manifest, added: readonly string[]) =>
  k3spError("K3SP_PLUGIN_UNAPPROVED", {
    message: `${id} ${version} asks for more than was approved`, plugin: id,
    detail: [...describeRights(added).map((line) => `+ ${line}`), `from ${source.label}`], fix: `k3s-p plugin approve ${id}`,
  });
