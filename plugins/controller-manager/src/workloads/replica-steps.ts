/** What ReplicaSets and ReplicationControllers do with their pods: make those that lack, delete those that are too many, and tell. */
import { messageOf } from "@k3s-p/plugin-api";
import { findCondition, timestamp, type KubeObject, type ObjectMeta, type Pod, type PodTemplateSpec, type Resource } from "@k3s-p/plugin-api/kube";
import { ownerReference } from "../lib/claim.ts";
import type { Expectations } from "../lib/expectations.ts";
import { podFromTemplate, type PodControl } from "../lib/pod-control.ts";
import { compareForDeletion, isAvailable, isReady } from "../lib/pods.ts";
import { slowStart } from "../lib/values.ts";

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
  readonly control: PodControl;
  readonly expectations: Expectations;
  readonly now: () => Date;
  /** As the cache has it now. */
  readonly podOf: (pod: Pod) => Pod | undefined;
  /** Pods that count when a node with many is to give some up: those of sibling sets too. */
  readonly related: (owner: T, active: readonly Pod[]) => readonly Pod[];
}

export interface Failure {
  readonly reason: string;
  readonly error: unknown;
}

/** Most pods that one reconcile creates or deletes. */
const BURST = 500;

export async function manage<T extends ReplicaOwner>(ctl: ReplicaSteps<T>, key: string, owner: T, active: readonly Pod[]): Promise<Failure | undefined> {
  const wanted = owner.spec?.replicas ?? 1;
  if (active.length < wanted) return createPods(ctl, key, owner, Math.min(wanted - active.length, BURST));
  if (active.length > wanted) return deletePods(ctl, key, owner, active, Math.min(active.length - wanted, BURST));
  return undefined;
}

async function createPods<T extends ReplicaOwner>({ control, expectations, resource }: ReplicaSteps<T>, key: string, owner: T, count: number): Promise<Failure | undefined> {
  expectations.expectCreations(key, count);
  const reference = ownerReference(resource, owner);
  let tried = 0;
  const { error } = await slowStart(count, async () => {
    tried++;
    try {
      await control.create(owner, podFromTemplate(owner.spec!.template!, owner, reference));
    } catch (error) {
      expectations.creationObserved(key);
      throw error;
    }
  });
  for (let skipped = tried; skipped < count; skipped++) expectations.creationObserved(key);
  return error === undefined ? undefined : { reason: "FailedCreate", error };
}

async function deletePods<T extends ReplicaOwner>(
  { control, expectations, now, podOf, related }: ReplicaSteps<T>, key: string, owner: T, active: readonly Pod[], count: number,
): Promise<Failure | undefined> {
  const perNode = countByNode(related(owner, active));
  const at = now();
  const doomed = [...active]
    .sort((a, b) => compareForDeletion(a, b, (pod) => perNode.get(pod.spec?.nodeName ?? "") ?? 0, at))
    .slice(0, count);
  expectations.expectDeletions(key, doomed.map((pod) => pod.metadata.uid!));
  const results = await Promise.allSettled(
    doomed.map(async (pod) => {
      try {
        await control.remove(owner, pod);
        if (!podOf(pod)) expectations.deletionObserved(key, pod.metadata.uid!);
      } catch (error) {
        expectations.deletionObserved(key, pod.metadata.uid!);
        throw error;
      }
    }),
  );
  const failed = results.find((result) => result.status === "rejected");
  return failed && { reason: "FailedDelete", error: failed.reason };
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
