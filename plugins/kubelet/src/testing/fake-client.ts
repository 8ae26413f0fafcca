/** A Kubernetes client on a map, with just as much of the server as the kubelet's tests need. */
import { alreadyExists, keyOf, notFound, parseFieldSelector, type Informer, type InformerHandlers, type KubeClient, type KubeObject, type Resource } from "@k3s-p/plugin-api/kube";

export interface FakeClient extends KubeClient {
  /** Puts an object as it is, as if somebody else had written it. */
  put<T extends KubeObject>(resource: Resource<T>, object: T): T;
  drop(resource: Resource, name: string, namespace?: string): void;
  /** `patch pods/status web`, in order. */
  readonly writes: string[];
}

type Handlers = InformerHandlers<KubeObject>;
type Any = Record<string, any>;

export function fakeClient(): FakeClient {
  const stores = new Map<string, Map<string, KubeObject>>();
  const listeners = new Map<string, Set<{ handlers: Handlers; accepts: (o: KubeObject) => boolean }>>();
  const writes: string[] = [];
  let revision = 0;

  const store = (plural: string): Map<string, KubeObject> => {
    if (!stores.has(plural)) stores.set(plural, new Map());
    return stores.get(plural)!;
  };
  const keyFor = (name: string, namespace?: string): string => (namespace ? `${namespace}/${name}` : name);

  function save(resource: Resource, object: KubeObject): any {
    const before = store(resource.plural).get(keyOf(object));
    const stored = Object.freeze({
      ...object, metadata: { ...object.metadata, uid: object.metadata?.uid ?? `uid-${revision}`, resourceVersion: String(++revision) },
    }) as KubeObject;
    store(resource.plural).set(keyOf(object), stored);
    for (const { handlers, accepts } of listeners.get(resource.plural) ?? []) {
      if (!accepts(stored)) continue;
      if (before) handlers.updated?.(stored, before);
      else handlers.added?.(stored);
    }
    return stored;
  }

  function drop(resource: Resource, name: string, namespace?: string): void {
    const object = store(resource.plural).get(keyFor(name, namespace));
    if (!object) throw notFound(resource, name);
    store(resource.plural).delete(keyFor(name, namespace));
    for (const { handlers, accepts } of listeners.get(resource.plural) ?? []) if (accepts(object)) handlers.deleted?.(object);
  }

  const find = (resource: Resource, name: string, namespace?: string): KubeObject => {
    const object = store(resource.plural).get(keyFor(name, resource.namespaced ? namespace : undefined));
    if (!object) throw notFound(resource, name);
    return object;
  };

  const client: FakeClient = {
    writes,
    put: (resource, object) => save(resource, object),
    drop,
    get: async (resource, name, namespace) => find(resource, name, namespace) as never,
    list: async (resource) => ({ metadata: {}, items: [...store(resource.plural).values()] as never }),
    async create(resource, object, options = {}) {
      writes.push(`create ${resource.plural}${options.subresource ? `/${options.subresource}` : ""} ${options.name ?? object.metadata?.name}`);
      if (options.subresource === "token") return { ...object, status: { token: `token-${++revision}`, expirationTimestamp: new Date(Date.now() + 3600_000).toISOString() } } as never;
      if (store(resource.plural).has(keyOf(object))) throw alreadyExists(resource, object.metadata?.name ?? "");
      return save(resource, object);
    },
    async update(resource, object) {
      writes.push(`update ${resource.plural} ${object.metadata?.name}`);
      return save(resource, object);
    },
    async patch(resource, name, patch, options = {}) {
      writes.push(`patch ${resource.plural}${options.subresource ? `/${options.subresource}` : ""} ${name}`);
      const object = find(resource, name, options.namespace);
      return save(resource, mergeInto(object, patch, options.type === "strategic") as KubeObject);
    },
    async delete(resource, name, options = {}) {
      writes.push(`delete ${resource.plural} ${name}`);
      const object = find(resource, name, options.namespace);
      drop(resource, name, options.namespace);
      return object as never;
    },
    deleteCollection: async () => {},
    watch: async () => {},
    informer: (resource, options = {}) => informer(resource, options.namespace, options.fieldSelector) as never,
    request: async () => ({ status: 404, body: {} }),
  };

  function informer(resource: Resource, namespace: string | undefined, fieldSelector = ""): Informer<KubeObject> {
    const fields = parseFieldSelector(fieldSelector);
    const accepts = (object: KubeObject): boolean =>
      (!namespace || object.metadata?.namespace === namespace) &&
      fields.every((f) => (String(f.path.split(".").reduce<any>((o, k) => o?.[k], object) ?? "") === f.value) === f.equal);
    const all = (): KubeObject[] => [...store(resource.plural).values()].filter(accepts);
    const own = new Set<{ handlers: Handlers; accepts: (o: KubeObject) => boolean }>();
    if (!listeners.has(resource.plural)) listeners.set(resource.plural, new Set());
    const set = listeners.get(resource.plural)!;
    return {
      synced: Promise.resolve(),
      get: (name, ns) => all().find((o) => keyOf(o) === keyFor(name, resource.namespaced ? ns : undefined)),
      list: (ns) => all().filter((o) => !ns || o.metadata?.namespace === ns),
      byIndex: () => [],
      on(handlers) {
        const entry = { handlers, accepts };
        set.add(entry);
        own.add(entry);
        for (const object of all()) handlers.added?.(object);
        return () => void set.delete(entry);
      },
      stop() {
        for (const entry of own) set.delete(entry);
      },
    };
  }
  return client;
}

/** JSON merge patch; with `strategic`, lists of objects with a `type` merge by it. */
function mergeInto(target: Any, patch: Any, strategic: boolean): Any {
  const result: Any = { ...target };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else if (strategic && key === "conditions" && Array.isArray(value)) {
      const others = (result[key] ?? []).filter((old: Any) => !value.some((item: Any) => item["type"] === old["type"]));
      result[key] = [...others, ...value];
    } else if (strategic && Array.isArray(value)) result[key] = value.filter((item) => item?.["$patch"] !== "delete");
    else if (typeof value === "object" && !Array.isArray(value)) result[key] = mergeInto(result[key] ?? {}, value, strategic);
    else result[key] = value;
  }
  return result;
}
