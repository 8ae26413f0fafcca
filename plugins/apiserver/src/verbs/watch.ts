/** WATCH: the events that one watcher sees, from a resourceVersion on, filtered by its selectors. */
import { gone, type ApiError } from "@k3s-p/plugin-api/kube";
import type { ResourceDef } from "../resources/types.ts";
import type { CacheEvent } from "../store/collection.ts";
import { type Entry, withRevision } from "../store/entry.ts";
import { compileSelection, type Selection } from "../store/selectors.ts";
import { collectionOf, type Engine, present } from "./engine.ts";
import { invalidOptions, untilReached } from "./list.ts";

export interface WatchQuery {
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly resourceVersionMatch?: string | undefined;
  readonly sendInitialEvents?: boolean | undefined;
  readonly allowWatchBookmarks?: boolean | undefined;
}

export type WatchType = "ADDED" | "MODIFIED" | "DELETED";

export interface WatchSink {
  /** `shared` is set when every watcher of the same resource gets these very bytes: encode them once. */
  event(type: WatchType, entry: Entry, shared?: CacheEvent): void;
  /** The initial events are complete up to a revision. */
  synced(revision: number): void;
  /** The watch cannot go on: 410 when its start is beyond the window of history, 504 when initial events as new as that are not to be had. */
  failed(error: ApiError): void;
}

/**
 * Delivers what is there at once, then every change as it happens; returns the stop function. Throws on bad options.
 * From a version that the store has not reached there is nothing to deliver until it has, however long that takes
 * (https://kubernetes.io/docs/reference/using-api/api-concepts/#unavailable-resource-versions); bookmarks tell how far it is.
 */
export function startWatch(engine: Engine, def: ResourceDef, namespace: string, query: WatchQuery, sink: WatchSink): () => void {
  checkQuery(query);
  const selection = compileSelection(def, query.labelSelector, query.fieldSelector);
  const collection = collectionOf(engine, def);
  const from = Number(query.resourceVersion || 0);
  const prepared = inTurn(def, sink);
  const show = (event: CacheEvent): void => deliver(engine, def, namespace, selection, event, sink);
  const follow = !def.prepareRead ? show
    : (event: CacheEvent): void => prepared(event.previous ? [event.entry, event.previous] : [event.entry], () => show(event));

  const again = (): (() => void) => startWatch(engine, def, namespace, query, sink);

  if (query.sendInitialEvents && from > engine.store.revision) return afterwards(untilReached(engine, from), again, sink);
  if (query.sendInitialEvents || (from === 0 && query.sendInitialEvents === undefined)) {
    const entries = collection.list(namespace);
    const { revision } = engine.store;
    prepared(entries, () => {
      for (const entry of initial(engine, def, entries, selection)) sink.event("ADDED", entry);
      if (query.sendInitialEvents) sink.synced(revision);
    });
  } else if (from > 0) {
    const missed = collection.since(from);
    const recalling = missed ? undefined : engine.store.recall(from);
    if (recalling) return afterwards(recalling, again, sink);
    if (!missed) {
      sink.failed(gone(`too old resource version: ${from} (${collection.oldest})`));
      return () => {};
    }
    for (const event of missed) follow(event);
  }
  return collection.subscribe((event) => {
    if (event.revision > from) follow(event);
  });
}

/** A watch that begins later, or not at all; it can be stopped before. */
function afterwards(ready: Promise<void>, start: () => () => void, sink: WatchSink): () => void {
  let stop: (() => void) | undefined;
  let isOver = false;
  ready.then(() => {
    if (!isOver) stop = start();
  }).catch((error: ApiError) => {
    if (!isOver) sink.failed(error);
  });
  return () => {
    isOver = true;
    stop?.();
  };
}

function checkQuery(query: WatchQuery): void {
  const { resourceVersion, resourceVersionMatch: match, sendInitialEvents } = query;
  if (resourceVersion && !/^\d+$/.test(resourceVersion)) {
    throw invalidOptions("resourceVersion", `Invalid value: ${JSON.stringify(resourceVersion)}: strconv.ParseUint: parsing ${JSON.stringify(resourceVersion)}: invalid syntax`);
  }
  if (sendInitialEvents !== undefined && match !== "NotOlderThan") {
    throw invalidOptions("resourceVersionMatch", "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
  }
  if (match !== undefined && sendInitialEvents === undefined) {
    throw invalidOptions("resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
  }
}

/** Runs steps at once, or for conversions that take time one after the other; the first that fails ends the watch. */
function inTurn(def: ResourceDef, sink: WatchSink): (entries: readonly Entry[], step: () => void) => void {
  if (!def.prepareRead) return (_, step) => step();
  let last = Promise.resolve();
  let isOver = false;
  return (entries, step) => {
    last = last.then(async () => {
      if (isOver) return;
      await def.prepareRead!(entries);
      step();
    }).catch((error: ApiError) => {
      isOver = true;
      sink.failed(error);
    });
  };
}

function initial(engine: Engine, def: ResourceDef, entries: readonly Entry[], selection: Selection): readonly Entry[] {
  const shown = entries.map((entry) => present(engine, def, entry));
  return selection.everything ? shown : shown.filter((entry) => selection.matches(entry.object));
}

/** A change that moves an object into or out of the selection is an addition or a deletion to this watcher. */
function deliver(engine: Engine, def: ResourceDef, namespace: string, selection: Selection, event: CacheEvent, sink: WatchSink): void {
  if (namespace && event.entry.namespace !== namespace) return;
  const entry = present(engine, def, event.entry);
  if (selection.everything) return sink.event(event.type, entry, event);
  const now = event.type !== "DELETED" && selection.matches(entry.object);
  const previous = event.previous && present(engine, def, event.previous);
  const before = previous !== undefined && selection.matches(previous.object);
  if (event.type === "DELETED" && before) sink.event("DELETED", entry, event);
  else if (now && before) sink.event("MODIFIED", entry, event.type === "MODIFIED" ? event : undefined);
  else if (now) sink.event("ADDED", entry, event.type === "ADDED" ? event : undefined);
  else if (before) sink.event("DELETED", withRevision(previous, event.revision));
}
