/** Opens the SQLite file: its folder and modes, the lock against a second server, and what shows that it is damaged. */
import { chmodSync, closeSync, mkdirSync, openSync, readSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { corrupt, DatabaseError, translate } from "./failure.ts";
import { prepareSchema } from "./schema.ts";

export interface OpenOptions {
  /** Upper bound of the file in pages of 4 KiB; for tests of a full disk. */
  readonly maxPages?: number;
  /** Milliseconds that a write waits for another process that writes to the file. */
  readonly busyTimeout?: number;
}

export interface OpenFile {
  readonly db: DatabaseSync;
  close(): void;
}

export function openFile(file: string, options: OpenOptions): OpenFile {
  prepareFolder(dirname(file), file);
  const lock = acquireLock(file);
  try {
    checkHeader(file);
    const db = openChecked(file, options);
    return {
      db,
      close() {
        db.close();
        lock.close();
      },
    };
  } catch (error) {
    lock.close();
    throw translate(file, error, "cannot open");
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

function checkHeader(file: string): void {
  const { size } = statSync(file);
  if (size === 0) return;
  const head = Buffer.alloc(16);
  const fd = openSync(file, "r");
  const read = readSync(fd, head, 0, 16, 0);
  closeSync(fd);
  if (read < 16 || head.toString("latin1") !== "SQLite format 3\0") throw corrupt(file, "it is not an SQLite database");
}

function openChecked(file: string, options: OpenOptions): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: options.busyTimeout ?? 5000 });
  try {
    db.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-4096; PRAGMA wal_autocheckpoint=2000");
    if (options.maxPages) db.exec(`PRAGMA max_page_count=${options.maxPages}`);
    checkStructure(file, db);
    prepareSchema(file, db);
    const orphans = db.prepare("SELECT count(*) AS n FROM live LEFT JOIN log USING (rev) WHERE log.rev IS NULL").get();
    if ((orphans as { n: number }).n > 0) throw corrupt(file, `${(orphans as { n: number }).n} live keys have no value`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Every page, its cells and their order. No table has an index beside it, so nothing more could be compared; values carry sums. */
function checkStructure(file: string, db: DatabaseSync): void {
  const finding = db.prepare("PRAGMA quick_check(1)").get() as { quick_check: string };
  if (finding.quick_check !== "ok") throw corrupt(file, finding.quick_check);
}
