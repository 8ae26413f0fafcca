/** The engine behind ReplicaSets and ReplicationControllers: keep `replicas` pods that match a selector. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  controllerOf, findCondition, keyOf, pods, splitKey, timestamp,
  type KubeObject, type ObjectMeta, type Pod, type PodTemplateSpec, type Resource,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim, ownerReference } from "../lib/claim.ts";
import { createExpectations } from "../lib/expectations.ts";
import { createPodControl, isTerminatingNamespace, podFromTemplate } from "../lib/pod-control.ts";
import {
  compareForDeletion, isActive, isAvailable, isReady, isTerminal, isTerminating, nextAvailable,
} from "../lib/pods.ts";
import { semanticEqual, slowStart } from "../lib/values.ts";

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

export interface ReplicaKind<T extends ReplicaOwner> {
  readonly name: string;
  readonly component: string;
  readonly resource: Resource<T>;
  readonly matches: (owner: T, labels: Readonly<Record<string, string>> | undefined) => boolean;
  readonly countsTerminating: boolean;
}

/** Most pods that one reconcile creates or deletes. */
const BURST = 500;

export function startReplicas<T extends ReplicaOwner>(deps: ControllerDeps, kind: ReplicaKind<T>): void {
  const { client, now } = deps;
  const c = createController(deps, kind.name, { component: kind.component });
  const control = createPodControl(client, c.events, kind.resource);
  const expectations = createExpectations(now);

  const owners = c.follow(kind.resource, (owner, { deleted }) => {
    if (deleted) expectations.forget(keyOf(owner));
    return keyOf(owner);
  });
  const podInformer = c.follow(pods, podKeys);
  c.run(reconcile);

  function podKeys(pod: Pod, { previous, deleted }: Change<Pod>): string[] {
    const key = ownerKey(pod);
    if (key && !previous && !deleted) expectations.creationObserved(key);
    if (key && (deleted || isTerminating(pod))) expectations.deletionObserved(key, pod.metadata.uid!);
    const before = previous && ownerKey(previous);
    const keys = [key, before].filter((k) => k !== undefined);
    return keys.length || deleted || controllerOf(pod) ? keys : ownersMatching(pod);
  }

  function ownerKey(pod: Pod): string | undefined {
    const ref = controllerOf(pod);
    if (ref?.kind !== kind.resource.kind) return undefined;
    return `${pod.metadata.namespace}/${ref.name}`;
  }

  const ownersMatching = (pod: Pod): string[] =>
    owners.list(pod.metadata.namespace).filter((owner) => kind.matches(owner, pod.metadata.labels)).map(keyOf);

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const owner = owners.get(name, namespace);
    if (!owner) return expectations.forget(key);
    const settled = expectations.satisfied(key);
    const claimed = await claim({
      client, resource: pods, owner: { resource: kind.resource, object: owner },
      matches: (pod) => kind.matches(owner, pod.metadata.labels),
      candidates: candidatesOf(podInformer, owner).filter((pod) => !isTerminal(pod)),
    });
    const active = claimed.filter(isActive);
    const failure = settled && !isTerminating(owner as any) ? await manage(key, owner, active) : undefined;
    await writeStatus(owner, active, claimed.filter(isTerminating).length, failure);
    if (failure && !isTerminatingNamespace(failure.error)) throw failure.error;
    return nextAvailable(active, owner.spec?.minReadySeconds ?? 0, now());
  }

  async function manage(key: string, owner: T, active: readonly Pod[]): Promise<Failure | undefined> {
    const wanted = owner.spec?.replicas ?? 1;
    if (active.length < wanted) return createPods(key, owner, Math.min(wanted - active.length, BURST));
    if (active.length > wanted) return deletePods(key, owner, active, Math.min(active.length - wanted, BURST));
    return undefined;
  }

  async function createPods(key: string, owner: T, count: number): Promise<Failure | undefined> {
    expectations.expectCreations(key, count);
    const reference = ownerReference(kind.resource, owner);
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

  async function deletePods(
    key: string, owner: T, active: readonly Pod[], count: number,
  ): Promise<Failure | undefined> {
    const perNode = countByNode(relatedPods(owner, active));
    const at = now();
    const doomed = [...active]
      .sort((a, b) => compareForDeletion(a, b, (pod) => perNode.get(pod.spec?.nodeName ?? "") ?? 0, at))
      .slice(0, count);
    expectations.expectDeletions(
      key,
      doomed.map((pod) => pod.metadata.uid!),
    );
    const results = await Promise.allSettled(
      doomed.map(async (pod) => {
        try {
          await control.remove(owner, pod);
          if (!podInformer.get(pod.metadata.name!, pod.metadata.namespace))
            expectations.deletionObserved(key, pod.metadata.uid!);
        } catch (error) {
          expectations.deletionObserved(key, pod.metadata.uid!);
          throw error;
        }
      }),
    );
    const failed = results.find((result) => result.status === "rejected");
    return failed && { reason: "FailedDelete", error: failed.reason };
  }

  /** Pods of all sets under the same controller (a Deployment's), so that nodes with many replicas give some up first. */
  function relatedPods(owner: T, active: readonly Pod[]): readonly Pod[] {
    const parent = controllerOf(owner);
    if (!parent) return active;
    return owners
      .byIndex("owner", parent.uid)
      .flatMap((sibling) => podInformer.byIndex("owner", sibling.metadata.uid!))
      .filter(isActive);
  }

  async function writeStatus(
    owner: T, active: readonly Pod[], terminating: number, failure: Failure | undefined,
  ): Promise<void> {
    const status = nextStatus(owner, active, terminating, failure);
    if (semanticEqual(status, owner.status)) return;
    await client.update(kind.resource, { ...owner, status } as T, { subresource: "status" });
  }

  function nextStatus(
    owner: T, active: readonly Pod[], terminating: number, failure: Failure | undefined,
  ): ReplicaStatus {
    const minReady = owner.spec?.minReadySeconds ?? 0;
    const labels = Object.entries((owner.spec?.template?.metadata as ObjectMeta | undefined)?.labels ?? {});
    const before = owner.status?.conditions;
    return {
      replicas: active.length,
      fullyLabeledReplicas: active.filter((pod) => labels.every(([k, v]) => pod.metadata.labels?.[k] === v)).length,
      readyReplicas: active.filter(isReady).length,
      availableReplicas: active.filter((pod) => isAvailable(pod, minReady, now())).length,
      ...(kind.countsTerminating && { terminatingReplicas: terminating }),
      observedGeneration: Math.max(owner.metadata.generation ?? 0, owner.status?.observedGeneration ?? 0),
      conditions: failureConditions(before, failure, timestamp(now())),
    };
  }
}

interface Failure {
  readonly reason: string;
  readonly error: unknown;
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

function countByNode(list: readonly Pod[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const pod of list) {
    const node = pod.spec?.nodeName ?? "";
    counts.set(node, (counts.get(node) ?? 0) + 1);
  }
  return counts;
}
