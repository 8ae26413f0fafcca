/** A change as one line of the journal, and the rows before some changes. */
import { k3spError } from "@k3s-p/plugin-api";
import type { Change, Row } from "@k3s-p/plugin-api/slots";

/** A change, and the row that it replaced. */
export type Past = Change & { readonly before: Row | undefined };

export const encode = (change: Change): string => `${JSON.stringify({ ...change, value: change.value && Buffer.from(change.value).toString("base64") })}\n`;

export function decode(line: string): Change {
  const { value, ...change } = JSON.parse(line) as Omit<Change, "value"> & { readonly value: string | null };
  return { ...change, value: value === null ? null : Buffer.from(value, "base64") };
}

/** The rows as they were at a revision, sorted: what changed later is undone, the latest first. */
export function rowsAt(rows: ReadonlyMap<string, Row>, history: readonly Past[], at: number): Row[] {
  const state = new Map(rows);
  for (const { key, before } of history.filter((change) => change.revision > at).reverse()) {
    if (before) state.set(key, before);
    else state.delete(key);
  }
  return [...state.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** The revision, unless it is one that nobody can go back to. */
export function known(at: number, compacted: number, latest = Infinity): number {
  if (at < compacted) throw k3spError("K3SP_DATASTORE_COMPACTED", { message: `revision ${at} has been compacted` });
  if (at > latest) throw k3spError("K3SP_DATASTORE_FAILED", { message: `revision ${at} is yet to come` });
  return at;
}
