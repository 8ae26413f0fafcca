/** One informer a resource for all controllers, with the indexes that they look things up by. */
import {
  controllerOf, controllerRevisions, jobs, persistentVolumes, pods, replicaSets,
  type Informer, type KubeClient, type KubeObject, type PersistentVolume, type Pod, type Resource,
} from "@k3s-p/plugin-api/kube";

type Index = (object: any) => readonly string[];

/** By name: the garbage collector's resources are those of discovery, and its informers are shared too. */
const idOf = ({ group, plural }: Resource<any>): string => `${group}/${plural}`;
const adoptable: readonly string[] = [pods, replicaSets, controllerRevisions, jobs].map(idOf);

/** Uids of all owners. */
const byOwner: Index = (object: KubeObject) => object.metadata?.ownerReferences?.map((ref) => ref.uid) ?? [];
/** Namespace of an object that no controller owns. */
const byOrphan: Index = (object: KubeObject) => (controllerOf(object) ? [] : [object.metadata?.namespace ?? ""]);

const extra = new Map<string, Readonly<Record<string, Index>>>([
  [idOf(pods), {
    node: (pod: Pod) => (pod.spec?.nodeName ? [pod.spec.nodeName] : []),
    claim: (pod: Pod) => podClaims(pod).map((name) => `${pod.metadata.namespace}/${name}`),
  }],
  [idOf(persistentVolumes), {
    claim: (volume: PersistentVolume) => {
      const ref = volume.spec?.claimRef;
      return ref ? [`${ref.namespace}/${ref.name}`] : [];
    },
    class: (volume: PersistentVolume) => [volume.spec?.storageClassName ?? ""],
  }],
]);

/** Names of the PersistentVolumeClaims that a pod mounts, with those made for its ephemeral volumes. */
export function podClaims(pod: Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap((volume) => {
    if (volume.persistentVolumeClaim) return [volume.persistentVolumeClaim.claimName];
    return volume.ephemeral ? [`${pod.metadata.name}-${volume.name}`] : [];
  });
}

export type SharedInformers = <T extends KubeObject>(resource: Resource<T>) => Informer<T>;

export function sharedInformers(client: KubeClient, defer: (undo: () => void) => void): SharedInformers {
  const made = new Map<string, Informer<any>>();
  return <T extends KubeObject>(resource: Resource<T>): Informer<T> => {
    const id = idOf(resource);
    const known = made.get(id);
    if (known) return known;
    const indexes: Record<string, Index> = { owner: byOwner, ...extra.get(id) };
    if (adoptable.includes(id)) indexes.orphan = byOrphan;
    const informer = client.informer(resource, { indexes });
    made.set(id, informer);
    defer(() => informer.stop());
    return informer;
  };
}
