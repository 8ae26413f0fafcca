/**
 * The API server of plugin tests: a Kubernetes client over a map. It keeps resource versions, generations, finalizers,
 * grace periods and what subresources may change; it neither validates nor defaults.
 */
import type { KubeClient } from "./client.ts";
import { alreadyExists, apiError, conflict } from "./errors.ts";
import { fakeDiscovery } from "./fake-discovery.ts";
import { mergePatch, strategicPatch } from "./fake-patch.ts";
import { fakeStore, type FakeStore } from "./fake-store.ts";
import { namespaces, type Resource } from "./resources.ts";
import type { KubeObject } from "./types.ts";

type Obj = any;

/** One write, in the order in which they came. */
export interface Write {
  readonly verb: "create" | "update" | "patch" | "delete" | "deletecollection";
  /** `pods`, `pods/status`. */
  readonly resource: string;
  readonly name: string;
  readonly namespace?: string;
  /** What was sent: object, patch or delete options. */
  readonly body?: Obj;
}

export interface FakeOptions {
  /** What discovery answers; by default every resource that the test has touched. */
  readonly serve?: readonly Resource[];
  /** Answers `request` before the fake does. */
  readonly onRequest?: FakeKube["onRequest"];
  readonly onWrite?: FakeKube["onWrite"];
  readonly now?: () => Date;
}

export interface FakeKube extends KubeClient {
  /** Everything written through the client. */
  readonly writes: Write[];
  onRequest?: ((method: string, path: string, body?: any) => { readonly status: number; readonly body: unknown } | undefined) | undefined;
  /** Called before a write takes place; throw an `ApiError` to refuse it. */
  onWrite?: ((write: Write) => void) | undefined;
  /** Creates or replaces, status included, as somebody else would; the uid stays, and the generation counts. */
  put<T extends KubeObject>(resource: Resource<T>, object: object): T;
  /** Changes a draft of a stored object (status included) and stores it, as a kubelet or user would. */
  edit<T extends KubeObject>(resource: Resource<T>, name: string, namespace: string | undefined, change: (draft: Obj) => void): T;
  /** Takes the object away at once, whatever holds it. */
  drop(resource: Resource, name: string, namespace?: string): void;
  read<T extends KubeObject>(resource: Resource<T>, name: string, namespace?: string): T | undefined;
  all<T extends KubeObject>(resource: Resource<T>, namespace?: string): readonly T[];
  /** Adds a resource to what discovery answers. */
  serve(...resources: readonly Resource[]): void;
  /** While held, informers see nothing; releasing delivers what happened. */
  hold(): void;
  release(): void;
}

export function fakeKube(options: FakeOptions = {}): FakeKube {
  const { now = () => new Date() } = options;
  const store = fakeStore(now);
  let served = options.serve;
  let serial = 0;

  function note(verb: Write["verb"], r: Resource, subresource: string | undefined, rest: Omit<Write, "verb" | "resource">): void {
    const write: Write = { verb, resource: subresource ? `${r.plural}/${subresource}` : r.plural, ...rest };
    fake.writes.push(write);
    fake.onWrite?.(write);
  }

  const fake: FakeKube = {
    writes: [],
    onRequest: options.onRequest,
    onWrite: options.onWrite,
    put(r, object: Obj) {
      const before = store.find(r, object.metadata.name, object.metadata.namespace);
      if (!before) return store.save(r, object);
      const { uid = before.metadata.uid, generation = before.metadata.generation } = object.metadata;
      const changed = generation === before.metadata.generation && generationOf(before, object);
      return store.save(r, { ...object, metadata: { ...object.metadata, uid, generation: changed || generation } });
    },
    edit(r, name, namespace, change) {
      const before = store.must(r, name, namespace);
      const draft = structuredClone(before);
      change(draft);
      draft.metadata.generation = generationOf(before, draft);
      return settle(store, r, draft);
    },
    drop(r, name, namespace) {
      const object = store.find(r, name, namespace);
      if (object) store.remove(r, object);
    },
    read: (r, name, namespace) => store.find(r, name, namespace),
    all: (r, namespace) => store.select(r, namespace ? { namespace } : {}),
    serve: (...resources) => void (served = [...(served ?? []), ...resources]),
    hold: store.hold,
    release: store.release,
    get: async (r, name, namespace) => store.must(r, name, namespace),
    list: async (r, o) => ({ metadata: { resourceVersion: String(store.revision) }, items: store.select(r, o) }),
    async create(r, object: Obj, o = {}) {
      const { generateName, namespace = o.namespace } = object.metadata ?? {};
      const name = o.name ?? object.metadata?.name ?? `${generateName}${(++serial).toString(36).padStart(5, "x")}`;
      note("create", r, o.subresource, { name, namespace, body: object });
      if (o.subresource) return createSubresource(store, now, r, o.subresource, store.must(r, name, namespace), object);
      if (store.find(r, name, namespace)) throw alreadyExists(r, name);
      return store.save(r, { ...object, metadata: { ...object.metadata, name, ...(namespace && { namespace }) } });
    },
    async update(r, object: Obj, o = {}) {
      const { name, namespace } = object.metadata;
      note("update", r, o.subresource, { name, namespace, body: object });
      return settle(store, r, accepted(r, store.must(r, name, namespace), object, o.subresource));
    },
    async patch(r, name, patch: Obj, o = {}) {
      note("patch", r, o.subresource, { name, ...(o.namespace && { namespace: o.namespace }), body: patch });
      const before = store.must(r, name, o.namespace);
      const next = (o.type === "strategic" ? strategicPatch : mergePatch)(before, patch);
      return settle(store, r, accepted(r, before, next, o.subresource));
    },
    async delete(r, name, o = {}) {
      note("delete", r, undefined, { name, ...(o.namespace && { namespace: o.namespace }), body: o });
      return store.terminate(r, store.must(r, name, o.namespace), o);
    },
    async deleteCollection(r, o = {}) {
      note("deletecollection", r, undefined, { name: "", ...(o.namespace && { namespace: o.namespace }), body: o });
      for (const object of store.select(r, o)) store.terminate(r, object, o);
    },
    async watch() {
      throw apiError(501, "NotImplemented", "the fake has informers only");
    },
    informer: store.informer,
    async request(method, path, body) {
      const answer = fake.onRequest?.(method, path, body);
      if (answer) return answer;
      const finalized = /^\/api\/v1\/namespaces\/([^/]+)\/finalize$/.exec(path)?.[1];
      return finalized ? finalize(store, finalized, body) : fakeDiscovery(path, served ?? store.resources);
    },
  };
  return fake;
}

/** Stores an object, or lets it go when it is being deleted and nothing holds it any more. */
function settle(store: FakeStore, r: Resource, object: Obj): Obj {
  const { deletionTimestamp, deletionGracePeriodSeconds, finalizers } = object.metadata;
  const held = finalizers?.length || deletionGracePeriodSeconds || (r.plural === "namespaces" && object.spec?.finalizers?.length);
  if (!deletionTimestamp || held) return store.save(r, object);
  store.remove(r, object);
  return object;
}

/** What a write makes of an object: it meets the newest one, keeps what it may not change, and counts the generation. */
function accepted(r: Resource, before: Obj, next: Obj, subresource?: string): Obj {
  const { uid, resourceVersion } = next.metadata;
  const { name, creationTimestamp, deletionTimestamp } = before.metadata;
  if (uid && uid !== before.metadata.uid) throw conflict(r, name, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${before.metadata.uid}`);
  if (resourceVersion && resourceVersion !== before.metadata.resourceVersion) throw conflict(r, name);
  const metadata = { ...next.metadata, uid: before.metadata.uid, creationTimestamp, deletionTimestamp, generation: before.metadata.generation };
  if (!deletionTimestamp) delete metadata.deletionTimestamp;
  if (subresource) return { ...before, status: next.status, metadata };
  return { ...next, ...("status" in before && { status: before.status }), metadata: { ...metadata, generation: generationOf(before, next) } };
}

function generationOf(before: Obj, next: Obj): number {
  return (before.metadata.generation ?? 1) + Number(JSON.stringify(before.spec) !== JSON.stringify(next.spec));
}

function createSubresource(store: FakeStore, now: () => Date, r: Resource, subresource: string, parent: Obj, object: Obj): Obj {
  switch (subresource) {
    case "binding":
      return store.save(r, { ...parent, spec: { ...parent.spec, nodeName: object.target.name } });
    case "eviction":
      return store.terminate(r, parent, object.deleteOptions);
    case "token": {
      const seconds = object.spec?.expirationSeconds ?? 3600;
      const expirationTimestamp = new Date(now().getTime() + seconds * 1000).toISOString();
      return { ...object, status: { token: `token-of-${parent.metadata.name}`, expirationTimestamp } };
    }
    default:
      throw apiError(404, "NotFound", `the fake has no ${r.plural}/${subresource}`);
  }
}

function finalize(store: FakeStore, name: string, body: Obj): { status: number; body: unknown } {
  const next = { ...store.must(namespaces, name), spec: body.spec };
  return { status: 200, body: settle(store, namespaces, next) };
}
