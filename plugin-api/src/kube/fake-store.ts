/** The objects behind the fake client: revisions, finalizers and grace periods, and informers that are told at once. */
import type { DeleteOptions, Informer, InformerHandlers, InformerOptions, ListOptions } from "./client.ts";
import { conflict, notFound } from "./errors.ts";
import { createIndexes } from "./indexes.ts";
import { timestamp } from "./meta.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import { parseFieldSelector, parseLabelSelector } from "./parse-selector.ts";
import { matches } from "./selectors.ts";
import type { KubeObject } from "./types.ts";

type Obj = any;

export interface FakeStore {
  /** The newest resource version given. */
  readonly revision: number;
  /** Every resource that was asked for or written. */
  readonly resources: readonly Resource[];
  find(resource: Resource, name: string, namespace?: string): Obj | undefined;
  /** As `find`; throws NotFound. */
  must(resource: Resource, name: string, namespace?: string): Obj;
  select(resource: Resource, options?: ListOptions): Obj[];
  /** Stores a frozen copy under the next resource version. */
  save(resource: Resource, object: Obj): Obj;
  /** Takes the object out at once. */
  remove(resource: Resource, object: Obj): void;
  /** What a DELETE does: removes the object, or marks it when a finalizer, a grace period or a Namespace's content holds it. */
  terminate(resource: Resource, object: Obj, options?: DeleteOptions): Obj;
  informer<T extends KubeObject>(resource: Resource<T>, options?: InformerOptions<T>): Informer<T>;
  hold(): void;
  release(): void;
}

/** Told of what is now under an id; undefined when nothing is. */
type Watcher = (id: string, object: Obj | undefined) => void;

interface Table {
  readonly resource: Resource;
  readonly rows: Map<string, Obj>;
  readonly watchers: Set<Watcher>;
}

const idOf = (resource: Resource, name: string, namespace?: string): string => (resource.namespaced ? `${namespace || "default"}/${name}` : name);

export function fakeStore(now: () => Date): FakeStore {
  const tables = new Map<string, Table>();
  let revision = 0;
  let held: (() => void)[] | undefined;

  const table = (resource: Resource): Table => {
    const id = `${resource.group}/${resource.plural}`;
    if (!tables.has(id)) tables.set(id, { resource, rows: new Map(), watchers: new Set() });
    return tables.get(id)!;
  };
  const rowId = (resource: Resource, { metadata }: Obj) => idOf(resource, metadata.name, metadata.namespace);
  function tell({ watchers }: Table, id: string, object: Obj | undefined): void {
    const send = () => [...watchers].forEach((watcher) => watcher(id, object));
    if (held) held.push(send);
    else send();
  }

  const store: FakeStore = {
    get revision() {
      return revision;
    },
    get resources() {
      return [...tables.values()].map((t) => t.resource);
    },
    find: (resource, name, namespace) => table(resource).rows.get(idOf(resource, name, namespace)),
    must(resource, name, namespace) {
      const found = store.find(resource, name, namespace);
      if (!found) throw notFound(resource, name);
      return found;
    },
    select: (resource, options = {}) => [...table(resource).rows.values()].filter(selector(options)),
    save(resource, object) {
      const copy = structuredClone({ ...object, apiVersion: apiVersionOf(resource), kind: resource.kind });
      copy.metadata = { creationTimestamp: timestamp(now()), generation: 1, ...copy.metadata, resourceVersion: String(++revision) };
      copy.metadata.uid ??= `uid-${revision}`;
      if (resource.namespaced) copy.metadata.namespace ||= "default";
      const stored = freeze(copy);
      table(resource).rows.set(rowId(resource, stored), stored);
      tell(table(resource), rowId(resource, stored), stored);
      return stored;
    },
    remove(resource, object) {
      const id = rowId(resource, object);
      if (table(resource).rows.delete(id)) tell(table(resource), id, undefined);
    },
    terminate(resource, object, options = {}) {
      checkPreconditions(resource, object, options.preconditions);
      const finalizers = [...(object.metadata.finalizers ?? []), ...finalizerOf(options)];
      const grace = graceOf(resource, object, options);
      if (object.metadata.deletionTimestamp && grace > 0) return object;
      const contentHolds = resource.plural === "namespaces" && object.spec?.finalizers?.length;
      if (grace === 0 && !finalizers.length && !contentHolds) {
        store.remove(resource, object);
        return object;
      }
      const deletion = { deletionTimestamp: timestamp(now()), deletionGracePeriodSeconds: grace };
      return store.save(resource, { ...object, metadata: { ...object.metadata, ...(finalizers.length && { finalizers }), ...deletion } });
    },
    informer: (resource, options = {}) => informer(table(resource), options),
    hold: () => void (held ??= []),
    release() {
      const queued = held ?? [];
      held = undefined;
      for (const send of queued) send();
    },
  };
  return store;
}

function checkPreconditions(resource: Resource, { metadata }: Obj, wanted: DeleteOptions["preconditions"]): void {
  if (wanted?.uid && wanted.uid !== metadata.uid)
    throw conflict(resource, metadata.name, `Precondition failed: UID in precondition: ${wanted.uid}, UID in object meta: ${metadata.uid}`);
  if (wanted?.resourceVersion && wanted.resourceVersion !== metadata.resourceVersion) throw conflict(resource, metadata.name);
}

function finalizerOf({ propagationPolicy }: DeleteOptions): readonly string[] {
  if (propagationPolicy === "Foreground") return ["foregroundDeletion"];
  return propagationPolicy === "Orphan" ? ["orphan"] : [];
}

/** Only a pod that a node runs is given time. */
function graceOf(resource: Resource, { spec, status }: Obj, { gracePeriodSeconds }: DeleteOptions): number {
  if (resource.plural !== "pods" || !spec?.nodeName || ["Succeeded", "Failed"].includes(status?.phase)) return 0;
  return gracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30;
}

function selector({ namespace, labelSelector, fieldSelector }: ListOptions): (object: Obj) => boolean {
  const labels = labelSelector ? parseLabelSelector(labelSelector) : [];
  const fields = fieldSelector ? parseFieldSelector(fieldSelector) : [];
  const valueAt = (object: Obj, path: string) => String(path.split(".").reduce((value, key) => value?.[key], object) ?? "");
  return (object) =>
    (!namespace || object.metadata.namespace === namespace) && matches(labels, object.metadata.labels) &&
    fields.every(({ path, value, equal }) => (valueAt(object, path) === value) === equal);
}

function informer<T extends KubeObject>({ resource, rows, watchers }: Table, options: InformerOptions<T>): Informer<T> {
  const selected = selector(options);
  const seen = new Map<string, T>([...rows].filter(([, object]) => selected(object)));
  const handlers = new Set<InformerHandlers<T>>();
  const indexes = createIndexes(resource, options);
  for (const object of seen.values()) indexes.put(undefined, object);
  const watcher: Watcher = (id, object) => {
    const before = seen.get(id);
    const after = object && selected(object) ? (object as T) : undefined;
    if (after) seen.set(id, after);
    else seen.delete(id);
    indexes.put(before, after);
    for (const h of [...handlers]) {
      if (before && after) h.updated?.(after, before);
      else if (after) h.added?.(after);
      else if (before) h.deleted?.(before);
    }
  };
  watchers.add(watcher);
  return {
    synced: Promise.resolve(),
    get: (name, namespace) => seen.get(idOf(resource, name, namespace)),
    list: (namespace) => [...seen.values()].filter((object) => !namespace || object.metadata!.namespace === namespace),
    byIndex: indexes.find,
    on(each) {
      handlers.add(each);
      for (const object of [...seen.values()]) each.added?.(object);
      return () => void handlers.delete(each);
    },
    stop: () => void watchers.delete(watcher),
  };
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}
