/** An informer over any client: it lists once, then watches, and lists again when the server has forgotten its place. */
import type { Informer, InformerHandlers, InformerOptions, KubeClient } from "./client.ts";
import { isExpired } from "./errors.ts";
import { unknownIndex } from "./indexes.ts";
import type { Resource } from "./resources.ts";
import type { KubeObject, WatchEvent } from "./types.ts";

const firstDelay = 1000;
const maxDelay = 30_000;

export function remoteInformer<T extends KubeObject>(client: Pick<KubeClient, "list" | "watch">, resource: Resource<T>, options: InformerOptions<T> = {}): Informer<T> {
  const { indexes = {}, ...query } = options;
  const objects = new Map<string, T>();
  const handlers = new Set<InformerHandlers<T>>();
  const stop = new AbortController();
  const synced = Promise.withResolvers<void>();

  /** Tells who listens what has become of one object. */
  function put(key: string, next: T | undefined, last?: T): void {
    const before = objects.get(key);
    if (next) objects.set(key, next);
    else objects.delete(key);
    for (const handler of [...handlers]) {
      if (next && before) handler.updated?.(next, before);
      else if (next) handler.added?.(next);
      else if (before) handler.deleted?.(last ?? before);
    }
  }

  async function list(): Promise<string> {
    const { items, metadata } = await client.list(resource, query);
    const found = new Map(items.map((item) => [keyOf(item), item]));
    for (const key of [...objects.keys()]) if (!found.has(key)) put(key, undefined);
    for (const [key, item] of found) if (objects.get(key)?.metadata?.resourceVersion !== item.metadata?.resourceVersion) put(key, item);
    synced.resolve();
    return metadata?.resourceVersion ?? "";
  }

  async function follow(): Promise<void> {
    let version: string | undefined;
    for (let delay = firstDelay; !stop.signal.aborted; ) {
      try {
        version ??= await list();
        await client.watch(resource, { ...query, resourceVersion: version, signal: stop.signal }, (event: WatchEvent<T>) => {
          if (event.type === "ERROR") return;
          version = event.object.metadata?.resourceVersion ?? version;
          delay = firstDelay;
          if (event.type === "DELETED") put(keyOf(event.object), undefined, event.object);
          else if (event.type !== "BOOKMARK") put(keyOf(event.object), event.object);
        });
      } catch (error) {
        if (isExpired(error)) version = undefined;
        await pause(delay, stop.signal);
        delay = Math.min(delay * 2, maxDelay);
      }
    }
  }

  void follow();
  return {
    synced: synced.promise,
    get: (name, namespace = query.namespace ?? "") => objects.get(resource.namespaced ? `${namespace}/${name}` : `/${name}`),
    list: (namespace) => (namespace ? [...objects.values()].filter((o) => o.metadata?.namespace === namespace) : [...objects.values()]),
    byIndex(index, key) {
      const keysOf = indexes[index];
      if (!keysOf) throw unknownIndex(resource, options, index);
      return [...objects.values()].filter((o) => keysOf(o).includes(key));
    },
    on(handler) {
      for (const object of objects.values()) handler.added?.(object);
      handlers.add(handler);
      return () => void handlers.delete(handler);
    },
    stop() {
      stop.abort();
      handlers.clear();
    },
  };
}

const keyOf = ({ metadata }: KubeObject): string => `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
