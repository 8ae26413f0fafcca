/** Watch events as bytes: objects, metadata, tables and protobuf frames. */
import type { Status } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { CacheEvent } from "../store/collection.ts";
import type { Entry } from "../store/entry.ts";
import { partialText, tableShape } from "../table/table.ts";
import { apiVersion } from "../verbs/engine.ts";
import type { WatchType } from "../verbs/watch.ts";
import { type Format, notAcceptable } from "./negotiate.ts";
import type { ApiRequest } from "./request.ts";
import { includeOf } from "./respond.ts";

export interface WatchEncoder {
  readonly contentType: string;
  event(type: WatchType, entry: Entry, shared: CacheEvent | undefined): Buffer;
  bookmark(revision: number, initial: boolean): Buffer;
  error(status: Status): Buffer;
}

export function encoderFor(req: ApiRequest, def: ResourceDef, format: Format): WatchEncoder | Promise<WatchEncoder> {
  if (format.encoding === "protobuf") return protobufEncoder(def);
  if (format.as === "object") return objectEncoder(def);
  const version = `meta.k8s.io/${format.version}`;
  return format.as === "partial" ? partialEncoder(version) : tableEncoder(req, def, format.version);
}

const jsonLines = {
  contentType: "application/json",
  error: (status: Status): Buffer => Buffer.from(`${JSON.stringify({ type: "ERROR", object: status })}\n`),
} as const;

function objectEncoder(def: ResourceDef): WatchEncoder {
  const form = `${def.group}/${def.version}`;
  return {
    ...jsonLines,
    event: (type, entry, shared) => once(shared, form, () => line(type, entry.bytes)),
    bookmark: (revision, initial) => bookmarkLine(def.kind, apiVersion(def), revision, initial),
  };
}

const partialEncoder = (version: string): WatchEncoder => ({
  ...jsonLines,
  event: (type, entry, shared) => once(shared, `partial/${version}`, () => line(type, Buffer.from(partialText(entry, version)))),
  bookmark: (revision, initial) => bookmarkLine("PartialObjectMetadata", version, revision, initial),
});

/** Only the first event carries the columns. */
function tableEncoder(req: ApiRequest, def: ResourceDef, version: string): WatchEncoder {
  const shape = tableShape(def, includeOf(req), version);
  let first = true;
  return {
    ...jsonLines,
    event(type, entry) {
      const text = `${shape.head({ resourceVersion: String(entry.revision) }, first)}${shape.row(entry, Date.now())}]}`;
      first = false;
      return line(type, Buffer.from(text));
    },
    bookmark: (revision, initial) => bookmarkLine("Table", `meta.k8s.io/${version}`, revision, initial),
  };
}

async function protobufEncoder(def: ResourceDef): Promise<WatchEncoder> {
  const { encodeWatchFrame, hasProtobuf } = await import("../protobuf/index.ts");
  if (!hasProtobuf(apiVersion(def), def.kind)) throw notAcceptable();
  const form = `protobuf/${def.group}/${def.version}`;
  return {
    contentType: "application/vnd.kubernetes.protobuf;stream=watch",
    event: (type, entry, shared) => once(shared, form, () => encodeWatchFrame(type, entry.object)),
    bookmark: (revision, initial) => encodeWatchFrame("BOOKMARK", bookmarkObject(def.kind, apiVersion(def), revision, initial)),
    error: (status) => encodeWatchFrame("ERROR", status),
  };
}

/** Encoded events by form; they die with their event. */
const encoded = new WeakMap<CacheEvent, Map<string, Buffer>>();

function once(event: CacheEvent | undefined, form: string, make: () => Buffer): Buffer {
  if (!event) return make();
  let forms = encoded.get(event);
  if (!forms) encoded.set(event, (forms = new Map()));
  let bytes = forms.get(form);
  if (!bytes) forms.set(form, (bytes = make()));
  return bytes;
}

const END = Buffer.from("}\n");

const line = (type: WatchType, object: Buffer): Buffer => Buffer.concat([Buffer.from(`{"type":"${type}","object":`), object, END]);

const bookmarkObject = (kind: string, version: string, revision: number, initial: boolean): Obj => ({
  kind, apiVersion: version,
  metadata: { resourceVersion: String(revision), ...(initial && { annotations: { "k8s.io/initial-events-end": "true" } }) },
});

const bookmarkLine = (kind: string, version: string, revision: number, initial: boolean): Buffer =>
  Buffer.from(`${JSON.stringify({ type: "BOOKMARK", object: bookmarkObject(kind, version, revision, initial) })}\n`);
