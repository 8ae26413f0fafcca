/** Tells the API what became of a pod: events, the PodScheduled condition, nominations and evictions. */
import { isNotFound, pods, setCondition, timestamp } from "@k3s-p/plugin-api/kube";
import type { EventRecorder, KubeClient, ObjectReference, Pod } from "@k3s-p/plugin-api/kube";
import type { Logger } from "@k3s-p/plugin-api";
import type { PodInfo } from "./pod-info.ts";

export interface Outcome {
  scheduled(info: PodInfo, node: string): void;
  /** @param nominated the node promised to the pod; null takes a promise back, undefined leaves it. */
  failed(info: PodInfo, reason: "Unschedulable" | "SchedulerError", message: string, nominated?: string | null): void;
  gated(info: PodInfo): void;
  evict(victim: PodInfo, preemptor: PodInfo, node: string): void;
  /** Takes the promise of a node back from a pod that a more important one displaced. */
  withdraw(info: PodInfo): void;
}

export interface OutcomeOptions {
  readonly client: KubeClient;
  readonly recorder: EventRecorder;
  readonly log: Logger;
  readonly schedulerName: string;
  readonly now: () => Date;
}

export function createOutcome({ client, recorder, log, schedulerName, now }: OutcomeOptions): Outcome {
  function patchStatus(info: PodInfo, status: object): Promise<unknown> {
    return client.patch(pods, info.name, { metadata: { uid: info.pod.metadata.uid }, status }, {
      namespace: info.namespace, subresource: "status", type: "strategic",
    });
  }

  const report = (what: string, info: PodInfo) => (error: unknown) => {
    if (!isNotFound(error)) log.warn({ err: error, pod: info.key }, what);
  };

  function setScheduled(info: PodInfo, reason: string, message: string, nominated: string | null | undefined): void {
    const { status, metadata } = info.pod;
    const { generation } = metadata;
    const next = {
      type: "PodScheduled", status: "False", reason, message, ...(generation !== undefined && { observedGeneration: generation }),
    };
    const conditions = setCondition<Condition>(status?.conditions, next, timestamp(now()));
    const moved = nominated !== undefined && (status?.nominatedNodeName ?? null) !== nominated;
    if (conditions === status?.conditions && !moved) return;
    const own = conditions.filter((c) => c.type === "PodScheduled");
    patchStatus(info, { conditions: own, ...(moved && { nominatedNodeName: nominated }) })
      .catch(report("status of an unschedulable pod was not written", info));
  }

  async function evict(victim: PodInfo): Promise<void> {
    const condition = {
      type: "DisruptionTarget", status: "True", reason: "PreemptionByScheduler",
      message: `${schedulerName}: preempting to accommodate a higher priority pod`,
      ...(victim.pod.metadata.generation !== undefined && { observedGeneration: victim.pod.metadata.generation }),
    };
    const conditions = setCondition<Condition>(victim.pod.status?.conditions, condition, timestamp(now()));
    const own = conditions.filter((c) => c.type === "DisruptionTarget");
    await patchStatus(victim, { conditions: own });
    const { uid } = victim.pod.metadata;
    await client.delete(pods, victim.name, { namespace: victim.namespace, ...(uid && { preconditions: { uid } }) });
  }

  return {
    scheduled(info, node) {
      recorder.record(refOf(info), "Normal", "Scheduled", `Successfully assigned ${info.key} to ${node}`);
    },
    failed(info, reason, message, nominated) {
      recorder.record(refOf(info), "Warning", "FailedScheduling", message);
      setScheduled(info, reason, message, nominated);
    },
    gated(info) {
      setScheduled(info, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates", undefined);
    },
    evict(victim, preemptor, node) {
      evict(victim).then(
        () => recorder.record(refOf(victim), "Normal", "Preempted", `Preempted by pod ${preemptor.uid} on node ${node}`),
        report("a preemption victim was not deleted", victim),
      );
    },
    withdraw(info) {
      patchStatus(info, { nominatedNodeName: null }).catch(report("a nomination was not withdrawn", info));
    },
  };
}

type Condition = NonNullable<NonNullable<Pod["status"]>["conditions"]>[number];

export function refOf({ pod, name, namespace }: PodInfo): ObjectReference {
  const { uid, resourceVersion } = pod.metadata;
  return { kind: "Pod", apiVersion: "v1", name, namespace, ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) };
}
