/** Informers of this process: views over the object cache that hold nothing but their indexes. */
import { AsyncLocalStorage } from "node:async_hooks";
import { createIndexes, type Informer, type InformerHandlers, type InformerOptions, type KubeObject, type Resource } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { CacheEvent, Collection } from "../store/collection.ts";
import type { Entry } from "../store/entry.ts";
import { compileSelection, type Selection } from "../store/selectors.ts";
import { collectionOf, type Engine, present } from "../verbs/engine.ts";

interface Listener<T> {
  readonly handlers: InformerHandlers<T>;
  /** Runs in the context of who listens: an event comes in the course of somebody's write, whose fault an error is not. */
  readonly run: ReturnType<typeof AsyncLocalStorage.snapshot>;
}

interface Source {
  readonly def: ResourceDef;
  readonly collection: Collection;
  readonly selection: Selection;
  readonly unsubscribe: () => void;
}

/** Works also for a resource that is not served yet: it is empty and not synced until it is. */
export function createInformer<T extends KubeObject>(engine: Engine, resource: Resource<T>, options: InformerOptions<T> = {}): Informer<T> {
  const { namespace = "" } = options;
  const listeners = new Set<Listener<T>>();
  const indexes = createIndexes(resource, options);
  const { promise: synced, resolve: setSynced } = Promise.withResolvers<void>();
  let source: Source | undefined;
  let stopWaiting = (): void => {};

  function connect(): boolean {
    const served = engine.registry.get(resource.group, resource.version, resource.plural);
    if (!served) return false;
    const def = served.prepareRead ? asKept(served) : served;
    const collection = collectionOf(engine, def);
    const selection = compileSelection(def, options.labelSelector, options.fieldSelector);
    source = { def, collection, selection, unsubscribe: collection.subscribe(receive) };
    if (options.indexes) for (const entry of selected(namespace)) indexes.put(undefined, entry.object as unknown as T);
    setSynced();
    return true;
  }

  function accepts(object: Obj): boolean {
    return source!.selection.everything || source!.selection.matches(object);
  }

  function selected(space: string): readonly Entry[] {
    if (!source || (namespace && space && space !== namespace)) return [];
    const entries = source.collection.list(space || namespace);
    const shown = source.def.storedAs ? entries.map((entry) => present(engine, source!.def, entry)) : entries;
    return source.selection.everything ? shown : shown.filter((entry) => accepts(entry.object));
  }

  function receive(event: CacheEvent): void {
    if (namespace && event.entry.namespace !== namespace) return;
    const { def } = source!;
    const object = present(engine, def, event.entry).object;
    const previous = event.previous && present(engine, def, event.previous).object;
    const before = previous && accepts(previous) ? previous : undefined;
    const after = event.type !== "DELETED" && accepts(object) ? object : undefined;
    if (!before && !after) return;
    indexes.put(before as unknown as T | undefined, after as unknown as T | undefined);
    const last = event.type === "DELETED" ? object : before;
    for (const { handlers, run } of [...listeners]) guarded(() => run(notify, handlers as InformerHandlers<KubeObject>, before, after, last));
  }

  if (!connect()) {
    stopWaiting = engine.registry.onChange(() => {
      if (!source && connect()) {
        stopWaiting();
        for (const { handlers, run } of listeners) run(replay, handlers);
      }
    });
  }

  function replay(handler: InformerHandlers<T>): void {
    if (handler.added) for (const entry of selected(namespace)) guarded(() => handler.added!(entry.object as unknown as T));
  }

  /** A handler that throws harms neither the others nor the writer whose change it was told of. */
  function guarded(call: () => void): void {
    try {
      call();
    } catch (error) {
      engine.onError(error);
    }
  }

  return {
    synced,
    get(name, space = namespace) {
      const entry = source?.collection.get(name, resource.namespaced ? space : "");
      if (!entry || (namespace && entry.namespace !== namespace)) return undefined;
      const { object } = present(engine, source!.def, entry);
      return accepts(object) ? (object as unknown as T) : undefined;
    },
    list: (space = "") => selected(space).map((entry) => entry.object as unknown as T),
    byIndex: indexes.find,
    on(handlers) {
      replay(handlers);
      const listener: Listener<T> = { handlers, run: AsyncLocalStorage.snapshot() };
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    stop() {
      stopWaiting();
      source?.unsubscribe();
      listeners.clear();
    },
  };
}

/** A view that must not wait shows objects that only a webhook can convert in the version in which they are kept. */
function asKept({ fromStored: _, ...def }: ResourceDef): ResourceDef {
  return def;
}

function notify(handler: InformerHandlers<KubeObject>, before: Obj | undefined, after: Obj | undefined, last: Obj | undefined): void {
  if (before && after) handler.updated?.(after, before);
  else if (after) handler.added?.(after);
  else handler.deleted?.(last!);
}
