/**
 * One stored object: canonical JSON bytes and the parsed, frozen object. `resourceVersion` is the first field of
 * metadata in the bytes, so that it is written at a known place and never by parsing.
 */
import type { Obj } from "../resources/types.ts";

const MARK = Buffer.from('"metadata":{');
const HEAD = '"resourceVersion":"';

export class Entry {
  readonly namespace: string;
  readonly name: string;
  /** Modification revision, which is the object's resourceVersion. */
  readonly revision: number;
  /** What a client receives. */
  readonly bytes: Buffer;
  #object: Obj | undefined;

  constructor(namespace: string, name: string, revision: number, bytes: Buffer, object?: Obj) {
    this.namespace = namespace;
    this.name = name;
    this.revision = revision;
    this.bytes = bytes;
    this.#object = object;
  }

  /** Frozen; parsed on first use. */
  get object(): Obj {
    return (this.#object ??= deepFreeze(JSON.parse(this.bytes.toString("utf8")) as Obj));
  }

  /** Superseded versions stay in the history as bytes only. */
  release(): void {
    this.#object = undefined;
  }
}

/** A private object brought into stored form: its bytes without a resourceVersion, and the copy to freeze. */
export interface Canonical {
  readonly raw: Buffer;
  readonly object: Obj;
}

/** `apiVersion`, `kind`, `metadata` first, all other keys sorted, `undefined` and resourceVersion dropped. */
export function canonicalize(source: Obj): Canonical {
  const { apiVersion, kind, metadata, ...rest } = source;
  const meta = sorted({ ...metadata, resourceVersion: undefined }, false);
  const object = { apiVersion, kind, metadata: meta } as Obj;
  for (const key of Object.keys(rest).sort()) if (rest[key] !== undefined) object[key] = sorted(rest[key], true);
  return { raw: Buffer.from(JSON.stringify(object)), object };
}

/** The stored form with its revision; the canonical object is frozen and handed over. */
export function toEntry(namespace: string, name: string, revision: number, canonical: Canonical): Entry {
  const { object } = canonical;
  object.metadata!.resourceVersion = String(revision);
  Object.freeze(object.metadata);
  Object.freeze(object);
  return new Entry(namespace, name, revision, splice(canonical.raw, revision), object);
}

export function rawToEntry(namespace: string, name: string, revision: number, raw: Uint8Array): Entry {
  return new Entry(namespace, name, revision, splice(Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength), revision));
}

/** The same object under another revision, for the event of its deletion. */
export function withRevision(entry: Entry, revision: number): Entry {
  return new Entry(entry.namespace, entry.name, revision, splice(rawBytes(entry), revision));
}

/** The stored bytes, without the resourceVersion. */
export function rawBytes(entry: Entry): Buffer {
  const at = entry.bytes.indexOf(MARK) + MARK.length;
  const end = entry.bytes.indexOf('"', at + HEAD.length) + 2;
  return Buffer.concat([entry.bytes.subarray(0, at), entry.bytes.subarray(end)]);
}

/** Whether storing `canonical` would change nothing. */
export function sameContent(entry: Entry, canonical: Canonical): boolean {
  const { bytes } = entry;
  const { raw } = canonical;
  const at = bytes.indexOf(MARK) + MARK.length;
  const end = bytes.indexOf('"', at + HEAD.length) + 2;
  if (bytes.length - (end - at) !== raw.length) return false;
  return bytes.compare(raw, 0, at, 0, at) === 0 && bytes.compare(raw, at, raw.length, end, bytes.length) === 0;
}

function splice(raw: Buffer, revision: number): Buffer {
  const at = raw.indexOf(MARK) + MARK.length;
  const text = `${HEAD}${revision}",`;
  const bytes = Buffer.allocUnsafe(raw.length + text.length);
  raw.copy(bytes, 0, 0, at);
  bytes.write(text, at, "latin1");
  raw.copy(bytes, at + text.length, at);
  return bytes;
}

function sorted(value: unknown, freeze: boolean): any {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return Object.freeze(value.map((item) => sorted(item, true)));
  const source = value as Record<string, unknown>;
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(source).sort()) {
    const item = source[key];
    if (item !== undefined) copy[key] = typeof item === "object" && item !== null ? sorted(item, true) : item;
  }
  return freeze ? Object.freeze(copy) : copy;
}

export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const key of Object.keys(value)) deepFreeze((value as Record<string, unknown>)[key]);
  return Object.freeze(value);
}
