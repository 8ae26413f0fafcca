/** WATCH over HTTP and WebSocket: one document an event, encoded once for all watchers that want the same. */
import type { ApiError } from "@k3s-p/plugin-api/kube";
import type { ResourceDef } from "../resources/types.ts";
import type { Engine } from "../verbs/engine.ts";
import { startWatch, type WatchQuery } from "../verbs/watch.ts";
import type { Format } from "./negotiate.ts";
import type { ApiRequest, ApiResponse } from "./request.ts";
import { encoderFor, type WatchEncoder } from "./watch-encoder.ts";
import { createTurn, openStream, type Turn, type WatchStream } from "./watch-stream.ts";

const BOOKMARK_INTERVAL = 60_000;
/** Upstream ends a watch without `timeoutSeconds` after half an hour to an hour. */
const MIN_TIMEOUT = 1800;

/** What all watches share. */
export interface WatchHub extends Turn {
  /** Calls back once a minute as long as somebody listens; one timer for all watches. */
  everyMinute(fn: () => void): () => void;
  /** Calls back when the server closes. */
  onClose(fn: () => void): () => void;
  close(): void;
}

export function createWatchHub(): WatchHub {
  const ticking = new Set<() => void>();
  const closing = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;
  return {
    ...createTurn(),
    everyMinute(fn) {
      ticking.add(fn);
      timer ??= setInterval(() => [...ticking].forEach((listener) => listener()), BOOKMARK_INTERVAL).unref();
      return () => {
        ticking.delete(fn);
        if (ticking.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      };
    },
    onClose(fn) {
      closing.add(fn);
      return () => void closing.delete(fn);
    },
    close: () => [...closing].forEach((fn) => fn()),
  };
}

export interface WatchTarget {
  readonly def: ResourceDef;
  readonly namespace: string;
  readonly query: WatchQuery;
  readonly format: Format;
  readonly timeoutSeconds: number | undefined;
  readonly hub: WatchHub;
}

/** Resolves when the watch has ended; rejects on bad options, before anything is sent. */
export async function serveWatch(engine: Engine, req: ApiRequest, res: ApiResponse, target: WatchTarget): Promise<void> {
  const { def, namespace, query, hub } = target;
  const found = encoderFor(req, def, target.format);
  const encoder = found instanceof Promise ? await found : found;
  const stream = openStream(res, encoder, hub);
  const bookmark = bookmarks(engine, stream, encoder, query.allowWatchBookmarks === true);
  stream.undo(startWatch(engine, def, namespace, query, {
    event: (type, entry, shared) => stream.event({ type, entry, shared }),
    synced: () => bookmark(true),
    failed(error: ApiError) {
      stream.send(encoder.error(error.status));
      queueMicrotask(stream.end);
    },
  }));
  stream.started();
  stream.begin();
  if (query.allowWatchBookmarks) stream.undo(hub.everyMinute(() => bookmark(false)));
  // A client that has seen more than there is, before a datastore lost some of it, need not wait to hear so.
  if (!query.sendInitialEvents && Number(query.resourceVersion) > engine.store.revision) bookmark(false);
  stream.undo(hub.onClose(stream.end));
  if (def.custom) stream.undo(onReplaced(engine, def, stream.end));
  const seconds = target.timeoutSeconds || MIN_TIMEOUT * (1 + Math.random());
  const timer = setTimeout(() => {
    bookmark(false);
    stream.end();
  }, seconds * 1000);
  stream.undo(() => clearTimeout(timer));
  return stream.ended;
}

/** A watch ends with the definition of its resource, and with every change of it: the client watches on with the new one. */
function onReplaced({ registry }: Engine, def: ResourceDef, end: () => void): () => void {
  return registry.onChange(() => {
    if (registry.get(def.group, def.version, def.plural) !== def) queueMicrotask(end);
  });
}

/** Tells a client how far it has come, also when that is no news: what is silent for minutes may be dead. */
function bookmarks(engine: Engine, stream: WatchStream, encoder: WatchEncoder, wanted: boolean): (initial: boolean) => void {
  return (initial) => {
    if (wanted) stream.send(encoder.bookmark(engine.store.revision, initial));
  };
}
