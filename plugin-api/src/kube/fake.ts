/** A Kubernetes client over a map, for plugin tests: no validation, no defaults, informers told at once. */
import type { Informer, InformerHandlers, InformerOptions, KubeClient } from "./client.ts";
import { alreadyExists, apiError, notFound } from "./errors.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import { matches, parseLabelSelector } from "./selectors.ts";
import type { KubeObject, Status } from "./types.ts";

export interface FakeKube extends KubeClient {
  /** Every call, as `VERB resource namespace/name`. */
  readonly calls: readonly string[];
  /** Creates or replaces without being recorded. */
  put<T extends KubeObject>(resource: Resource<T>, object: object): T;
  drop(resource: Resource, name: string, namespace?: string): void;
  read<T extends KubeObject>(resource: Resource<T>, name: string, namespace?: string): T | undefined;
  all<T extends KubeObject>(resource: Resource<T>): readonly T[];
  /** Adds a resource to what discovery answers. */
  serve(...resources: readonly Resource[]): void;
}

export interface FakeOptions {
  readonly serve?: readonly Resource[];
  /** Answers `request` before discovery does. */
  readonly onRequest?: (method: string, path: string, body: unknown) => { readonly status: number; readonly body: unknown } | undefined;
  /** Called before a write takes place; throw an `ApiError` to refuse it. */
  readonly onWrite?: (verb: string, resource: Resource, object: KubeObject) => void;
}

const verbs: readonly string[] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

type Listener = (before: KubeObject | undefined, after: KubeObject | undefined) => void;

export function fakeKube(options: FakeOptions = {}): FakeKube {
  const store = new Map<string, Map<string, KubeObject>>();
  const listeners = new Map<string, Set<Listener>>();
  const served: Resource[] = [...(options.serve ?? [])];
  const calls: string[] = [];
  let revision = 0;

  const tableOf = (r: Resource) => {
    const id = `${r.group}/${r.plural}`;
    if (!store.has(id)) store.set(id, new Map());
    return store.get(id)!;
  };
  const keyFor = (r: Resource, name: string, namespace?: string) => (r.namespaced ? `${namespace || "default"}/${name}` : name);
  const note = (verb: string, r: Resource, name: string, namespace?: string) =>
    void calls.push(`${verb} ${r.plural} ${keyFor(r, name, namespace)}`);

  function write(r: Resource, object: KubeObject): KubeObject {
    const key = keyFor(r, object.metadata!.name!, object.metadata!.namespace);
    const before = tableOf(r).get(key);
    revision++;
    const stored = freeze(structuredClone({
      ...object, apiVersion: apiVersionOf(r), kind: r.kind,
      metadata: {
        uid: before?.metadata?.uid ?? `uid-${revision}`, creationTimestamp: "2026-01-01T00:00:00Z", ...object.metadata,
        ...(r.namespaced && { namespace: object.metadata!.namespace || "default" }), resourceVersion: String(revision),
      },
    }));
    tableOf(r).set(key, stored);
    tell(r, before, stored);
    return stored;
  }
  function tell(r: Resource, before: KubeObject | undefined, after: KubeObject | undefined): void {
    for (const listener of [...(listeners.get(`${r.group}/${r.plural}`) ?? [])]) listener(before, after);
  }
  function drop(r: Resource, name: string, namespace?: string): KubeObject | undefined {
    const before = tableOf(r).get(keyFor(r, name, namespace));
    tableOf(r).delete(keyFor(r, name, namespace));
    if (before) tell(r, before, undefined);
    return before;
  }
  function must(r: Resource, name: string, namespace?: string): KubeObject {
    const found = tableOf(r).get(keyFor(r, name, namespace));
    if (!found) throw notFound(r, name);
    return found;
  }
  const select = (r: Resource, o: { namespace?: string; labelSelector?: string; fieldSelector?: string }) => {
    const labels = o.labelSelector ? parseLabelSelector(o.labelSelector) : [];
    const name = /metadata\.name=([^,]+)/.exec(o.fieldSelector ?? "")?.[1];
    return (x: KubeObject) =>
      (!o.namespace || x.metadata?.namespace === o.namespace) && matches(labels, x.metadata?.labels) && (!name || x.metadata?.name === name);
  };

  const client: FakeKube = {
    calls,
    put: (r, object) => write(r, object as KubeObject) as never,
    drop: (r, name, namespace) => void drop(r, name, namespace),
    read: (r, name, namespace) => tableOf(r).get(keyFor(r, name, namespace)) as never,
    all: (r) => [...tableOf(r).values()] as never,
    serve: (...resources) => void served.push(...resources),
    async get(r, name, namespace) {
      note("GET", r, name, namespace);
      return must(r, name, namespace) as never;
    },
    async list(r, o = {}) {
      return { metadata: { resourceVersion: String(revision) }, items: [...tableOf(r).values()].filter(select(r, o)) as never };
    },
    async create(r, object, o = {}) {
      const named = { ...object, metadata: { ...object.metadata, ...(o.namespace && { namespace: o.namespace }) } } as KubeObject;
      note("CREATE", r, named.metadata!.name!, named.metadata!.namespace);
      options.onWrite?.("create", r, named);
      if (tableOf(r).has(keyFor(r, named.metadata!.name!, named.metadata!.namespace))) throw alreadyExists(r, named.metadata!.name!);
      return write(r, named) as never;
    },
    async update(r, object) {
      note("UPDATE", r, object.metadata!.name!, object.metadata!.namespace);
      must(r, object.metadata!.name!, object.metadata!.namespace);
      options.onWrite?.("update", r, object);
      return write(r, object) as never;
    },
    async patch(r, name, patch, o = {}) {
      note("PATCH", r, name, o.namespace);
      const next = mergePatch(must(r, name, o.namespace), patch) as KubeObject;
      options.onWrite?.("patch", r, next);
      return write(r, next) as never;
    },
    async delete(r, name, o = {}) {
      note("DELETE", r, name, o.namespace);
      must(r, name, o.namespace);
      return drop(r, name, o.namespace) as never;
    },
    async deleteCollection(r, o = {}) {
      for (const x of [...tableOf(r).values()].filter(select(r, o))) drop(r, x.metadata!.name!, x.metadata!.namespace);
    },
    async watch() {
      throw apiError(501, "NotImplemented", "the fake has informers only");
    },
    informer: (r, o = {}) => fakeInformer(r, tableOf(r), select(r, o), o, listeners) as never,
    async request(method, path, body) {
      const special = options.onRequest?.(method, path, body);
      if (special) return special;
      const gv = path.replace(/^\/apis?\//, "");
      const resources = served.filter((r) => apiVersionOf(r) === gv).map((r) => ({ name: r.plural, kind: r.kind, namespaced: r.namespaced, verbs }));
      return resources.length ? { status: 200, body: { resources } } : { status: 404, body: {} as Status };
    },
  };
  return client;
}

function fakeInformer<T extends KubeObject>(
  r: Resource, table: Map<string, KubeObject>, selected: (x: KubeObject) => boolean, o: InformerOptions<T>, listeners: Map<string, Set<Listener>>,
): Informer<T> {
  const id = `${r.group}/${r.plural}`;
  const own = new Set<Listener>();
  const list = (namespace?: string) =>
    [...table.values()].filter((x) => selected(x) && (!namespace || x.metadata?.namespace === namespace)) as unknown as T[];
  return {
    synced: Promise.resolve(),
    get: (name, namespace) => list(namespace).find((x) => x.metadata!.name === name),
    list,
    byIndex: (index, key) => list().filter((x) => o.indexes![index]!(x).includes(key)),
    on(handlers: InformerHandlers<T>) {
      const listener: Listener = (before, after) => {
        const [was, is] = [before && selected(before), after && selected(after)];
        if (was && is) handlers.updated?.(after as unknown as T, before as unknown as T);
        else if (is) handlers.added?.(after as unknown as T);
        else if (was) handlers.deleted?.(before as unknown as T);
      };
      for (const x of list()) handlers.added?.(x);
      if (!listeners.has(id)) listeners.set(id, new Set());
      listeners.get(id)!.add(listener);
      own.add(listener);
      return () => void listeners.get(id)!.delete(listener);
    },
    stop: () => own.forEach((listener) => listeners.get(id)?.delete(listener)),
  };
}

/** RFC 7386; every patch type is taken as a merge patch. */
function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> = { ...(target as object) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(typeof result[key] === "object" ? result[key] : {}, value);
  }
  return result;
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}
