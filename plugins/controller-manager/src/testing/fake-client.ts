/** An in-memory KubeClient for unit tests: resourceVersions, generations, finalizers, graceful deletes, live informers. */
import {
  alreadyExists,
  apiVersionOf,
  conflict,
  matches,
  notFound,
  parseFieldSelector,
  parseLabelSelector,
  type ApiError,
  type DeleteOptions,
  type Informer,
  type InformerHandlers,
  type InformerOptions,
  type KubeClient,
  type KubeObject,
  type ListOptions,
  type Resource,
} from "@k3s-p/plugin-api/kube";
import { fakeDiscovery } from "./fake-discovery.ts";
import { mergePatch, strategicPatch } from "./patches.ts";

type Obj = any;

export interface Action {
  readonly verb: "create" | "update" | "patch" | "delete" | "deletecollection";
  readonly resource: string;
  readonly subresource?: string;
  readonly name: string;
  readonly body?: Obj;
}

export interface FakeClient extends KubeClient {
  readonly actions: Action[];
  /** Requests that the typed methods do not cover; return undefined to fall through to discovery. */
  onRequest?: (method: string, path: string, body?: object) => { status: number; body: unknown } | undefined;
  /** Refuses a write when it returns an error. */
  react?: (verb: Action["verb"], resource: Resource, object: Obj) => ApiError | Error | undefined;
  /** Puts an object in place as the server would hold it, status included. */
  seed<T extends KubeObject>(resource: Resource<T>, object: Obj): T;
  all<T extends KubeObject>(resource: Resource<T>, namespace?: string): Obj[];
  /** Changes a stored object in place (status included), as a kubelet or user would. */
  edit<T extends KubeObject>(
    resource: Resource<T>,
    name: string,
    namespace: string | undefined,
    change: (draft: Obj) => void,
  ): Obj;
  /** Removes an object as if its grace period were over. */
  finish(resource: Resource, name: string, namespace?: string): void;
  /** While held, informers see nothing; releasing delivers what happened. */
  hold(): void;
  release(): void;
}

interface Table {
  readonly resource: Resource;
  readonly rows: Map<string, Obj>;
  readonly informers: Set<FakeInformer>;
}

interface FakeInformer {
  deliver(type: "added" | "updated" | "deleted", object: Obj, previous?: Obj): void;
}

const idOf = (namespace: string | undefined, name: string): string => `${namespace ?? ""}/${name}`;

export function createFakeClient(now: () => Date = () => new Date()): FakeClient {
  const tables = new Map<string, Table>();
  let revision = 100;
  let serial = 0;
  let held: (() => void)[] | undefined;

  const table = (resource: Resource): Table => {
    const id = `${resource.group}/${resource.plural}`;
    if (!tables.has(id)) tables.set(id, { resource, rows: new Map(), informers: new Set() });
    return tables.get(id)!;
  };
  const stamp = () => now().toISOString().replace(/\.\d+Z$/, "Z");

  function notify(t: Table, type: "added" | "updated" | "deleted", object: Obj, previous?: Obj): void {
    const send = () => t.informers.forEach((informer) => informer.deliver(type, object, previous));
    if (held) held.push(send);
    else send();
  }

  function put(resource: Resource, object: Obj, previous?: Obj): Obj {
    const t = table(resource);
    const { name, namespace } = object.metadata;
    const stored = freeze({
      apiVersion: apiVersionOf(resource), kind: resource.kind, ...object,
      metadata: { ...object.metadata, resourceVersion: String(++revision) },
    });
    const gone =
      stored.metadata.deletionTimestamp &&
      !stored.metadata.finalizers?.length &&
      !stored.metadata.deletionGracePeriodSeconds;
    if (previous && gone) {
      t.rows.delete(idOf(namespace, name));
      notify(t, "deleted", stored, previous);
      return stored;
    }
    t.rows.set(idOf(namespace, name), stored);
    notify(t, previous ? "updated" : "added", stored, previous);
    return stored;
  }

  function find(resource: Resource, name: string, namespace?: string): Obj {
    const row = table(resource).rows.get(idOf(resource.namespaced ? namespace : undefined, name));
    if (!row) throw notFound(resource, name);
    return row;
  }

  function check(verb: Action["verb"], resource: Resource, object: Obj): void {
    const error = fake.react?.(verb, resource, object);
    if (error) throw error;
  }

  /** Keeps what a write on this subresource may not change, and counts the generation. */
  function accept(resource: Resource, before: Obj, next: Obj, subresource?: string): Obj {
    if (next.metadata.uid && next.metadata.uid !== before.metadata.uid)
      throw conflict(resource, before.metadata.name, "Precondition failed: UID in precondition");
    if (next.metadata.resourceVersion && next.metadata.resourceVersion !== before.metadata.resourceVersion)
      throw conflict(resource, before.metadata.name);
    const fixed = {
      uid: before.metadata.uid,
      creationTimestamp: before.metadata.creationTimestamp,
      deletionTimestamp: before.metadata.deletionTimestamp,
    };
    const metadata = { ...next.metadata, ...fixed };
    if (!fixed.deletionTimestamp) delete metadata.deletionTimestamp;
    if (subresource === "status")
      return {
        ...before,
        status: next.status,
        metadata: { ...before.metadata, annotations: next.metadata.annotations },
      };
    if (subresource === "approval") return { ...before, status: next.status };
    const changed = JSON.stringify(before.spec) !== JSON.stringify(next.spec);
    return {
      ...next,
      status: before.status,
      metadata: { ...metadata, generation: (before.metadata.generation ?? 1) + Number(changed) },
    };
  }

  function select(resource: Resource, options: ListOptions): Obj[] {
    const labels = options.labelSelector ? parseLabelSelector(options.labelSelector) : [];
    const fields = options.fieldSelector ? parseFieldSelector(options.fieldSelector) : [];
    return [...table(resource).rows.values()].filter((o) =>
      (!options.namespace || o.metadata.namespace === options.namespace) && matches(labels, o.metadata.labels) &&
      fields.every((f) => (String(f.path.split(".").reduce((v: Obj, k) => v?.[k], o) ?? "") === f.value) === f.equal));
  }

  function remove(resource: Resource, before: Obj, options: DeleteOptions): Obj {
    const pre = options.preconditions;
    if (pre?.uid && pre.uid !== before.metadata.uid)
      throw conflict(
        resource,
        before.metadata.name,
        `Precondition failed: UID in precondition: ${pre.uid}, UID in object meta: ${before.metadata.uid}`,
      );
    if (pre?.resourceVersion && pre.resourceVersion !== before.metadata.resourceVersion)
      throw conflict(resource, before.metadata.name);
    const policy = { Foreground: "foregroundDeletion", Orphan: "orphan", Background: "" }[
      options.propagationPolicy ?? "Background"
    ];
    const finalizers = [...(before.metadata.finalizers ?? []), ...(policy ? [policy] : [])];
    const scheduled =
      resource.plural === "pods" && before.spec?.nodeName && !["Succeeded", "Failed"].includes(before.status?.phase);
    const grace = scheduled ? (options.gracePeriodSeconds ?? before.spec.terminationGracePeriodSeconds ?? 30) : 0;
    if (before.metadata.deletionTimestamp && grace > 0) return before;
    const waits =
      grace > 0 || finalizers.length > 0 || (resource.plural === "namespaces" && before.spec?.finalizers?.length);
    const metadata = {
      ...before.metadata,
      ...(finalizers.length && { finalizers }),
      deletionTimestamp: stamp(),
      deletionGracePeriodSeconds: grace,
    };
    if (!waits) {
      table(resource).rows.delete(idOf(before.metadata.namespace, before.metadata.name));
      const last = freeze({ ...before, metadata: { ...before.metadata, resourceVersion: String(++revision) } });
      notify(table(resource), "deleted", last);
      return last;
    }
    if (resource.plural === "namespaces") metadata.deletionGracePeriodSeconds = 1;
    return put(resource, { ...before, metadata }, before);
  }

  function informer<T extends KubeObject>(resource: Resource<T>, options: InformerOptions<T> = {}): Informer<T> {
    const t = table(resource as Resource);
    const seen = new Map<string, Obj>(t.rows);
    const handlers = new Set<InformerHandlers<T>>();
    const own: FakeInformer = {
      deliver(type, object, previous) {
        const id = idOf(object.metadata.namespace, object.metadata.name);
        if (type === "deleted") seen.delete(id);
        else seen.set(id, object);
        for (const h of handlers) {
          if (type === "updated") h.updated?.(object, previous);
          else h[type]?.(object);
        }
      },
    };
    t.informers.add(own);
    const list = (namespace?: string): T[] =>
      [...seen.values()].filter((o) => !namespace || o.metadata.namespace === namespace);
    return {
      synced: Promise.resolve(),
      get: (name, namespace) => seen.get(idOf(namespace, name)),
      list,
      byIndex: (index, key) => list().filter((o) => options.indexes![index]!(o).includes(key)),
      on(h) {
        handlers.add(h);
        for (const object of seen.values()) h.added?.(object);
        return () => handlers.delete(h);
      },
      stop: () => void t.informers.delete(own),
    };
  }

  const fake: FakeClient = {
    actions: [],
    seed(resource, object) {
      const metadata = {
        uid: `uid-${++serial}`, creationTimestamp: stamp(), generation: 1, ...object.metadata,
        ...(resource.namespaced && { namespace: object.metadata.namespace ?? "default" }),
      };
      return put(resource as Resource, { ...structuredClone(object), metadata });
    },
    all: (resource, namespace) => select(resource as Resource, { namespace }),
    edit(resource, name, namespace, change) {
      const before = find(resource as Resource, name, namespace);
      const draft = structuredClone(before);
      change(draft);
      if (JSON.stringify(draft.spec) !== JSON.stringify(before.spec)) draft.metadata.generation++;
      return put(resource as Resource, draft, before);
    },
    finish(resource, name, namespace) {
      const before = find(resource, name, namespace);
      table(resource).rows.delete(idOf(before.metadata.namespace, name));
      notify(table(resource), "deleted", before);
    },
    hold: () => void (held ??= []),
    release() {
      const queued = held ?? [];
      held = undefined;
      for (const send of queued) send();
    },
    get: async (resource, name, namespace) => find(resource as Resource, name, namespace),
    list: async (resource, options = {}) => ({
      metadata: { resourceVersion: String(revision) },
      items: select(resource as Resource, options),
    }),
    async create(resource, object: Obj, options = {}) {
      const metadata = { ...object.metadata };
      if (!metadata.name) metadata.name = `${metadata.generateName}${(++serial).toString(36).padStart(5, "x")}`;
      fake.actions.push({
        verb: "create",
        resource: resource.plural,
        name: metadata.name,
        body: object,
        ...(options.subresource && { subresource: options.subresource }),
      });
      check("create", resource as Resource, object);
      if (resource.namespaced) metadata.namespace ??= options.namespace ?? "default";
      if (table(resource as Resource).rows.has(idOf(metadata.namespace, metadata.name)))
        throw alreadyExists(resource, metadata.name);
      return fake.seed(resource as Resource, { ...object, metadata }) as Obj;
    },
    async update(resource, object: Obj, options = {}) {
      const { name, namespace } = object.metadata;
      fake.actions.push({
        verb: "update",
        resource: resource.plural,
        name,
        body: object,
        ...(options.subresource && { subresource: options.subresource }),
      });
      check("update", resource as Resource, object);
      const before = find(resource as Resource, name, namespace);
      return put(
        resource as Resource,
        structuredClone(accept(resource as Resource, before, object, options.subresource)),
        before,
      );
    },
    async patch(resource, name, patch: Obj, options = {}) {
      fake.actions.push({
        verb: "patch",
        resource: resource.plural,
        name,
        body: patch,
        ...(options.subresource && { subresource: options.subresource }),
      });
      check("patch", resource as Resource, patch);
      const before = find(resource as Resource, name, options.namespace);
      const next = options.type === "strategic" ? strategicPatch(before, patch) : mergePatch(before, patch);
      return put(
        resource as Resource,
        structuredClone(accept(resource as Resource, before, next, options.subresource)),
        before,
      );
    },
    async delete(resource, name, options = {}) {
      fake.actions.push({ verb: "delete", resource: resource.plural, name, body: options });
      check("delete", resource as Resource, { metadata: { name } });
      return remove(resource as Resource, find(resource as Resource, name, options.namespace), options);
    },
    async deleteCollection(resource, options = {}) {
      fake.actions.push({ verb: "deletecollection", resource: resource.plural, name: options.namespace ?? "" });
      for (const object of select(resource, options)) remove(resource, object, options);
    },
    async watch() {},
    informer,
    async request(method, path, body) {
      const answer = fake.onRequest?.(method, path, body);
      if (answer) return answer;
      const finalize = /^\/api\/v1\/namespaces\/([^/]+)\/finalize$/.exec(path);
      if (!finalize) return fakeDiscovery(path, [...tables.values()].map((t) => t.resource));
      const namespaces = [...tables.values()].find((t) => t.resource.plural === "namespaces")!.resource;
      const before = find(namespaces, finalize[1]!);
      const next = { ...before, spec: (body as Obj).spec };
      if (!next.spec.finalizers?.length) fake.finish(namespaces, finalize[1]!);
      else put(namespaces, next, before);
      return { status: 200, body: next };
    },
  };
  return fake;
}

function freeze<T>(value: T): T {
  if (value && typeof value === "object" && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) freeze(inner);
  }
  return value;
}
