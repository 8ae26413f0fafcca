/** A datastore in memory that keeps every promise of the slot but durability; for tests that need an API server. */
import { k3spError, type K3spError } from "./errors.ts";
import type { Datastore, PastChange, Row } from "./slots/datastore.ts";

type Watcher = { after: number; readonly onChange: Parameters<Datastore["watch"]>[1] };

export function memoryDatastore(): Required<Omit<Datastore, "scan">> {
  const rows = new Map<string, Row>();
  const log: PastChange[] = [];
  const watchers = new Set<Watcher>();
  let revision = 1;
  let compacted = 0;

  /** The rows as they were: what happened since is undone, the latest first. */
  function rowsAt(at: number): Iterable<Row> {
    if (at > revision) throw k3spError("K3SP_DATASTORE_FAILED", { message: `revision ${at} is yet to come, the present one is ${revision}` });
    requireHistory(at);
    const state = new Map(rows);
    for (const { key, previous } of log.filter((change) => change.revision > at).reverse()) {
      if (previous) state.set(key, previous);
      else state.delete(key);
    }
    return state.values();
  }

  function requireHistory(after: number): void {
    if (after < compacted) throw compactedError(after, compacted);
  }

  return {
    revision: () => revision,
    compactedRevision: () => compacted,
    range: async (prefix, at = revision) => ({
      revision: at,
      rows: [...rowsAt(at)].filter((row) => row.key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1)),
    }),
    async write({ key, value, expect }) {
      const previous = rows.get(key);
      if ((previous?.modRevision ?? 0) !== expect) return { ok: false, current: previous };
      const written = ++revision;
      const createRevision = previous?.createRevision ?? written;
      if (value) rows.set(key, { key, value, createRevision, modRevision: written });
      else rows.delete(key);
      const change: PastChange = { revision: written, key, value, createRevision, previous };
      log.push(change);
      for (const watcher of [...watchers]) if (written > watcher.after) watcher.onChange([change]);
      return { ok: true, revision: written };
    },
    async watch(after, onChange) {
      requireHistory(after);
      const missed = log.filter((change) => change.revision > after);
      if (missed.length > 0) onChange(missed);
      const watcher = { after, onChange };
      watchers.add(watcher);
      return () => void watchers.delete(watcher);
    },
    async history(limit, onChanges) {
      const last = log.slice(-limit);
      if (last.length > 0) onChanges(last);
      return { after: log.length > limit ? last[0]!.revision - 1 : compacted };
    },
    async compact(to) {
      compacted = Math.max(compacted, Math.min(to, revision));
      const keep = log.findIndex((change) => change.revision > compacted);
      log.splice(0, keep < 0 ? log.length : keep);
    },
    check: async () => [],
    async restore(to, parts) {
      const next = new Map<string, Row>();
      for await (const part of parts) for (const row of part) next.set(row.key, row);
      const highest = Math.max(revision, ...[...next.values()].map((row) => row.modRevision));
      if (to <= highest) throw restoreError(to, highest);
      rows.clear();
      for (const row of next.values()) rows.set(row.key, row);
      log.length = 0;
      revision = compacted = to;
    },
    health: async () => ({ ok: true }),
    size: async () => ({ bytes: [...rows.values()].reduce((sum, row) => sum + row.value.byteLength, 0), rows: rows.size }),
  };
}

const compactedError = (after: number, compacted: number): K3spError =>
  k3spError("K3SP_DATASTORE_COMPACTED", { message: `revision ${after} is gone, history begins after ${compacted}` });
const restoreError = (to: number, highest: number): K3spError =>
  k3spError("K3SP_DATASTORE_FAILED", { message: `revision ${to} does not exceed ${highest}, which has been given already` });
