/**
 * The rows of the SQLite file: a log with one row a revision, and an index of the live keys into it. Everything here is
 * synchronous and runs in the worker thread.
 */
import type { DatabaseSync } from "node:sqlite";
import { corrupt, DatabaseError, translate } from "./failure.ts";
import { openFile, type OpenOptions } from "./file.ts";
import type { FrameRow } from "./frames.ts";
import { openMeta, recover, rowSum, transaction } from "./schema.ts";

export interface Database {
  readonly revision: number;
  readonly compacted: number;
  /** Every live key with its revisions, without values. */
  keys(): FrameRow[];
  /** The rows under a prefix as they are, or as they were at a revision. */
  range(prefix: string, at?: number): Iterable<FrameRow>;
  get(key: string): FrameRow | undefined;
  since(after: number): FrameRow[];
  /** Changes in order, each followed by the row that it replaced, if there was one. */
  history(after: number): Iterable<FrameRow>;
  /** The revision that the last `limit` changes follow. */
  historyStart(limit: number): number;
  /** One transaction, durable when this returns; throws and leaves nothing behind otherwise. */
  commit(rows: readonly FrameRow[]): void;
  /** Drops history up to `revision`; the live rows stay. */
  compact(revision: number): void;
  /** Gives the space of what was dropped back to the disk. */
  shrink(): void;
  /** A sentence for each damage. */
  check(): string[];
  readonly restore: Restore;
  size(): { bytes: number; rows: number };
  close(): void;
}

/** One transaction over several calls: `begin`, any number of `add`, then `end` or `abort`. */
interface Restore {
  begin(): void;
  add(rows: readonly FrameRow[]): void;
  end(revision: number): void;
  abort(): void;
}

interface LogRow { rev: number; key: string; created: number; prev: number; value: Uint8Array | null; sum: number }

export function openDatabase(file: string, options: OpenOptions = {}): Database {
  const { db, close } = openFile(file, options);
  try {
    return operations(file, db, close);
  } catch (error) {
    close();
    throw translate(file, error, "cannot open");
  }
}

const COLUMNS = "log.rev, log.key, log.created, log.prev, log.value, log.sum";

function operations(file: string, db: DatabaseSync, closeFile: () => void): Database {
  const meta = openMeta(db);
  const put = db.prepare("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)");
  const setLive = db.prepare("INSERT INTO live VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET rev = excluded.rev");
  const dropLive = db.prepare("DELETE FROM live WHERE key = ?");
  const rangeNow = db.prepare(`SELECT ${COLUMNS} FROM live JOIN log USING (rev) WHERE live.key >= ? AND live.key < ? ORDER BY live.key`);
  const one = db.prepare(`SELECT ${COLUMNS} FROM live JOIN log USING (rev) WHERE live.key = ?`);
  const sinceRevision = db.prepare(`SELECT ${COLUMNS} FROM log WHERE rev > ? ORDER BY rev`);
  const byRevision = db.prepare(`SELECT ${COLUMNS} FROM log WHERE rev = ?`);
  const known = db.prepare("SELECT 1 FROM log WHERE rev IN (?, ?) LIMIT 1");

  /** The row as it was written. */
  function read(row: unknown): FrameRow {
    const { rev, key, created, prev, value, sum } = row as LogRow;
    if (sum !== rowSum(rev, key, created, prev, value)) throw corrupt(file, `${key} at revision ${rev} is not what was written`);
    return { revision: rev, createRevision: created, previousRevision: prev, key, value };
  }

  function insert(row: FrameRow): void {
    const { revision: rev, key, createRevision, previousRevision, value } = row;
    put.run(rev, key, createRevision, previousRevision, value, rowSum(rev, key, createRevision, previousRevision, value));
    if (value) setLive.run(key, rev);
    else dropLive.run(key);
  }

  let { revision, compacted } = recover(db, meta);

  /** A revision that was skipped has no change of its own and is followed by none: whoever saw it saw what was lost. */
  function requireKnown(after: number): void {
    if (after === revision || after === 0 && compacted === 0) return;
    if (after >= compacted && known.get(after, after + 1)) return;
    throw new DatabaseError("K3SP_DATASTORE_COMPACTED", `revision ${after} is gone, history begins after ${compacted}`);
  }

  return {
    get revision() { return revision; },
    get compacted() { return compacted; },
    keys: () => (db.prepare("SELECT log.rev, log.key, log.created FROM live JOIN log USING (rev)").all() as unknown as LogRow[])
      .map(({ rev, key, created }) => ({ revision: rev, createRevision: created, previousRevision: 0, key, value: null })),
    range(prefix, at = revision) {
      if (at > revision) throw new DatabaseError("K3SP_DATASTORE_FAILED", `revision ${at} is yet to come, the present one is ${revision}`);
      if (at === revision) return rangeNow.iterate(prefix, `${prefix}\u{10ffff}`).map(read);
      requireKnown(at);
      return rangeAt(db, prefix, at).map(read);
    },
    get: (key) => one.all(key).map(read)[0],
    since(after) {
      requireKnown(after);
      return sinceRevision.all(after).map(read);
    },
    * history(after) {
      for (const row of sinceRevision.iterate(after)) {
        const change = read(row);
        yield change;
        if (change.previousRevision > 0) yield read(byRevision.get(change.previousRevision));
      }
    },
    historyStart(limit) {
      const first = db.prepare("SELECT rev FROM log WHERE rev > ? ORDER BY rev DESC LIMIT 1 OFFSET ?").get(compacted, limit);
      return (first as { rev: number } | undefined)?.rev ?? compacted;
    },
    commit(rows) {
      transaction(db, () => rows.forEach(insert));
      revision = rows.at(-1)?.revision ?? revision;
    },
    compact(upTo) {
      const to = Math.min(upTo, revision);
      if (to <= compacted) return;
      transaction(db, () => {
        db.prepare("DELETE FROM log WHERE rev IN (SELECT prev FROM log WHERE rev > ? AND rev <= ? AND prev > 0)").run(compacted, to);
        db.prepare("DELETE FROM log WHERE rev > ? AND rev <= ? AND value IS NULL").run(compacted, to);
        meta.set("compacted", to);
        meta.set("revision", revision);
      });
      compacted = to;
    },
    shrink: () => db.exec("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"),
    check: () => findings(db, read),
    restore: {
      begin: () => db.exec("BEGIN IMMEDIATE; DELETE FROM log; DELETE FROM live"),
      add: (rows) => rows.forEach(insert),
      end(to) {
        const { highest } = db.prepare("SELECT coalesce(max(rev), 0) AS highest FROM log").get() as { highest: number };
        const least = Math.max(highest, revision);
        if (to <= least) throw new DatabaseError("K3SP_DATASTORE_FAILED", `revision ${to} does not exceed ${least}, which has been given already`);
        meta.set("revision", to);
        meta.set("compacted", to);
        db.exec("COMMIT");
        revision = compacted = to;
      },
      // SQLite rolls back by itself when the disk is full.
      abort: () => void (db.isTransaction && db.exec("ROLLBACK")),
    },
    size() {
      const pages = db.prepare("PRAGMA page_count").get() as { page_count: number };
      const page = db.prepare("PRAGMA page_size").get() as { page_size: number };
      const rows = db.prepare("SELECT count(*) AS n FROM live").get() as { n: number };
      return { bytes: pages.page_count * page.page_size, rows: rows.n };
    },
    close() {
      meta.set("revision", revision);
      meta.set("clean", 1);
      closeFile();
    },
  };
}

/** What is live and was so then, and what the first change after it replaced. */
function rangeAt(db: DatabaseSync, prefix: string, at: number): IteratorObject<unknown> {
  return db.prepare(`
    SELECT ${COLUMNS} FROM live JOIN log USING (rev) WHERE live.key >= $from AND live.key < $to AND log.rev <= $at
    UNION ALL
    SELECT ${COLUMNS} FROM log AS later JOIN log ON log.rev = later.prev
      WHERE later.rev > $at AND later.prev > 0 AND later.prev <= $at AND later.key >= $from AND later.key < $to
    ORDER BY 2`).iterate({ $from: prefix, $to: `${prefix}\u{10ffff}`, $at: at });
}

const MAX_FINDINGS = 100;

/** Pages, sums, and that the index is what the log says. */
function findings(db: DatabaseSync, read: (row: unknown) => FrameRow): string[] {
  const found = (db.prepare(`PRAGMA integrity_check(${MAX_FINDINGS})`).all() as { integrity_check: string }[])
    .map((row) => row.integrity_check).filter((text) => text !== "ok");
  const expected = new Map<string, number>();
  for (const row of db.prepare(`SELECT ${COLUMNS} FROM log ORDER BY rev`).iterate()) {
    const { rev, key, value } = row as unknown as LogRow;
    try {
      read(row);
    } catch {
      found.push(`${key} at revision ${rev} is not what was written`);
    }
    if (value) expected.set(key, rev);
    else expected.delete(key);
  }
  for (const { key, rev } of db.prepare("SELECT key, rev FROM live ORDER BY key").iterate() as Iterable<{ key: string; rev: number }>) {
    if (expected.get(key) !== rev) found.push(`${key} is said to be at revision ${rev}, and is at ${expected.get(key) ?? "none"}`);
    expected.delete(key);
  }
  for (const [key, rev] of expected) found.push(`${key} at revision ${rev} is not in the index`);
  return found.slice(0, MAX_FINDINGS);
}
