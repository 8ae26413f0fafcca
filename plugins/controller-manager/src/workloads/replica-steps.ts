/** What ReplicaSets and ReplicationControllers do with their pods: make those that lack, delete those that are too many, and tell. */
import { messageOf } from "@k3s-p/plugin-api";
import { findCondition, timestamp, type KubeObject, type ObjectMeta, type Pod, type PodTemplateSpec, type Resource } from "@k3s-p/plugin-api/kube";
import { ownerReference } from "../lib/claim.ts";
import { podFromTemplate, type PodBatches } from "../lib/pod-control.ts";
import { compareForDeletion, isAvailable, isReady } from "../lib/pods.ts";

/** What ReplicaSet and ReplicationController have in common. */
export interface ReplicaOwner extends KubeObject {
  metadata: ObjectMeta;
  spec?: { replicas?: number; minReadySeconds?: number; template?: PodTemplateSpec };
  status?: ReplicaStatus;
}

interface ReplicaCondition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

export interface ReplicaStatus {
  replicas: number;
  fullyLabeledReplicas?: number;
  readyReplicas?: number;
  availableReplicas?: number;
  terminatingReplicas?: number;
  observedGeneration?: number;
  conditions?: ReplicaCondition[];
}

export interface ReplicaSteps<T extends ReplicaOwner> {
  readonly resource: Resource<T>;
  readonly batches: PodBatches;
  readonly now: () => Date;
  /** Pods that count when a node with many is to give some up: those of sibling sets too. */
  readonly related: (owner: T, active: readonly Pod[]) => readonly Pod[];
}

export interface Failure {
  readonly reason: string;
  readonly error: unknown;
}

/** Most pods that one reconcile creates or deletes. */
const BURST = 500;

export async function manage<T extends ReplicaOwner>(steps: ReplicaSteps<T>, owner: T, active: readonly Pod[]): Promise<Failure | undefined> {
  const lacking = (owner.spec?.replicas ?? 1) - active.length;
  if (lacking > 0) return createPods(steps, owner, Math.min(lacking, BURST));
  if (lacking < 0) return deletePods(steps, owner, active, Math.min(-lacking, BURST));
  return undefined;
}

async function createPods<T extends ReplicaOwner>({ batches, resource }: ReplicaSteps<T>, owner: T, count: number): Promise<Failure | undefined> {
  const pod = podFromTemplate(owner.spec!.template!, owner, ownerReference(resource, owner));
  const { error } = await batches.create(owner, Array.from({ length: count }, () => pod));
  return error === undefined ? undefined : { reason: "FailedCreate", error };
}

async function deletePods<T extends ReplicaOwner>(
  { batches, now, related }: ReplicaSteps<T>, owner: T, active: readonly Pod[], count: number,
): Promise<Failure | undefined> {
  const perNode = countByNode(related(owner, active));
  const at = now();
  const doomed = [...active]
    .sort((a, b) => compareForDeletion(a, b, (pod) => perNode.get(pod.spec?.nodeName ?? "") ?? 0, at))
    .slice(0, count);
  const { error } = await batches.remove(owner, doomed);
  return error === undefined ? undefined : { reason: "FailedDelete", error };
}

function countByNode(list: readonly Pod[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const pod of list) {
    const node = pod.spec?.nodeName ?? "";
    counts.set(node, (counts.get(node) ?? 0) + 1);
  }
  return counts;
}

/** `terminating` undefined = not told. */
export function nextStatus(
  owner: ReplicaOwner, active: readonly Pod[], terminating: number | undefined, failure: Failure | undefined, now: Date,
): ReplicaStatus {
  const minReady = owner.spec?.minReadySeconds ?? 0;
  const labels = Object.entries((owner.spec?.template?.metadata as ObjectMeta | undefined)?.labels ?? {});
  const before = owner.status?.conditions;
  return {
    replicas: active.length,
    fullyLabeledReplicas: active.filter((pod) => labels.every(([k, v]) => pod.metadata.labels?.[k] === v)).length,
    readyReplicas: active.filter(isReady).length,
    availableReplicas: active.filter((pod) => isAvailable(pod, minReady, now)).length,
    ...(terminating !== undefined && { terminatingReplicas: terminating }),
    observedGeneration: Math.max(owner.metadata.generation ?? 0, owner.status?.observedGeneration ?? 0),
    conditions: failureConditions(before, failure, timestamp(now)),
  };
}

/** `ReplicaFailure` is set at the first failure and stays as it is until one reconcile had none. */
function failureConditions(
  before: ReplicaCondition[] | undefined, failure: Failure | undefined, at: string,
): ReplicaCondition[] {
  const known = findCondition(before, "ReplicaFailure");
  const others = (before ?? []).filter((condition) => condition !== known);
  if (!failure) return others;
  if (known) return before!;
  return [
    ...others,
    {
      type: "ReplicaFailure",
      status: "True",
      reason: failure.reason,
      message: messageOf(failure.error),
      lastTransitionTime: at,
    },
  ];
}
