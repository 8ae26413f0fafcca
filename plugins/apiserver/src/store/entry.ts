/**
 * One stored object: canonical JSON bytes and the parsed, frozen object. `resourceVersion` is the first field of
 * metadata in the bytes, so that it is written at a known place and never by parsing.
 */
import { equal, type FieldSet } from "../patch/fieldset.ts";
import { internParsed, textOf } from "../patch/fieldtext.ts";
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
  #wasRead = false;

  constructor(namespace: string, name: string, revision: number, bytes: Buffer, object?: Obj) {
    this.namespace = namespace;
    this.name = name;
    this.revision = revision;
    this.bytes = bytes;
    this.#object = object;
  }

  /** Frozen, and parsed if need be, when somebody reads it for the first time. */
  get object(): Obj {
    if (!this.#wasRead) {
      this.#object = deepFreeze(this.#object ?? parse(this.bytes));
      this.#wasRead = true;
    }
    return this.#object!;
  }

  /** Superseded versions stay in the history as bytes only. */
  release(): void {
    this.#object = undefined;
    this.#wasRead = false;
  }

  /** Many objects are written and never looked at in this process: they stay as bytes only. */
  releaseUnread(): void {
    if (!this.#wasRead) this.#object = undefined;
  }
}

function parse(bytes: Buffer): Obj {
  const object = JSON.parse(bytes.toString("utf8")) as Obj;
  for (const entry of (object.metadata?.managedFields ?? []) as { fieldsV1?: FieldSet }[]) {
    if (entry.fieldsV1) entry.fieldsV1 = internParsed(entry.fieldsV1);
  }
  return object;
}

/** A private object brought into stored form: its bytes without a resourceVersion, and the object to freeze. */
export interface Canonical {
  readonly raw: Buffer;
  readonly object: Obj;
}

/**
 * `apiVersion`, `kind` and `metadata` first, `undefined` and resourceVersion dropped. The source's parts become the stored
 * object's: nobody may change them any more.
 */
export function canonicalize(source: Obj): Canonical {
  const { apiVersion, kind, metadata, ...rest } = source;
  const { resourceVersion: _, managedFields = [], ...meta } = metadata ?? {};
  const managed = managedFields.length > 0 ? `"managedFields":[${managedFields.map(managerText).join(",")}]` : "";
  const head = `{"apiVersion":${JSON.stringify(apiVersion)},"kind":${JSON.stringify(kind)},"metadata":${joined(JSON.stringify(meta), managed)}}`;
  const text = joined(head, JSON.stringify(rest).slice(1, -1));
  return { raw: onTheWay(text), object: { apiVersion, kind, metadata: managed ? { ...meta, managedFields } : meta, ...rest } as Obj };
}

const SLAB = 256 * 1024;
let slab = Buffer.alloc(0);
let used = 0;

/** The bytes of a text on its way to the datastore, in memory that such texts share: they are gone together. */
function onTheWay(text: string): Buffer {
  const most = 3 * text.length;
  if (most > SLAB / 8) return Buffer.from(text);
  if (most > slab.length - used) {
    slab = Buffer.allocUnsafeSlow(SLAB);
    used = 0;
  }
  const bytes = slab.subarray(used, used + slab.write(text, used));
  used += bytes.length;
  return bytes;
}

/** The text of an object with more members. */
function joined(object: string, members: string): string {
  if (!members) return object;
  return object === "{}" ? `{${members}}` : `${object.slice(0, -1)},${members}}`;
}

type Manager = NonNullable<NonNullable<Obj["metadata"]>["managedFields"]>[number];

/** The text of a field set is known already, and is most of it. */
function managerText(manager: Manager): string {
  const { fieldsV1, ...rest } = manager;
  return joined(JSON.stringify(rest), fieldsV1 ? `"fieldsV1":${textOf(fieldsV1 as FieldSet)}` : "");
}

/** The stored form with its revision. */
export function toEntry(namespace: string, name: string, revision: number, canonical: Canonical): Entry {
  const { object } = canonical;
  object.metadata!.resourceVersion = String(revision);
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

/** Whether storing `object` would change nothing. */
export function sameContent({ object: stored }: Entry, object: Obj): boolean {
  for (const key in object) if (key !== "metadata" && !equal(object[key], stored[key])) return false;
  for (const key in stored) if (object[key] === undefined) return false;
  const { resourceVersion: _, ...after } = object.metadata ?? {};
  const { resourceVersion: __, ...before } = stored.metadata ?? {};
  return equal(after, before);
}

function splice(raw: Buffer, revision: number): Buffer {
  const at = raw.indexOf(MARK) + MARK.length;
  const text = `${HEAD}${revision}",`;
  // Outside of the shared pool: its slabs would live as long as the last object in them, with all the garbage between.
  const bytes = Buffer.allocUnsafeSlow(raw.length + text.length);
  raw.copy(bytes, 0, 0, at);
  bytes.write(text, at, "latin1");
  raw.copy(bytes, at + text.length, at);
  return bytes;
}

/** Also drops members that are undefined. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  if (Array.isArray(value)) for (const item of value) deepFreeze(item);
  else {
    const map = value as Record<string, unknown>;
    for (const key in map) {
      const item = map[key];
      if (item === undefined) delete map[key];
      else if (typeof item === "object") deepFreeze(item);
    }
  }
  return Object.freeze(value);
}
