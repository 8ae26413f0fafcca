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

export const corrupt = (file: string, why: string): DatabaseError =>
  new DatabaseError("K3SP_DATASTORE_CORRUPT", `${file} is damaged: ${why}`, [
    "the server has not changed the file",
  ], `stop the server, move ${file} with its -wal and -shm files away, and put a copy in its place or run ` +
    `k3s-p datastore restore DUMP (or try: sqlite3 ${file} ".recover" | sqlite3 restored.db)`);

/** SQLITE_CORRUPT and SQLITE_NOTADB name the file and the cure; whatever else SQLite says is a failure. */
export function translate(file: string, error: unknown, doing: string): DatabaseError {
  if (error instanceof DatabaseError) return error;
  const { errcode = 0, message } = error as Error & { errcode?: number };
  const primary = errcode & 0xff;
  if (primary === CORRUPT || primary === NOT_A_DATABASE) return corrupt(file, message);
  return new DatabaseError("K3SP_DATASTORE_FAILED", `${doing} ${file}: ${message}`, [], advice[primary]);
}

const CORRUPT = 11;
const NOT_A_DATABASE = 26;

/** By SQLite's primary result code. */
const advice: Readonly<Record<number, string>> = {
  5: "end the other program that writes to the file, such as an open sqlite3 shell",
  8: "mount the file system for writing, and check the owner of the file",
  10: "check the disk (dmesg)",
  13: "make room on the disk; the server goes on by itself",
};
