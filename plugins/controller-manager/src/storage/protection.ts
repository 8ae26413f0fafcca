/** The protection controllers: claims in use by pods, and volumes bound to claims, do not vanish. */
import {
  isNotFound, keyOf, persistentVolumeClaims, persistentVolumes, pods, splitKey,
  type KubeObject, type ObjectMeta, type Pod, type Resource,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { podClaims } from "../lib/informers.ts";
import { isTerminal } from "../lib/pods.ts";

const CLAIM = "kubernetes.io/pvc-protection";
const VOLUME = "kubernetes.io/pv-protection";

type Obj = KubeObject & { metadata: ObjectMeta };

/** Adds the finalizer to a living object and removes it from one that is being deleted and not in use. */
async function protect(
  deps: ControllerDeps,
  resource: Resource<any>,
  object: Obj,
  finalizer: string,
  inUse: () => Promise<boolean>,
): Promise<void> {
  const held = object.metadata.finalizers?.includes(finalizer) ?? false;
  const deleting = object.metadata.deletionTimestamp !== undefined;
  if (held !== deleting || (deleting && (await inUse()))) return;
  const before = object.metadata.finalizers ?? [];
  const finalizers = deleting ? before.filter((f) => f !== finalizer) : [...before, finalizer];
  try {
    await deps.client.update(resource, { ...object, metadata: { ...object.metadata, finalizers } });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** The persistentvolumeclaim-protection controller. */
export function startClaimProtection(deps: ControllerDeps): void {
  const c = createController(deps, "persistentvolumeclaim-protection");
  const informer = c.follow(persistentVolumeClaims);
  const podInformer = c.follow(pods, (pod, { deleted }) =>
    deleted || isTerminal(pod) ? podClaims(pod).map((name) => `${pod.metadata.namespace}/${name}`) : undefined);

  c.run(async (key) => {
    const [namespace, name] = splitKey(key);
    const claim = informer.get(name, namespace);
    if (!claim) return;
    await protect(deps, persistentVolumeClaims, claim, CLAIM, async () => {
      const uses = (pod: Pod) => Boolean(pod.spec?.nodeName) && !isTerminal(pod) && podClaims(pod).includes(name);
      if (podInformer.byIndex("claim", keyOf(claim)).some(uses)) return true;
      return (await deps.client.list(pods, { namespace })).items.some(uses);
    });
  });
}

/** The persistentvolume-protection controller. */
export function startVolumeProtection(deps: ControllerDeps): void {
  const c = createController(deps, "persistentvolume-protection");
  const informer = c.follow(persistentVolumes);
  c.run(async (name) => {
    const volume = informer.get(name);
    if (volume) await protect(deps, persistentVolumes, volume, VOLUME, async () => volume.status?.phase === "Bound");
  });
}
