/**
 * The SQLite file: a log with one row a revision, and an index of the live keys into it. Everything here is
 * synchronous and runs in the worker thread.
 */
import { chmodSync, closeSync, mkdirSync, openSync, readSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { FrameRow } from "./frames.ts";

export interface OpenOptions {
  /** Upper bound of the file in pages of 4 KiB; for tests of a full disk. */
  readonly maxPages?: number;
}

export interface Database {
  readonly revision: number;
  readonly compacted: number;
  /** Every live key with its revisions, without values. */
  keys(): FrameRow[];
  range(prefix: string): IterableIterator<FrameRow>;
  get(key: string): FrameRow | undefined;
  since(after: number): FrameRow[];
  /** One transaction, durable when this returns; throws and leaves nothing behind otherwise. */
  commit(rows: readonly FrameRow[]): void;
  /** Drops history up to `revision`; the live rows stay. */
  compact(revision: number): void;
  size(): { bytes: number; rows: number };
  close(): void;
}

/** A failure with its catalogue code, in a form that crosses the thread border. */
export class DatabaseError extends Error {
  readonly code: string;
  readonly detail: readonly string[];
  readonly fix: string | undefined;
  constructor(code: string, message: string, detail: readonly string[] = [], fix?: string) {
    super(message);
    this.code = code;
    this.detail = detail;
    this.fix = fix;
  }
}

/**
 * Revisions skipped after an unclean stop. Lazy writes may have been seen by watchers and then lost with the
 * process; no revision that anybody saw may ever be given to another change.
 */
export const CRASH_GAP = 10_000;

const schema = `
  CREATE TABLE IF NOT EXISTS log (
    rev INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, prev INTEGER NOT NULL, value BLOB);
  CREATE TABLE IF NOT EXISTS live (key TEXT PRIMARY KEY, rev INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`;

export function openDatabase(file: string, options: OpenOptions = {}): Database {
  const folder = dirname(file);
  prepareFolder(folder, file);
  const lock = acquireLock(file);
  try {
    checkHeader(file);
    const db = guardCorruption(file, () => openChecked(file, options));
    return operations(file, db, lock);
  } catch (error) {
    lock.close();
    throw error;
  }
}

function prepareFolder(folder: string, file: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    closeSync(openSync(file, "a", 0o600));
    chmodSync(file, 0o600);
  } catch (error) {
    throw new DatabaseError("K3SP_PERMISSION_DENIED", `cannot create ${file}: ${(error as Error).message}`);
  }
}

/** The lock lives in a file of its own, so that `sqlite3 state.db` can read the database of a running server. */
function acquireLock(file: string): DatabaseSync {
  const path = `${file}.lock`;
  closeSync(openSync(path, "a", 0o600));
  const lock = new DatabaseSync(path, { timeout: 0 });
  try {
    lock.exec("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock.close();
    throw new DatabaseError("K3SP_DATASTORE_LOCKED", `${file} is used by another process`, [(error as Error).message]);
  }
}

const corrupt = (file: string, why: string): DatabaseError =>
  new DatabaseError("K3SP_DATASTORE_CORRUPT", `${file} is damaged: ${why}`, [
    "the server has not changed the file",
  ], `stop the server, move ${file} with its -wal and -shm files away, and put a copy in its place ` +
    `(or try: sqlite3 ${file} ".recover" | sqlite3 restored.db)`);

function checkHeader(file: string): void {
  const { size } = statSync(file);
  if (size === 0) return;
  const head = Buffer.alloc(16);
  const fd = openSync(file, "r");
  const read = readSync(fd, head, 0, 16, 0);
  closeSync(fd);
  if (read < 16 || head.toString("latin1") !== "SQLite format 3\0") throw corrupt(file, "it is not an SQLite database");
}

/** SQLITE_CORRUPT and SQLITE_NOTADB, wherever they surface during the opening, name the file and the cure. */
function guardCorruption<T>(file: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    const code = (error as { errcode?: number }).errcode;
    if (code !== undefined && ((code & 0xff) === 11 || (code & 0xff) === 26)) throw corrupt(file, (error as Error).message);
    if (error instanceof DatabaseError) throw error;
    throw new DatabaseError("K3SP_DATASTORE_FAILED", `cannot open ${file}: ${(error as Error).message}`);
  }
}

function openChecked(file: string, options: OpenOptions): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: 5000 });
  try {
    db.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-4096; PRAGMA wal_autocheckpoint=2000");
    if (options.maxPages) db.exec(`PRAGMA max_page_count=${options.maxPages}`);
    const finding = db.prepare("PRAGMA quick_check(1)").get() as { quick_check: string };
    if (finding.quick_check !== "ok") throw corrupt(file, finding.quick_check);
    db.exec(schema);
    const orphans = db.prepare("SELECT count(*) AS n FROM live LEFT JOIN log USING (rev) WHERE log.rev IS NULL").get();
    if ((orphans as { n: number }).n > 0) throw corrupt(file, `${(orphans as { n: number }).n} live keys have no value`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

interface LogRow { rev: number; key: string; created: number; prev: number; value: Uint8Array | null }

const toFrame = (row: LogRow): FrameRow => ({
  revision: row.rev, createRevision: row.created, previousRevision: row.prev, key: row.key, value: row.value,
});

function operations(file: string, db: DatabaseSync, lock: DatabaseSync): Database {
  const columns = "log.rev, log.key, log.created, log.prev, log.value";
  const setMeta = db.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value");
  const meta = (name: string): number => Number((db.prepare("SELECT value FROM meta WHERE name = ?").get(name) as { value: number } | undefined)?.value ?? 0);
  const put = db.prepare("INSERT INTO log VALUES (?, ?, ?, ?, ?)");
  const setLive = db.prepare("INSERT INTO live VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET rev = excluded.rev");
  const dropLive = db.prepare("DELETE FROM live WHERE key = ?");
  const all = (sql: string): StatementSync => db.prepare(sql);
  const rangeAll = all(`SELECT ${columns} FROM live JOIN log USING (rev) WHERE live.key >= ? AND live.key < ? ORDER BY live.key`);
  const one = all(`SELECT ${columns} FROM live JOIN log USING (rev) WHERE live.key = ?`);
  const history = all(`SELECT ${columns} FROM log WHERE rev > ? ORDER BY rev`);

  let { revision, compacted } = recover(db, meta, setMeta);

  return {
    get revision() { return revision; },
    get compacted() { return compacted; },
    keys: () => (db.prepare("SELECT log.rev, log.key, log.created, log.prev, NULL AS value FROM live JOIN log USING (rev)").all() as unknown as LogRow[]).map(toFrame),
    range: (prefix) => rangeAll.iterate(prefix, `${prefix}\u{10ffff}`).map((row) => toFrame(row as unknown as LogRow)),
    get: (key) => (one.all(key) as unknown as LogRow[]).map(toFrame)[0],
    since: (after) => (history.all(after) as unknown as LogRow[]).map(toFrame),
    commit(rows) {
      transaction(db, () => {
        for (const row of rows) {
          put.run(row.revision, row.key, row.createRevision, row.previousRevision, row.value);
          if (row.value) setLive.run(row.key, row.revision);
          else dropLive.run(row.key);
        }
      });
      revision = rows.at(-1)?.revision ?? revision;
    },
    compact(upTo) {
      const to = Math.min(upTo, revision);
      if (to <= compacted) return;
      transaction(db, () => {
        db.prepare("DELETE FROM log WHERE rev IN (SELECT prev FROM log WHERE rev > ? AND rev <= ? AND prev > 0)").run(compacted, to);
        db.prepare("DELETE FROM log WHERE rev > ? AND rev <= ? AND value IS NULL").run(compacted, to);
        setMeta.run("compacted", to);
        setMeta.run("revision", revision);
      });
      compacted = to;
    },
    size() {
      const pages = db.prepare("PRAGMA page_count").get() as { page_count: number };
      const page = db.prepare("PRAGMA page_size").get() as { page_size: number };
      const rows = db.prepare("SELECT count(*) AS n FROM live").get() as { n: number };
      return { bytes: pages.page_count * page.page_size, rows: rows.n };
    },
    close() {
      setMeta.run("revision", revision);
      setMeta.run("clean", 1);
      db.close();
      lock.close();
    },
  };
}

function recover(db: DatabaseSync, meta: (name: string) => number, setMeta: StatementSync): { revision: number; compacted: number } {
  const last = (db.prepare("SELECT max(rev) AS rev FROM log").get() as { rev: number | null }).rev ?? 0;
  let revision = Math.max(last, meta("revision"), 1);
  let compacted = meta("compacted");
  const fresh = last === 0 && meta("revision") === 0;
  if (!fresh && meta("clean") === 0) {
    revision += CRASH_GAP;
    compacted = revision;
  }
  transaction(db, () => {
    setMeta.run("clean", 0);
    setMeta.run("revision", revision);
    setMeta.run("compacted", compacted);
    if (compacted === revision) {
      db.exec("DELETE FROM log WHERE NOT EXISTS (SELECT 1 FROM live WHERE live.key = log.key AND live.rev = log.rev)");
    }
  });
  return { revision, compacted };
}

function transaction(db: DatabaseSync, work: () => void): void {
  db.exec("BEGIN IMMEDIATE");
  try {
    work();
    db.exec("COMMIT");
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}
