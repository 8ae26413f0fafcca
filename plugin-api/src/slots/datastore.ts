/** The `datastore` slot: a revisioned key-value store with compare-and-swap, after etcd's model. */
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
  /** The value before, if the provider keeps it. */
  readonly previous?: Uint8Array | null;
}

/**
 * Promises: revisions grow by one per successful write across the store; `write` resolves after the change
 * has been handed to every watcher; changes reach a watcher in revision order without gaps.
 */
export interface Datastore {
  readonly revision: () => number;
  /** Oldest revision that `watch` can start from. */
  readonly compactedRevision: () => number;
  /** Every live row under the prefix, sorted by key, in batches, at one revision. */
  range(prefix: string): Promise<{ readonly revision: number; readonly rows: readonly Row[] }>;
  /** As `range`, but hands the rows over in parts, in the same order: for stores too large to hold twice. Rows are only valid during the call. */
  scan?(prefix: string, onRows: (rows: readonly Row[]) => void): Promise<{ readonly revision: number }>;
  write(op: WriteOp): Promise<WriteResult>;
  /** Changes with `revision > after`; rejects with `K3SP_DATASTORE_COMPACTED` when they are gone. */
  watch(after: number, onChange: (changes: readonly Change[]) => void): Promise<() => void>;
  compact(revision: number): Promise<void>;
  health(): Promise<{ readonly ok: boolean; readonly message?: string }>;
  size(): Promise<{ readonly bytes: number; readonly rows: number }>;
}

export const datastore = defineSlot<Datastore>("datastore", { required: ["server"], fixed: true });
