/** Which pods of a DaemonSet to make and to remove, so that each node that fits has its one pod. */
import { keyOf, type DaemonSet, type Node, type Pod } from "@k3s-p/plugin-api/kube";
import { byCreation, isTerminating } from "../lib/pods.ts";
import { isUpdated, limitsOf, placement, planRoll, targetNode, type Placement } from "./daemonset-pods.ts";

export interface Plan {
  /** Names of nodes. */
  readonly create: string[];
  readonly remove: Pod[];
  waitMs: number | undefined;
}

export interface PlannerOptions {
  readonly nodes: () => readonly Node[];
  readonly now: () => Date;
  readonly record: (set: DaemonSet, type: "Normal" | "Warning", reason: string, message: string) => void;
}

/** Delay before a pod that failed on a node is replaced: doubles from 1 s to 15 min. */
const failureBackoff = (failures: number): number => Math.min(900_000, 1000 * 2 ** failures);

export const podsByNode = (list: readonly Pod[]): Map<string, Pod[]> => Map.groupBy(list, (pod) => targetNode(pod) ?? "");

/** Remembers how often pods failed on which node. `hash` names the newest revision. */
export function createPlanner({ nodes, now, record }: PlannerOptions): (set: DaemonSet, claimed: readonly Pod[], hash: string) => Plan {
  const failures = new Map<string, { count: number; last: number }>();

  function planNode(set: DaemonSet, node: string, place: Placement, list: readonly Pod[], surgeHash: string | undefined, plan: Plan): void {
    if (!place.mayStay) return void plan.remove.push(...list.filter((pod) => !isTerminating(pod)));
    if (list.length === 0) {
      if (place.shouldRun) plan.create.push(node);
      return;
    }
    const running: Pod[] = [];
    for (const pod of list) {
      if (isTerminating(pod)) continue;
      if (pod.status?.phase === "Failed") planFailed(set, node, pod, plan);
      else if (pod.status?.phase === "Succeeded") {
        record(set, "Normal", "SucceededDaemonPod", `Found succeeded daemon pod ${keyOf(pod)} on node ${node}, will try to delete it`);
        plan.remove.push(pod);
      } else running.push(pod);
    }
    plan.remove.push(...surplusOf(running, surgeHash));
  }

  function planFailed(set: DaemonSet, node: string, pod: Pod, plan: Plan): void {
    const id = `${set.metadata.uid}/${node}`;
    const before = failures.get(id);
    const at = now().getTime();
    const isRecent = before !== undefined && at - before.last < 2 * failureBackoff(before.count);
    const wait = isRecent ? before.last + failureBackoff(before.count - 1) - at : 0;
    if (wait > 0) {
      plan.waitMs = Math.min(plan.waitMs ?? Infinity, wait);
      return;
    }
    failures.set(id, { count: isRecent ? before.count + 1 : 1, last: at });
    record(set, "Warning", "FailedDaemonPod", `Found failed daemon pod ${keyOf(pod)} on node ${node}, will try to kill it`);
    plan.remove.push(pod);
  }

  return (set, claimed, hash) => {
    const plan: Plan = { create: [], remove: [], waitMs: undefined };
    const byNode = podsByNode(claimed);
    const places = new Map(nodes().map((node) => [node.metadata.name!, placement(set, node)]));
    const limits = limitsOf(set, [...places.values()].filter((place) => place.shouldRun).length);
    const surge = rolls(set) && limits.surge > 0;
    for (const [node, place] of places) planNode(set, node, place, byNode.get(node) ?? [], surge ? hash : undefined, plan);
    for (const [node, list] of byNode) {
      if (!places.has(node)) plan.remove.push(...list.filter((pod) => !pod.spec?.nodeName && !isTerminating(pod)));
    }
    if (!rolls(set)) return plan;
    // When nothing is missing, a step of the rollout.
    const gone = new Set(plan.remove);
    const left = podsByNode(claimed.filter((pod) => !gone.has(pod)));
    for (const node of plan.create) if (!left.has(node)) left.set(node, []);
    const step = planRoll(set, left, (node) => places.get(node)?.shouldRun ?? false, hash, limits, now());
    plan.remove.push(...step.remove);
    plan.create.push(...step.create);
    return plan;
  };
}

/** All but the oldest; while a rollout surges, all but the oldest of each revision. */
function surplusOf(running: readonly Pod[], surgeHash: string | undefined): Pod[] {
  const groups = surgeHash === undefined ? [running] : [true, false].map((updated) => running.filter((pod) => isUpdated(pod, surgeHash) === updated));
  return groups.flatMap((group) => group.toSorted(byCreation).slice(1));
}

const rolls = (set: DaemonSet): boolean => set.spec?.updateStrategy?.type !== "OnDelete";
