/** A datastore in memory that keeps every promise of the slot but durability; for tests that need an API server. */
import { k3spError } from "./errors.ts";
import type { Change, Datastore, Row } from "./slots/datastore.ts";

export function memoryDatastore(): Datastore {
  const rows = new Map<string, Row>();
  const log: Change[] = [];
  const watchers = new Set<(changes: readonly Change[]) => void>();
  let revision = 1;
  let compacted = 0;

  return {
    revision: () => revision,
    compactedRevision: () => compacted,
    range: async (prefix) => ({
      revision,
      rows: [...rows.values()].filter((row) => row.key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1)),
    }),
    async write({ key, value, expect }) {
      const before = rows.get(key);
      if ((before?.modRevision ?? 0) !== expect) return { ok: false, current: before };
      revision++;
      const createRevision = before?.createRevision ?? revision;
      if (value) rows.set(key, { key, value, createRevision, modRevision: revision });
      else rows.delete(key);
      const change: Change = { revision, key, value, createRevision, previous: before?.value ?? null };
      log.push(change);
      const written = revision;
      for (const tell of [...watchers]) tell([change]);
      return { ok: true, revision: written };
    },
    async watch(after, onChange) {
      if (after < compacted) throw k3spError("K3SP_DATASTORE_COMPACTED", { message: `revision ${after} has been compacted, the oldest is ${compacted}` });
      const missed = log.filter((change) => change.revision > after);
      if (missed.length > 0) onChange(missed);
      watchers.add(onChange);
      return () => void watchers.delete(onChange);
    },
    async compact(to) {
      compacted = Math.max(compacted, Math.min(to, revision));
      const keep = log.findIndex((change) => change.revision > compacted);
      log.splice(0, keep < 0 ? log.length : keep);
    },
    health: async () => ({ ok: true }),
    size: async () => ({ bytes: [...rows.values()].reduce((sum, row) => sum + row.value.byteLength, 0), rows: rows.size }),
  };
}
