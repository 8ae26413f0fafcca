/** A datastore in memory, for tests that need an API server and no durability. */
import type { Change, Datastore, Row } from "@k3s-p/plugin-api/slots";

export function createMemoryDatastore(): Datastore {
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
      const createRevision = before?.createRevision ?? ++revision;
      if (before) revision++;
      if (value) rows.set(key, { key, value, createRevision, modRevision: revision });
      else rows.delete(key);
      const change: Change = { revision, key, value, createRevision };
      log.push(change);
      const written = revision;
      for (const fn of [...watchers]) fn([change]);
      return { ok: true, revision: written };
    },
    async watch(after, onChange) {
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
