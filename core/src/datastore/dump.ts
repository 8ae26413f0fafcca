/**
 * A copy of the store in a form that any provider can take in: a line of JSON for the version, one a key, and one with the
 * revision, the count and a sum, without which a file that was cut short would pass for a whole one.
 */
import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import { isK3spError, k3spError, type K3spError } from "@k3s-p/plugin-api";
import type { Datastore, Row } from "@k3s-p/plugin-api/slots";

export const DUMP_VERSION = 1;
const KIND = "k3s-p.io/datastore-dump";

export interface Summary {
  readonly revision: number;
  readonly rows: number;
}

/** `value` is text where it is text, so that a dump can be read and searched. */
type Line = Pick<Row, "key" | "createRevision" | "modRevision"> & ({ readonly value: string } | { readonly base64: string });

type Progress = (rows: number) => void;

/** Writes the whole store to a file for root alone; what is there already stays until the new one is complete. */
export async function dump(store: Datastore, file: string, onProgress: Progress = () => {}): Promise<Summary> {
  const partial = `${file}.partial`;
  const fd = openFor(partial);
  const sum = createHash("sha256");
  const write = (text: string): void => {
    sum.update(text);
    for (let rest = Buffer.from(text); rest.length > 0;) rest = rest.subarray(writeSync(fd, rest));
  };
  try {
    let rows = 0;
    write(`${JSON.stringify({ kind: KIND, version: DUMP_VERSION })}\n`);
    const { revision } = await eachPart(store, (part) => {
      write(part.map((row) => `${JSON.stringify(toLine(row))}\n`).join(""));
      onProgress((rows += part.length));
    });
    write(`${JSON.stringify({ revision, rows, sha256: sum.copy().digest("hex") })}\n`);
    fsyncSync(fd);
    renameSync(partial, file);
    return { revision, rows };
  } catch (error) {
    rmSync(partial, { force: true });
    throw isK3spError(error) ? error : unwritable(file, error as Error);
  } finally {
    closeSync(fd);
  }
}

function openFor(file: string): number {
  try {
    return openSync(file, "w", 0o600);
  } catch (cause) {
    throw unwritable(file, cause as Error);
  }
}

const unwritable = (file: string, cause: Error): K3spError =>
  k3spError("K3SP_PERMISSION_DENIED", { message: `${file} cannot be written: ${cause.message}`, fix: "name a file in a folder that exists, on a disk with room", cause });

async function eachPart(store: Datastore, onRows: (rows: readonly Row[]) => void): Promise<{ readonly revision: number }> {
  if (store.scan) return store.scan("", onRows);
  const { revision, rows } = await store.range("");
  onRows(rows);
  return { revision };
}

function toLine({ key, createRevision, modRevision, value }: Row): Line {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const text = bytes.toString("utf8");
  const isText = Buffer.from(text).equals(bytes);
  return { key, createRevision, modRevision, ...(isText ? { value: text } : { base64: bytes.toString("base64") }) };
}

/** Reads the whole file once, so that a damaged one changes nothing. */
export async function verifyDump(file: string): Promise<Summary> {
  const sum = createHash("sha256");
  let number = 0;
  let rows = 0;
  let end: Summary | undefined;
  for await (const text of linesOf(file)) {
    number++;
    const line = parse(file, number, text);
    if (number === 1) requireHeader(file, line);
    else if (end) throw invalid(file, `line ${number} follows the last one`);
    else if ("sha256" in line) end = requireEnd(file, line, { rows, sha256: sum.copy().digest("hex") });
    else {
      requireRow(file, number, line);
      rows++;
    }
    sum.update(`${text}\n`);
  }
  if (!end) throw invalid(file, "its last line is missing, so it was cut short");
  return end;
}

/** The rows of a file that has been verified, in parts. */
export async function* rowsOf(file: string, onProgress: Progress = () => {}): AsyncGenerator<readonly Row[]> {
  let part: Row[] = [];
  let rows = 0;
  for await (const text of linesOf(file)) {
    const line = JSON.parse(text) as Line;
    if (!("key" in line)) continue;
    part.push(toRow(line));
    if (part.length < PART) continue;
    yield part;
    onProgress((rows += part.length));
    part = [];
  }
  yield part;
}

const PART = 1000;

const toRow = (line: Line): Row => ({
  key: line.key, createRevision: line.createRevision, modRevision: line.modRevision,
  value: "value" in line ? Buffer.from(line.value) : Buffer.from(line.base64, "base64"),
});

async function* linesOf(file: string): AsyncGenerator<string> {
  const handle = await open(file).catch((cause: Error) => {
    throw k3spError("K3SP_FLAG_INVALID", { message: `${file} cannot be read: ${cause.message}`, fix: "name a file that k3s-p datastore dump has written", cause });
  });
  try {
    yield* handle.readLines();
  } finally {
    await handle.close();
  }
}

type Fields = Readonly<Record<string, unknown>>;

function parse(file: string, number: number, text: string): Fields {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Fields;
  } catch {
    // Falls through to the one answer for every line that is no object.
  }
  throw invalid(file, number === 1 ? "it is no dump of k3s-p" : `line ${number} is not valid JSON`);
}

function requireHeader(file: string, { kind, version }: Fields): void {
  if (kind !== KIND) throw invalid(file, "it is no dump of k3s-p");
  if (version !== DUMP_VERSION) throw invalid(file, `it has version ${version}, and this k3s-p reads version ${DUMP_VERSION}`);
}

function requireRow(file: string, number: number, line: Fields): void {
  const { key, createRevision, modRevision, value, base64 } = line;
  if (typeof key !== "string" || key === "") throw invalid(file, `line ${number} has no key`);
  if (!isRevision(createRevision) || !isRevision(modRevision)) throw invalid(file, `line ${number} (${key}) has no revisions`);
  if (typeof value !== "string" && typeof base64 !== "string") throw invalid(file, `line ${number} (${key}) has no value`);
}

const isRevision = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

function requireEnd(file: string, { revision, rows, sha256 }: Fields, found: { readonly rows: number; readonly sha256: string }): Summary {
  if (!isRevision(revision)) throw invalid(file, "its last line has no revision");
  if (rows !== found.rows || sha256 !== found.sha256) throw invalid(file, "its sum does not fit: it was changed after it was written");
  return { revision, rows: found.rows };
}

const invalid = (file: string, why: string): K3spError =>
  k3spError("K3SP_DATASTORE_FAILED", { message: `${file} cannot be restored: ${why}`, fix: "name a file that k3s-p datastore dump has written, unchanged" });
