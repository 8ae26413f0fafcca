/** Identity of a StatefulSet's pods: names, ordinals, volumes and claims. Pure functions. */
import {
  persistentVolumeClaims, statefulSets,
  type ObjectMeta, type OwnerReference, type PersistentVolumeClaim, type Pod, type PodTemplateSpec, type StatefulSet,
} from "@k3s-p/plugin-api/kube";
import { ownerReference } from "../lib/claim.ts";
import { podFromTemplate } from "../lib/pod-control.ts";
import { isTerminating } from "../lib/pods.ts";

export const HASH = "controller-revision-hash";
const POD_NAME = "statefulset.kubernetes.io/pod-name";
const POD_INDEX = "apps.kubernetes.io/pod-index";

export const replicasOf = (set: StatefulSet): number => set.spec?.replicas ?? 1;
export const startOf = (set: StatefulSet): number => set.spec?.ordinals?.start ?? 0;
export const endOf = (set: StatefulSet): number => startOf(set) + replicasOf(set) - 1;
export const isOrdered = (set: StatefulSet): boolean => set.spec?.podManagementPolicy !== "Parallel";
export const partitionOf = (set: StatefulSet): number => set.spec?.updateStrategy?.rollingUpdate?.partition ?? 0;
export const podName = (set: StatefulSet, ordinal: number): string => `${set.metadata.name}-${ordinal}`;

/** The ordinal in a pod's name, when the pod has a name of this set. */
export function ordinalOf(set: StatefulSet, pod: Pod): number | undefined {
  const match = /^(.*)-(\d+)$/.exec(pod.metadata.name!);
  return match && match[1] === set.metadata.name ? Number(match[2]) : undefined;
}

export const revisionHash = (pod: Pod): string | undefined => pod.metadata.labels?.[HASH];
export const isCreated = (pod: Pod): boolean => pod.metadata.uid !== undefined;
export const isRunningAndReady = (pod: Pod): boolean =>
  pod.status?.phase === "Running" &&
  (pod.status.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false);
export const isHealthy = (pod: Pod): boolean => isRunningAndReady(pod) && !isTerminating(pod);

type ClaimTemplate = PersistentVolumeClaim;
export const claimTemplates = (set: StatefulSet): ClaimTemplate[] =>
  (set.spec?.volumeClaimTemplates ?? []) as unknown as ClaimTemplate[];
export const claimName = (set: StatefulSet, template: ClaimTemplate, ordinal: number): string =>
  `${template.metadata.name}-${set.metadata.name}-${ordinal}`;

export interface Revision {
  readonly name: string;
  readonly template: PodTemplateSpec;
}

export function buildPod(set: StatefulSet, ordinal: number, revision: Revision): Pod {
  const pod = podFromTemplate(revision.template, set, ownerReference(statefulSets, set));
  const { generateName: _, ...metadata } = pod.metadata;
  const name = podName(set, ordinal);
  return withStorage(set, ordinal, {
    ...pod,
    metadata: {
      ...metadata,
      name,
      labels: { ...metadata.labels, [POD_NAME]: name, [POD_INDEX]: String(ordinal), [HASH]: revision.name },
    },
    spec: { ...pod.spec!, hostname: name, subdomain: set.spec?.serviceName ?? "" },
  });
}

/** Volumes of the claim templates, in place of volumes of the same name. */
function withStorage(set: StatefulSet, ordinal: number, pod: Pod): Pod {
  const templates = claimTemplates(set);
  if (templates.length === 0) return pod;
  const claimed = templates.map((template) => ({
    name: template.metadata.name!, persistentVolumeClaim: { claimName: claimName(set, template, ordinal), readOnly: false },
  }));
  const own = (pod.spec?.volumes ?? []).filter((volume) => !claimed.some(({ name }) => name === volume.name));
  return { ...pod, spec: { ...pod.spec!, volumes: [...claimed, ...own] } };
}

/** A pod that lost its label or its claims (an adopted one) gets them back; undefined when nothing is amiss. */
export function repairedPod(set: StatefulSet, ordinal: number, pod: Pod): Pod | undefined {
  const name = podName(set, ordinal);
  const labelled = pod.metadata.labels?.[POD_NAME] === name;
  const stored = claimTemplates(set).every((template) =>
    pod.spec?.volumes?.some(
      (volume) =>
        volume.name === template.metadata.name &&
        volume.persistentVolumeClaim?.claimName === claimName(set, template, ordinal),
    ),
  );
  if (labelled && stored) return undefined;
  return withStorage(set, ordinal, {
    ...pod,
    metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, [POD_NAME]: name } },
  });
}

export function buildClaims(set: StatefulSet, ordinal: number): PersistentVolumeClaim[] {
  return claimTemplates(set).map((template) => ({
    apiVersion: "v1", kind: persistentVolumeClaims.kind, spec: template.spec,
    metadata: {
      name: claimName(set, template, ordinal), namespace: set.metadata.namespace,
      labels: { ...(template.metadata as ObjectMeta).labels, ...set.spec?.selector.matchLabels },
      ...(template.metadata.annotations && { annotations: template.metadata.annotations }),
      ...(set.spec?.persistentVolumeClaimRetentionPolicy?.whenDeleted === "Delete" && {
        ownerReferences: [ownerReference(statefulSets, set)],
      }),
    },
  }));
}

/** Owner references that the retention policy wants on a claim; undefined when they are as wanted. */
export function retainedOwners(
  set: StatefulSet, claim: PersistentVolumeClaim, pod: Pod | undefined, condemned: boolean,
): OwnerReference[] | undefined {
  const { whenDeleted = "Retain", whenScaled = "Retain" } = set.spec?.persistentVolumeClaimRetentionPolicy ?? {};
  const before = claim.metadata.ownerReferences ?? [];
  const others = before.filter(
    (ref) => ref.uid !== set.metadata.uid && !(ref.kind === "Pod" && ref.name === pod?.metadata.name),
  );
  const byPod = condemned && whenScaled === "Delete" && pod?.metadata.uid;
  const wanted = byPod
    ? [
        ...others,
        {
          apiVersion: "v1",
          kind: "Pod",
          name: pod.metadata.name!,
          uid: pod.metadata.uid!,
          controller: true,
          blockOwnerDeletion: true,
        },
      ]
    : whenDeleted === "Delete"
      ? [...others, ownerReference(statefulSets, set)]
      : others;
  const same = wanted.length === before.length && wanted.every((ref) => before.some((old) => old.uid === ref.uid));
  return same ? undefined : wanted;
}
