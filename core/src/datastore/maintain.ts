/** What can be done with a whole store, in a running server and on a data directory at rest alike. */
import { k3spError } from "@k3s-p/plugin-api";
import type { Datastore } from "@k3s-p/plugin-api/slots";
import { dump, rowsOf, verifyDump } from "./dump.ts";

export interface Request {
  /** Absolute. */
  readonly file?: string;
  readonly force?: boolean;
}

/** Lines for the user. */
type Work = (store: Datastore, request: Request, onProgress: (rows: number) => void) => Promise<readonly string[]>;

/**
 * Revisions skipped by a restore: more than a cluster writes between a dump and its end, so that no client takes what is
 * new for something that it has seen.
 */
const RESTORE_GAP = 1_000_000_000;

/** By the name of the command. `restore` needs a store that nobody uses. */
export const maintenance: Readonly<Record<"check" | "compact" | "dump" | "restore", Work>> = {
  async check(store) {
    if (!store.check) throw unable("be checked");
    const findings = await store.check();
    if (findings.length > 0) {
      throw k3spError("K3SP_DATASTORE_CORRUPT", {
        message: `${findings.length} ${findings.length === 1 ? "finding" : "findings"}`, detail: findings,
        fix: "put a copy of the file in its place, or k3s-p datastore restore a dump",
      });
    }
    return [`sound: ${await sizeText(store)}, revision ${store.revision()}, history from ${store.compactedRevision()}`];
  },
  async compact(store) {
    const before = await sizeText(store);
    await store.compact(store.revision(), true);
    return [`history up to revision ${store.revision()} is gone: ${await sizeText(store)}, before that ${before}`];
  },
  async dump(store, { file = "" }, onProgress) {
    const { rows, revision } = await dump(store, file, onProgress);
    return [`dumped ${keys(rows)} at revision ${revision}`];
  },
  async restore(store, { file = "", force = false }, onProgress) {
    if (!store.restore) throw unable("be restored from a dump");
    const { rows, revision } = await verifyDump(file);
    const present = (await store.size()).rows;
    if (present > 0 && !force) {
      throw k3spError("K3SP_DATASTORE_FAILED", { message: `the store holds ${keys(present)} already`, fix: "add --force to put the dump in their place" });
    }
    const to = Math.max(revision, store.revision()) + RESTORE_GAP;
    await store.restore(to, rowsOf(file, onProgress));
    return [`restored ${keys(rows)} of revision ${revision}; the store is at revision ${to}`];
  },
};

const keys = (count: number): string => `${count} ${count === 1 ? "key" : "keys"}`;

async function sizeText(store: Datastore): Promise<string> {
  const { bytes, rows } = await store.size();
  return `${keys(rows)}, ${(bytes / (1 << 20)).toFixed(1)} MiB`;
}

const unable = (what: string) =>
  k3spError("K3SP_DATASTORE_FAILED", { message: `this provider of the datastore cannot ${what}`, fix: "use the tools of the provider" });
