/** The ephemeral-volume controller: makes the claims of pods' generic ephemeral volumes, which end with their pods. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  isAlreadyExists, keyOf, persistentVolumeClaims, pods, splitKey, type PersistentVolumeClaim, type Pod, type Volume,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { ownerReference } from "../lib/claim.ts";
import { isTerminatingNamespace, referenceTo } from "../lib/pod-control.ts";

type EphemeralVolume = Volume & { readonly ephemeral: NonNullable<Volume["ephemeral"]> };

const ephemeralVolumes = (pod: Pod): EphemeralVolume[] =>
  (pod.spec?.volumes ?? []).filter((volume): volume is EphemeralVolume => volume.ephemeral !== undefined);

export function start(deps: ControllerDeps): void {
  const { client } = deps;
  const c = createController(deps, "ephemeral-volume");
  const podInformer = c.follow(pods, (pod, { previous, deleted }) =>
    !previous && !deleted && ephemeralVolumes(pod).length > 0 ? keyOf(pod) : undefined);
  const claimInformer = c.follow(persistentVolumeClaims, (claim, { deleted }) =>
    deleted ? podInformer.byIndex("claim", keyOf(claim)).map(keyOf) : undefined);

  c.run(async (key) => {
    const [namespace, name] = splitKey(key);
    const pod = podInformer.get(name, namespace);
    if (!pod || pod.metadata.deletionTimestamp) return;
    for (const volume of ephemeralVolumes(pod)) {
      try {
        await ensureClaim(pod, volume);
      } catch (error) {
        if (isTerminatingNamespace(error)) return;
        c.events.record(referenceTo(pods, pod), "Warning", "FailedBinding", `ephemeral volume ${volume.name}: ${messageOf(error)}`);
        throw error;
      }
    }
  });

  async function ensureClaim(pod: Pod, volume: EphemeralVolume): Promise<void> {
    const wanted = claimOf(pod, volume);
    const { name, namespace } = wanted.metadata;
    const present = claimInformer.get(name!, namespace) ?? await client.create(persistentVolumeClaims, wanted).catch((error: unknown) => {
      if (isAlreadyExists(error)) return client.get(persistentVolumeClaims, name!, namespace);
      throw error;
    });
    if (present.metadata.ownerReferences?.some((owner) => owner.controller && owner.uid === pod.metadata.uid)) return;
    throw new Error(`PVC ${namespace}/${name} was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`);
  }
}

function claimOf(pod: Pod, { name, ephemeral }: EphemeralVolume): PersistentVolumeClaim {
  const { metadata, spec } = ephemeral.volumeClaimTemplate!;
  const { labels, annotations } = metadata ?? {};
  return {
    apiVersion: "v1", kind: "PersistentVolumeClaim",
    metadata: {
      name: `${pod.metadata.name}-${name}`, namespace: pod.metadata.namespace, ...(labels && { labels }), ...(annotations && { annotations }),
      ownerReferences: [ownerReference(pods, pod)],
    },
    spec,
  } as PersistentVolumeClaim;
}
