/** WATCH over HTTP: one JSON document a line, encoded once for all watchers that want the same. */
import type { ApiError } from "@k3s-p/plugin-api/kube";
import type { ResourceDef } from "../resources/types.ts";
import type { CacheEvent } from "../store/collection.ts";
import type { Entry } from "../store/entry.ts";
import { partialText, tableShape } from "../table/table.ts";
import { apiVersion, type Engine } from "../verbs/engine.ts";
import { startWatch, type WatchQuery, type WatchType } from "../verbs/watch.ts";
import type { Format } from "./negotiate.ts";
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
export function serveWatch(engine: Engine, req: ApiRequest, res: ApiResponse, target: WatchTarget): Promise<void> {
  const { def, namespace, query, format, timers } = target;
  const encoder = encoderOf(req, def, format);
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
      send(Buffer.from(encoder.bookmark(bookmarked, initial)));
    };
    const begin = (): void => {
      if (res.headersSent) return;
      res.writeHead(200, { "content-type": "application/json", "cache-control": "no-cache, private" });
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
          send(Buffer.from(`${JSON.stringify({ type: "ERROR", object: error.status })}\n`));
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
  event(type: WatchType, entry: Entry, shared: CacheEvent | undefined): Buffer;
  bookmark(revision: number, initial: boolean): string;
}

/** Encoded events by form; entries die with their event. */
const encoded = new WeakMap<CacheEvent, Map<string, Buffer>>();

function encoderOf(req: ApiRequest, def: ResourceDef, format: Format): Encoder {
  if (format.as === "object") return objectEncoder(def);
  const version = `meta.k8s.io/${format.version}`;
  if (format.as === "partial") {
    return {
      event: (type, entry, shared) => once(shared, `partial/${version}`, () => line(type, Buffer.from(partialText(entry, version)))),
      bookmark: (revision, initial) => bookmarkLine("PartialObjectMetadata", version, revision, initial),
    };
  }
  const include = includeOf(req);
  const shape = tableShape(def, include, format.version);
  let first = true;
  return {
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

function bookmarkLine(kind: string, version: string, revision: number, initial: boolean): string {
  const metadata = { resourceVersion: String(revision), ...(initial && { annotations: { "k8s.io/initial-events-end": "true" } }) };
  return `${JSON.stringify({ type: "BOOKMARK", object: { kind, apiVersion: version, metadata } })}\n`;
}
