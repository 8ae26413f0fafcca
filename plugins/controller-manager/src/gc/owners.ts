/** Looking up the owner that an owner reference names: first in the informers, then on the server. */
import {
  isNotFound,
  type Informer, type KubeClient, type KubeObject, type ObjectMeta, type OwnerReference, type Resource,
} from "@k3s-p/plugin-api/kube";

type Obj = KubeObject & { metadata: ObjectMeta };
interface Tracked {
  readonly resource: Resource;
  readonly informer: Informer<Obj>;
}

/**
 * `absent`: no such object, or another one of that name. `misplaced`: the kind is namespaced and the object exists
 * elsewhere. `unresolvable`: the kind is unknown, or a cluster-scoped object names a namespaced owner.
 */
export type OwnerState = Obj | "absent" | "misplaced" | "unresolvable";

export interface OwnerLookup {
  cached(dependent: Obj, ref: OwnerReference): { readonly resource: Resource; readonly object: Obj } | undefined;
  /** The informers show the owner, and it does not wait for its dependents. */
  isPresent(dependent: Obj, ref: OwnerReference): boolean;
  /** The authoritative answer. Throws when the kind is not known (yet), so that the caller tries again. */
  find(resource: Resource, dependent: Obj, ref: OwnerReference): Promise<OwnerState>;
}

export function createOwnerLookup(client: KubeClient, tracked: ReadonlyMap<string, Tracked>): OwnerLookup {
  let kinds = new Map<string, Tracked>();
  let counted = 0;

  function kindOf(ref: OwnerReference): Tracked | undefined {
    if (counted !== tracked.size) {
      kinds = new Map([...tracked.values()].map((kind) => [`${kind.resource.group}/${kind.resource.kind}`, kind]));
      counted = tracked.size;
    }
    const slash = ref.apiVersion.indexOf("/");
    return kinds.get(`${slash < 0 ? "" : ref.apiVersion.slice(0, slash)}/${ref.kind}`);
  }

  function cached(dependent: Obj, ref: OwnerReference): { resource: Resource; object: Obj } | undefined {
    const kind = kindOf(ref);
    const object = kind?.informer.get(ref.name, kind.resource.namespaced ? dependent.metadata.namespace : undefined);
    return object?.metadata.uid === ref.uid ? { resource: kind!.resource, object } : undefined;
  }

  return {
    cached,
    isPresent(dependent, ref) {
      const owner = cached(dependent, ref);
      return (
        owner !== undefined &&
        !(owner.object.metadata.deletionTimestamp && owner.object.metadata.finalizers?.includes("foregroundDeletion"))
      );
    },
    async find(resource, dependent, ref) {
      const kind = kindOf(ref);
      if (!kind) throw new Error(`no matches for kind "${ref.kind}" in version "${ref.apiVersion}"`);
      if (kind.resource.namespaced && !resource.namespaced) return "unresolvable";
      const namespace = kind.resource.namespaced ? dependent.metadata.namespace : undefined;
      const live = await client.get(kind.resource, ref.name, namespace).catch((error: unknown) => {
        if (isNotFound(error)) return undefined;
        throw error;
      });
      if (live?.metadata?.uid === ref.uid) return live as Obj;
      const elsewhere = kind.resource.namespaced && kind.informer.list().some((other) => other.metadata.uid === ref.uid);
      return elsewhere ? "misplaced" : "absent";
    },
  };
}
