/** The layout of the SQLite file: its version, the steps from older ones, and what the last stop left to settle. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { DatabaseError } from "./failure.ts";

/**
 * Revisions skipped after an unclean stop. Lazy writes may have been seen by watchers and then lost with the
 * process; no revision that anybody saw may ever be given to another change.
 */
export const CRASH_GAP = 10_000;

const layout = `
  CREATE TABLE log (
    rev INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, prev INTEGER NOT NULL, value BLOB,
    sum INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE live (key TEXT PRIMARY KEY, rev INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`;

/** From the version that is the key to the next one. A step that has been released never changes. */
const steps: Readonly<Record<number, (db: DatabaseSync) => void>> = {
  1(db) {
    db.exec("ALTER TABLE log ADD COLUMN sum INTEGER NOT NULL DEFAULT 0");
    db.function("row_sum", { deterministic: true }, (rev, key, created, prev, value) =>
      rowSum(Number(rev), String(key), Number(created), Number(prev), value as Uint8Array | null));
    db.exec("UPDATE log SET sum = row_sum(rev, key, created, prev, value)");
  },
};

/** `PRAGMA user_version` of a file of this layout. */
export const VERSION = 2;

/** Of all that a row says, so that no bit of it changes unnoticed. */
export const rowSum = (rev: number, key: string, created: number, prev: number, value: Uint8Array | null): number => {
  const head = crc32(`${rev} ${created} ${prev} ${value ? "" : "deleted "}${key}`);
  return value ? crc32(value, head) : head;
};

/** Makes the tables, or takes those of an older version to this one; nothing is changed when that fails. */
export function prepareSchema(file: string, db: DatabaseSync): void {
  const { user_version: stated } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  const isFresh = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'log'").get() === undefined;
  // The first version did not write its number.
  const version = stated === 0 && !isFresh ? 1 : stated;
  if (version > VERSION) {
    throw new DatabaseError("K3SP_DATASTORE_NEWER", `${file} has version ${version}, and this k3s-p reads up to ${VERSION}`, [
      "the server has not changed the file",
    ]);
  }
  if (version === VERSION) return;
  transaction(db, () => {
    if (isFresh) db.exec(layout);
    else for (let at = version; at < VERSION; at++) steps[at]!(db);
    db.exec(`PRAGMA user_version = ${VERSION}`);
  });
}

export interface Meta {
  get(name: MetaName): number;
  set(name: MetaName, value: number): void;
}

/** `clean` is 1 between a clean stop and the next start. */
type MetaName = "revision" | "compacted" | "clean";

export function openMeta(db: DatabaseSync): Meta {
  const read: StatementSync = db.prepare("SELECT value FROM meta WHERE name = ?");
  const write = db.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value");
  return {
    get: (name) => Number((read.get(name) as { value: number } | undefined)?.value ?? 0),
    set: (name, value) => void write.run(name, value),
  };
}

/** Where revisions go on, and how far back history reaches. */
export function recover(db: DatabaseSync, meta: Meta): { revision: number; compacted: number } {
  const last = (db.prepare("SELECT max(rev) AS rev FROM log").get() as { rev: number | null }).rev ?? 0;
  const isFresh = last === 0 && meta.get("revision") === 0;
  const gap = isFresh || meta.get("clean") === 1 ? 0 : CRASH_GAP;
  const revision = Math.max(last, meta.get("revision"), 1) + gap;
  transaction(db, () => {
    meta.set("clean", 0);
    meta.set("revision", revision);
  });
  return { revision, compacted: meta.get("compacted") };
}

export function transaction(db: DatabaseSync, work: () => void): void {
  const { begin, commit } = statementsOf(db);
  begin.run();
  try {
    work();
    commit.run();
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

interface Borders {
  readonly begin: StatementSync;
  readonly commit: StatementSync;
}

const prepared = new WeakMap<DatabaseSync, Borders>();

function statementsOf(db: DatabaseSync): Borders {
  let found = prepared.get(db);
  if (!found) prepared.set(db, (found = { begin: db.prepare("BEGIN IMMEDIATE"), commit: db.prepare("COMMIT") }));
  return found;
}
