/** The ConfigMaps and Secrets that this node's pods name: each watched alone, for as long as a pod names it. Claims and volumes are read when they are mounted. */
import {
  configMaps, isNotFound, persistentVolumeClaims, persistentVolumes, secrets, type ConfigMap, type Informer, type KubeClient,
  type KubeObject, type PersistentVolume, type PersistentVolumeClaim, type Pod, type Resource, type Secret,
} from "@k3s-p/plugin-api/kube";
import { allContainers, isStatic, namespaceOf } from "./pod.ts";

export interface ReferencedObjects {
  /** Watches what the pod names; `uid` holds the references until `release`. */
  acquire(uid: string, pod: Pod): void;
  release(uid: string): void;
  configMap(namespace: string, name: string): Promise<ConfigMap | undefined>;
  secret(namespace: string, name: string): Promise<Secret | undefined>;
  claim(namespace: string, name: string): Promise<PersistentVolumeClaim | undefined>;
  volume(name: string): Promise<PersistentVolume | undefined>;
  stop(): void;
}

interface Watched {
  readonly informer: Informer<KubeObject>;
  readonly users: Set<string>;
}

const kinds = { configmap: configMaps, secret: secrets } as const;
type Kind = keyof typeof kinds;

/** `onChange` is called with the uid of every pod that names an object that changed. */
export function referencedObjects(kube: KubeClient, onChange: (uid: string) => void): ReferencedObjects {
  const watched = new Map<string, Watched>();

  function watch(key: string): Watched {
    const known = watched.get(key);
    if (known) return known;
    const [kind = "", namespace = "", name = ""] = key.split("/");
    const resource: Resource<KubeObject> = kinds[kind as Kind];
    const informer = kube.informer(resource, { namespace, fieldSelector: `metadata.name=${name}` });
    const entry: Watched = { informer, users: new Set() };
    watched.set(key, entry);
    const changed = (): void => entry.users.forEach(onChange);
    void informer.synced.then(() => informer.on({ added: changed, updated: changed, deleted: changed }));
    return entry;
  }

  function unwatch(key: string, uid: string): void {
    const entry = watched.get(key);
    entry?.users.delete(uid);
    if (!entry || entry.users.size > 0) return;
    entry.informer.stop();
    watched.delete(key);
  }

  async function read<T extends KubeObject>(kind: Kind, namespace: string, name: string): Promise<T | undefined> {
    const key = `${kind}/${namespace}/${name}`;
    const { informer } = watch(key);
    await informer.synced;
    return informer.get(name, namespace) as T | undefined;
  }

  const held = new Map<string, ReadonlySet<string>>();
  return {
    acquire(uid, pod) {
      // A pod of a file names nothing that the API server would show for it.
      const keys = new Set(isStatic(pod) ? [] : referencesOf(pod));
      const before = held.get(uid);
      held.set(uid, keys);
      for (const key of keys) watch(key).users.add(uid);
      for (const key of before ?? []) if (!keys.has(key)) unwatch(key, uid);
    },
    release(uid) {
      for (const key of held.get(uid) ?? []) unwatch(key, uid);
      held.delete(uid);
    },
    configMap: (namespace, name) => read<ConfigMap>("configmap", namespace, name),
    secret: (namespace, name) => read<Secret>("secret", namespace, name),
    claim: (namespace, name) => kube.get(persistentVolumeClaims, name, namespace).catch(absent),
    volume: (name) => kube.get(persistentVolumes, name).catch(absent),
    stop() {
      for (const { informer } of watched.values()) informer.stop();
      watched.clear();
    },
  };
}

/** A server that cannot be asked has not said that there is none. */
function absent(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
}

/** Keys `kind/namespace/name` of everything that the pod's volumes, environment and pull secrets name. */
export function referencesOf(pod: Pod): string[] {
  const namespace = namespaceOf(pod);
  const found: string[] = [];
  const add = (kind: Kind, name: string | undefined): void => {
    if (name) found.push(`${kind}/${namespace}/${name}`);
  };
  for (const volume of pod.spec?.volumes ?? []) {
    add("configmap", volume.configMap?.name);
    add("secret", volume.secret?.secretName);
    for (const source of volume.projected?.sources ?? []) {
      add("configmap", source.configMap?.name);
      add("secret", source.secret?.name);
    }
  }
  for (const { spec } of allContainers(pod)) {
    for (const from of spec.envFrom ?? []) {
      add("configmap", from.configMapRef?.name);
      add("secret", from.secretRef?.name);
    }
    for (const { valueFrom } of spec.env ?? []) {
      add("configmap", valueFrom?.configMapKeyRef?.name);
      add("secret", valueFrom?.secretKeyRef?.name);
    }
  }
  for (const { name } of pod.spec?.imagePullSecrets ?? []) add("secret", name);
  return [...new Set(found)];
}
