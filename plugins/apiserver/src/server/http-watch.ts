/** WATCH over HTTP: one JSON document a line, encoded once for all watchers that want the same. */
import type { ApiError, Status } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { CacheEvent } from "../store/collection.ts";
import type { Entry } from "../store/entry.ts";
import { partialText, tableShape } from "../table/table.ts";
import { apiVersion, type Engine } from "../verbs/engine.ts";
import { startWatch, type WatchQuery, type WatchType } from "../verbs/watch.ts";
import { type Format, notAcceptable } from "./negotiate.ts";
import { includeOf } from "./respond.ts";
import type { ApiRequest, ApiResponse } from "./request.ts";

/** A client that leaves this much unread is cut off; it lists and watches again. */
const MAX_UNREAD = 16 << 20;
const BOOKMARK_INTERVAL = 60_000;
/** Upstream ends a watch without `timeoutSeconds` after half an hour to an hour. */
const MIN_TIMEOUT = 1800;

export interface WatchTimers {
  /** Calls back once a minute as long as somebody listens; one timer for all watches. */
  everyMinute(fn: () => void): () => void;
}

export function createWatchTimers(): WatchTimers {
  const listeners = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;
  return {
    everyMinute(fn) {
      listeners.add(fn);
      timer ??= setInterval(() => [...listeners].forEach((listener) => listener()), BOOKMARK_INTERVAL).unref();
      return () => {
        listeners.delete(fn);
        if (listeners.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      };
    },
  };
}

export interface WatchTarget {
  readonly def: ResourceDef;
  readonly namespace: string;
  readonly query: WatchQuery;
  readonly format: Format;
  readonly timeoutSeconds: number | undefined;
  readonly timers: WatchTimers;
}

/** Resolves when the watch has ended. */
export async function serveWatch(engine: Engine, req: ApiRequest, res: ApiResponse, target: WatchTarget): Promise<void> {
  const { def, namespace, query, format, timers } = target;
  const encoder = format.encoding === "protobuf" ? await protobufEncoder(def) : encoderOf(req, def, format);
  return new Promise((resolve, reject) => {
    const undo: (() => void)[] = [];
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      for (const fn of undo) fn();
      if (!res.writableEnded) res.end();
      resolve();
    };
    const send = (chunk: Buffer): void => {
      if (ended) return;
      if (res.writableLength > MAX_UNREAD) {
        res.destroy();
        end();
      } else res.write(chunk);
    };
    let bookmarked = 0;
    const bookmark = (initial: boolean): void => {
      if (!query.allowWatchBookmarks || (!initial && bookmarked === engine.store.revision)) return;
      bookmarked = engine.store.revision;
      send(encoder.bookmark(bookmarked, initial));
    };
    const begin = (): void => {
      if (res.headersSent) return;
      res.writeHead(200, { "content-type": encoder.contentType, "cache-control": "no-cache, private" });
      res.flushHeaders();
    };
    try {
      undo.push(startWatch(engine, def, namespace, query, {
        event(type, entry, shared) {
          begin();
          send(encoder.event(type, entry, shared));
        },
        synced: () => {
          begin();
          bookmark(true);
        },
        failed(error: ApiError) {
          begin();
          send(encoder.error(error.status));
          queueMicrotask(end);
        },
      }));
    } catch (error) {
      reject(error as Error);
      return;
    }
    begin();
    if (query.allowWatchBookmarks) undo.push(timers.everyMinute(() => bookmark(false)));
    const seconds = target.timeoutSeconds || MIN_TIMEOUT * (1 + Math.random());
    const timer = setTimeout(() => {
      bookmark(false);
      end();
    }, seconds * 1000);
    undo.push(() => clearTimeout(timer));
    res.on("close", end);
    res.on("error", end);
    if (req.signal.aborted) end();
    else req.signal.addEventListener("abort", end, { once: true });
  });
}

interface Encoder {
  readonly contentType: string;
  event(type: WatchType, entry: Entry, shared: CacheEvent | undefined): Buffer;
  bookmark(revision: number, initial: boolean): Buffer;
  error(status: Status): Buffer;
}

/** Encoded events by form; they die with their event. */
const encoded = new WeakMap<CacheEvent, Map<string, Buffer>>();

const jsonLines = {
  contentType: "application/json",
  error: (status: Status): Buffer => Buffer.from(`${JSON.stringify({ type: "ERROR", object: status })}\n`),
} as const;

async function protobufEncoder(def: ResourceDef): Promise<Encoder> {
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

function encoderOf(req: ApiRequest, def: ResourceDef, format: Format): Encoder {
  if (format.as === "object") return objectEncoder(def);
  const version = `meta.k8s.io/${format.version}`;
  if (format.as === "partial") {
    return {
      ...jsonLines,
      event: (type, entry, shared) => once(shared, `partial/${version}`, () => line(type, Buffer.from(partialText(entry, version)))),
      bookmark: (revision, initial) => bookmarkLine("PartialObjectMetadata", version, revision, initial),
    };
  }
  const shape = tableShape(def, includeOf(req), format.version);
  let first = true;
  return {
    ...jsonLines,
    event(type, entry) {
      const text = `${shape.head({ resourceVersion: String(entry.revision) }, first)}${shape.row(entry, Date.now())}]}`;
      first = false;
      return line(type, Buffer.from(text));
    },
    bookmark: (revision, initial) => bookmarkLine("Table", version, revision, initial),
  };
}

function objectEncoder(def: ResourceDef): Encoder {
  const form = `${def.group}/${def.version}`;
  return {
    ...jsonLines,
    event: (type, entry, shared) => once(shared, form, () => line(type, entry.bytes)),
    bookmark: (revision, initial) => bookmarkLine(def.kind, apiVersion(def), revision, initial),
  };
}

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

const bookmarkObject = (kind: string, apiVersion: string, revision: number, initial: boolean): Obj => ({
  kind, apiVersion,
  metadata: { resourceVersion: String(revision), ...(initial && { annotations: { "k8s.io/initial-events-end": "true" } }) },
});

const bookmarkLine = (kind: string, version: string, revision: number, initial: boolean): Buffer =>
  Buffer.from(`${JSON.stringify({ type: "BOOKMARK", object: bookmarkObject(kind, version, revision, initial) })}\n`);
