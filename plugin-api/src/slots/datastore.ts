/**
 * The `datastore` slot: a revisioned key-value store with compare-and-swap, after etcd's model.
 *
 * It knows nothing of Kubernetes: keys are text, values opaque bytes, and nothing in it expires by time (the API server
 * deletes Events when their hour is over), so that a provider needs no clock and no leases.
 *
 * Revisions are those of the whole store and grow by one with each write that succeeds. A provider may skip numbers where
 * it cannot know which of them somebody has seen (after a crash that lost lazy writes, after a restore). A skipped
 * revision is never given to another change, and what asks for history from one of them is told `K3SP_DATASTORE_COMPACTED`.
 */
import { defineSlot } from "../contract.ts";

/** A live key. `value` is opaque bytes; revisions are those of the whole store. */
export interface Row {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
}

export interface WriteOp {
  readonly key: string;
  /** `null` deletes. */
  readonly value: Uint8Array | null;
  /** Modification revision that the key must have now; 0 = must not exist. */
  readonly expect: number;
  /** Tier of durability: `durable` (default) is on disk before the promise resolves, `lazy` within one second. */
  readonly tier?: "durable" | "lazy";
}

export type WriteResult =
  | { readonly ok: true; readonly revision: number }
  /** The key's current row, or undefined when it does not exist. */
  | { readonly ok: false; readonly current: Row | undefined };

export interface Change {
  readonly revision: number;
  readonly key: string;
  /** `null` = deleted. */
  readonly value: Uint8Array | null;
  readonly createRevision: number;
}

/** A change of the past, with the row that it replaced. */
export interface PastChange extends Change {
  readonly previous: Row | undefined;
}

/**
 * Promises: `write` resolves after the change has been handed to every watcher; changes reach a watcher in revision order
 * without gaps; a failed write leaves nothing behind; reads show every write that was accepted before them.
 * What may be absent is an ability beyond the store itself: without it a large store loads slower, watchers list again after
 * a restart, or the `k3s-p datastore` command in question says that this provider cannot do it.
 * Methods reject with `K3SP_DATASTORE_FAILED` when the store cannot do its work (a full disk), and work again when it can.
 */
export interface Datastore {
  readonly revision: () => number;
  /** Oldest revision that `watch` and a `range` of the past can start from. */
  readonly compactedRevision: () => number;
  /**
   * Every live row under the prefix, sorted by key, all at one revision: the present one, or the one that is asked for.
   * Rejects with `K3SP_DATASTORE_COMPACTED` when the past is gone, with `K3SP_DATASTORE_FAILED` for a revision to come.
   */
  range(prefix: string, at?: number): Promise<{ readonly revision: number; readonly rows: readonly Row[] }>;
  /** As `range`, but hands the rows over in parts, in the same order: for stores too large to hold twice. Rows are only valid during the call. */
  scan?(prefix: string, onRows: (rows: readonly Row[]) => void): Promise<{ readonly revision: number }>;
  write(op: WriteOp): Promise<WriteResult>;
  /** Changes with `revision > after`; rejects with `K3SP_DATASTORE_COMPACTED` when they are gone. Resolves with the function that ends it. */
  watch(after: number, onChange: (changes: readonly Change[]) => void): Promise<() => void>;
  /** The last changes, at most `limit`, oldest first and in parts, so that watches resume after a restart. Resolves with the revision that they follow. */
  history?(limit: number, onChanges: (changes: readonly PastChange[]) => void): Promise<{ readonly after: number }>;
  /** Forgets history up to a revision; live rows stay. `shrink` gives the space back to the disk as well, and may hold up writes for as long. */
  compact(revision: number, shrink?: boolean): Promise<void>;
  /** Reads everything and compares it with what was written; a sentence for each damage, none when it is sound. */
  check?(): Promise<readonly string[]>;
  /**
   * Puts these rows in the place of everything, all or nothing. They keep their revisions; the store's own becomes
   * `revision`, which must exceed its present one and those of all rows, and no history remains. Nobody may write or watch meanwhile.
   */
  restore?(revision: number, rows: AsyncIterable<readonly Row[]>): Promise<void>;
  health(): Promise<{ readonly ok: boolean; readonly message?: string }>;
  size(): Promise<{ readonly bytes: number; readonly rows: number }>;
}

export const datastore = defineSlot<Datastore>("datastore", { required: ["server"], fixed: true });
