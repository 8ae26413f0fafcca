/** One step of a StatefulSet towards the pods that it should have: up in order, surplus ones down, then those of an old revision. */
import { keyOf, statefulSets, type EventRecorder, type Pod, type StatefulSet } from "@k3s-p/plugin-api/kube";
import { referenceTo } from "../lib/pod-control.ts";
import { isAvailable, isTerminal, isTerminating } from "../lib/pods.ts";
import { resolveIntOrPercent, slowStart } from "../lib/values.ts";
import type { StatefulControl } from "./statefulset-control.ts";
import {
  buildPod, endOf, isCreated, isHealthy, isOrdered, isRunningAndReady, ordinalOf, partitionOf, podName, repairedPod,
  replicasOf, revisionHash, startOf, type Revision,
} from "./statefulset-pods.ts";

/** What a set is to become, and the pods that it has. */
export interface Pass {
  readonly set: StatefulSet;
  readonly current: Revision;
  readonly update: Revision;
  readonly claimed: readonly Pod[];
}

export interface PodSteps {
  readonly control: StatefulControl;
  readonly events: EventRecorder;
  readonly now: () => Date;
}

/** Ready for as long as the set asks for. */
export const isUp = ({ now }: Pick<PodSteps, "now">, set: StatefulSet, pod: Pod): boolean =>
  isRunningAndReady(pod) && isAvailable(pod, set.spec?.minReadySeconds ?? 0, now());

/** One step towards the wanted pods: replicas in order, then surplus ones, then those of an old revision. */
export async function movePods(ctl: PodSteps, pass: Pass): Promise<void> {
  const { set, claimed } = pass;
  const replicas = Array.from({ length: replicasOf(set) }, (_, i) => {
    const ordinal = startOf(set) + i;
    return (
      claimed.find((pod) => pod.metadata.name === podName(set, ordinal)) ??
      buildPod(set, ordinal, revisionFor(pass, ordinal))
    );
  });
  const condemned = claimed
    .filter((pod) => isOutside(set, pod))
    .sort((a, b) => ordinalOf(set, b)! - ordinalOf(set, a)!);
  if (!(await bringUp(ctl, set, replicas))) return;
  if (!(await takeDown(ctl, set, condemned, [...replicas, ...condemned.toReversed()].find((pod) => !isHealthy(pod))))) return;
  if (set.spec?.updateStrategy?.type !== "OnDelete") await roll(ctl, pass, replicas);
}

const isOutside = (set: StatefulSet, pod: Pod): boolean => {
  const ordinal = ordinalOf(set, pod)!;
  return ordinal < startOf(set) || ordinal > endOf(set);
};

/** Pods below the partition are made anew from the revision that is current. */
function revisionFor({ set, current, update }: Pass, ordinal: number): Revision {
  const rolling = set.spec?.updateStrategy?.type !== "OnDelete";
  return rolling && ordinal < startOf(set) + partitionOf(set) ? current : update;
}

/** False when a pod must come up, or go, before anything else may happen. */
async function bringUp(ctl: PodSteps, set: StatefulSet, replicas: readonly Pod[]): Promise<boolean> {
  if (isOrdered(set)) {
    for (const pod of replicas) if (!(await bringUpOne(ctl, set, pod))) return false;
    return true;
  }
  const { error } = await slowStart(replicas.length, async (i) => void (await bringUpOne(ctl, set, replicas[i]!)));
  if (error !== undefined) throw error;
  return true;
}

async function bringUpOne(ctl: PodSteps, set: StatefulSet, pod: Pod): Promise<boolean> {
  const ordered = isOrdered(set);
  if (!isCreated(pod)) {
    await ctl.control.create(set, pod);
    return !ordered;
  }
  if (isTerminal(pod)) {
    if (!isTerminating(pod)) {
      ctl.events.record(
        referenceTo(statefulSets, set),
        "Warning",
        "RecreatingFailedPod",
        `StatefulSet ${keyOf(set)} is recreating failed Pod ${pod.metadata.name}`,
      );
      await ctl.control.remove(set, pod);
    }
    return !ordered;
  }
  if (pod.status?.phase === "Pending" && !isTerminating(pod)) await ctl.control.ensureClaims(set, pod);
  if (isTerminating(pod) && ordered) return false;
  await ctl.control.retainClaims(set, pod, false);
  const repaired = isTerminating(pod) ? undefined : repairedPod(set, ordinalOf(set, pod)!, pod);
  if (repaired) await ctl.control.update(set, repaired);
  return !ordered || isUp(ctl, set, pod);
}

/** Removes surplus pods, the highest ordinal first; false when one has to be waited for. */
async function takeDown(
  ctl: PodSteps, set: StatefulSet, condemned: readonly Pod[], firstUnhealthy: Pod | undefined,
): Promise<boolean> {
  const ordered = isOrdered(set);
  for (const pod of condemned) {
    if (isTerminating(pod)) {
      if (ordered) return false;
      continue;
    }
    if (ordered && !isUp(ctl, set, pod) && pod !== firstUnhealthy) return false;
    await ctl.control.retainClaims(set, pod, true);
    await ctl.control.remove(set, pod);
    if (ordered) return false;
  }
  return true;
}

/** Replaces pods of another revision, the highest ordinal first, while the ones above are healthy. */
async function roll({ control }: PodSteps, { set, update }: Pass, replicas: readonly Pod[]): Promise<void> {
  const limit = Math.max(
    1,
    resolveIntOrPercent(set.spec?.updateStrategy?.rollingUpdate?.maxUnavailable ?? 1, replicasOf(set), "up"),
  );
  let unavailable = limit > 1 ? replicas.filter((pod) => !isHealthy(pod)).length : 0;
  for (const pod of replicas.slice(Math.max(0, partitionOf(set))).toReversed()) {
    const healthy = isHealthy(pod);
    if (isCreated(pod) && revisionHash(pod) !== update.name && !isTerminating(pod)) {
      if (limit > 1 && healthy && unavailable >= limit) return;
      await control.remove(set, pod);
      unavailable += Number(healthy);
      if (limit === 1) return;
    } else if (!healthy && limit === 1) return;
  }
}
