/** The datastore TEMPLATE_NAME: rows in memory, and a journal of one line a write that is read back at start. */
import { open, readFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { definePlugin } from "@k3s-p/plugin-api";
import { datastore, type Change, type Datastore, type Row } from "@k3s-p/plugin-api/slots";
import { decode, encode, known, type Past, rowsAt } from "./datastore-journal.ts";

export default definePlugin({
  provides: datastore,
  async start(ctx) {
    const file = join(ctx.dirs.data, "journal");
    const lines = (await readFile(file, "utf8").catch(() => "")).split("\n").filter(Boolean);
    const journal = await open(file, "a", 0o600);
    ctx.defer(() => journal.close());
    return createStore(journal, lines.map(decode));
  },
});

function createStore(journal: FileHandle, journaled: readonly Change[]): Datastore {
  const rows = new Map<string, Row>();
  const watchers = new Set<(changes: readonly Change[]) => void>();
  let [history, revision, compacted]: [readonly Past[], number, number] = [[], 1, 0];
  const apply = (change: Change): void => {
    const { key, value, createRevision } = change;
    revision = change.revision;
    history = [...history, { ...change, before: rows.get(key) }];
    if (value) rows.set(key, { key, value, createRevision, modRevision: revision });
    else rows.delete(key);
    for (const tell of [...watchers]) tell([change]);
  };
  journaled.forEach(apply);
  return {
    revision: () => revision,
    compactedRevision: () => compacted,
    range: async (prefix, at = revision) => ({
      revision: at, rows: rowsAt(rows, history, known(at, compacted, revision)).filter((row) => row.key.startsWith(prefix)),
    }),
    async write({ key, value, expect, tier }) {
      const before = rows.get(key);
      if ((before?.modRevision ?? 0) !== expect) return { ok: false, current: before };
      const change: Change = { revision: revision + 1, key, value, createRevision: before?.createRevision ?? revision + 1 };
      apply(change);
      await journal.appendFile(encode(change));
      if (tier !== "lazy") await journal.datasync();
      return { ok: true, revision: change.revision };
    },
    async watch(after, onChange) {
      const missed = history.filter((change) => change.revision > known(after, compacted));
      if (missed.length) onChange(missed);
      watchers.add(onChange);
      return () => void watchers.delete(onChange);
    },
    async compact(to) {
      compacted = Math.max(compacted, Math.min(to, revision));
      history = history.filter((change) => change.revision > compacted);
    },
    health: async () => ({ ok: true }),
    size: async () => ({ bytes: (await journal.stat()).size, rows: rows.size }),
  };
}
