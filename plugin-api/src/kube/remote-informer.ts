/** An informer over any client: it lists once, then watches, and lists again when the server does not know its place. */
import type { Informer, InformerHandlers, InformerOptions, KubeClient } from "./client.ts";
import { groupResource, isExpired, isTooLargeResourceVersion } from "./errors.ts";
import { createIndexes } from "./indexes.ts";
import { createOutage, type Outage } from "./outage.ts";
import type { Resource } from "./resources.ts";
import type { KubeObject, WatchEvent } from "./types.ts";

/** What the informers of one client share. */
export interface RemoteInformerContext {
  readonly outage?: Outage;
  /** Ends the informer, as `stop` does. */
  readonly closing?: AbortSignal;
  /** From 0 to 1: many that have lost the same server do not come back as one. */
  readonly random?: () => number;
}

const FIRST_DELAY = 1000;
const LAST_DELAY = 30_000;

export function remoteInformer<T extends KubeObject>(
  client: Pick<KubeClient, "list" | "watch">, resource: Resource<T>, options: InformerOptions<T> = {}, context: RemoteInformerContext = {},
): Informer<T> {
  const { outage = createOutage(), closing, random = Math.random } = context;
  const { indexes: _, ...query } = options;
  const name = groupResource(resource.group, resource.plural);
  const cache = createCache(resource, options, (error) => outage.failed(`a listener of ${name}`, error));
  const stop = new AbortController();
  const synced = Promise.withResolvers<void>();
  let delay = FIRST_DELAY;
  /** Where the watch goes on; undefined when only a list can tell. */
  let version: string | undefined;
  let newest = "";

  async function list(): Promise<string> {
    const { items, metadata } = await client.list(resource, query);
    const { resourceVersion = "" } = metadata ?? {};
    outage.worked(`list of ${name}`);
    // A server that has lost some of its past gives the same versions again, to other objects.
    if (!stop.signal.aborted) cache.replace(items, isBefore(resourceVersion, newest));
    synced.resolve();
    return (newest = resourceVersion);
  }

  function receive(event: WatchEvent<T>): void {
    if (event.type === "ERROR" || stop.signal.aborted) return;
    const { resourceVersion = newest } = event.object.metadata ?? {};
    if (isBefore(resourceVersion, newest)) {
      version = undefined;
      throw new Error("the server has lost some of its past: what it has is listed anew");
    }
    version = newest = resourceVersion;
    delay = FIRST_DELAY;
    outage.worked(`watch of ${name}`);
    if (event.type !== "BOOKMARK") cache.put(event.object, event.type === "DELETED");
  }

  /** Resolves when there is reason to pause, with the error if there is one. */
  async function follow(): Promise<Error | undefined> {
    try {
      version ??= await list();
      for (let from: string | undefined; from !== version && !stop.signal.aborted; ) {
        from = version;
        await client.watch(resource, { ...query, resourceVersion: from, signal: stop.signal }, receive);
      }
      return undefined;
    } catch (thrown) {
      const error = thrown as Error;
      if (isExpired(error) || isTooLargeResourceVersion(error)) version = undefined;
      else if (!stop.signal.aborted) outage.failed(`${version === undefined ? "list" : "watch"} of ${name}`, error);
      return error;
    }
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      const error = await follow();
      await outage.pause(error ? delay * (0.5 + random()) : FIRST_DELAY, error, stop.signal);
      if (error) delay = Math.min(delay * 2, LAST_DELAY);
    }
    closing?.removeEventListener("abort", end);
  }

  function end(): void {
    stop.abort();
    cache.handlers.clear();
  }

  if (closing?.aborted) end();
  closing?.addEventListener("abort", end);
  void run();
  return { synced: synced.promise, ...cache.view, stop: end };
}

/** A server in the past; versions that are no numbers cannot be compared. */
const isBefore = (version: string, newest: string): boolean => Number(version) < Number(newest);

interface Cache<T> {
  readonly handlers: Set<InformerHandlers<T>>;
  readonly view: Pick<Informer<T>, "get" | "list" | "byIndex" | "on">;
  put(object: T, isDeleted?: boolean): void;
  /** This is all there is; with `anew` each may be another than the one with the same version. */
  replace(items: readonly T[], anew: boolean): void;
}

/** What is known of the server's objects. A listener that throws harms neither the others nor the cache. */
function createCache<T extends KubeObject>(resource: Resource<T>, options: InformerOptions<T>, onError: (error: Error) => void): Cache<T> {
  const objects = new Map<string, T>();
  const indexes = createIndexes(resource, options);
  const handlers = new Set<InformerHandlers<T>>();

  function tell(call: (handler: InformerHandlers<T>) => void): void {
    for (const handler of [...handlers]) guarded(() => call(handler));
  }
  function guarded(call: () => void): void {
    try {
      call();
    } catch (error) {
      onError(error as Error);
    }
  }

  function remove(key: string, last?: T): void {
    const before = objects.get(key);
    if (!before) return;
    objects.delete(key);
    indexes.put(before, undefined);
    tell((handler) => handler.deleted?.(last ?? before));
  }

  function put(object: T, isDeleted = false): void {
    const key = keyOf(object);
    if (isDeleted) return remove(key, object);
    // Another one under the same name is no update.
    if (objects.get(key)?.metadata?.uid !== object.metadata?.uid) remove(key);
    const before = objects.get(key);
    objects.set(key, object);
    indexes.put(before, object);
    tell((handler) => (before ? handler.updated?.(object, before) : handler.added?.(object)));
  }

  return {
    handlers, put,
    replace(items, anew) {
      const found = new Set(items.map(keyOf));
      for (const key of [...objects.keys()]) if (!found.has(key)) remove(key);
      for (const item of items) if (anew || objects.get(keyOf(item))?.metadata?.resourceVersion !== item.metadata?.resourceVersion) put(item);
    },
    view: {
      get: (name, namespace = options.namespace ?? "") => objects.get(resource.namespaced ? `${namespace}/${name}` : `/${name}`),
      list: (namespace) => (namespace ? [...objects.values()].filter((o) => o.metadata?.namespace === namespace) : [...objects.values()]),
      byIndex: indexes.find,
      on(handler) {
        for (const object of [...objects.values()]) guarded(() => handler.added?.(object));
        handlers.add(handler);
        return () => void handlers.delete(handler);
      },
    },
  };
}

const keyOf = ({ metadata }: KubeObject): string => `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
