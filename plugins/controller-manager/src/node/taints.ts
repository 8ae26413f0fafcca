/** The tables that tie a node's conditions to taints and its old labels to the new ones. */
import { findCondition, type Node, type Taint } from "@k3s-p/plugin-api/kube";

const NOT_READY = "node.kubernetes.io/not-ready";
const UNREACHABLE = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE = "node.kubernetes.io/unschedulable";

/** Condition, status, and the key of the NoSchedule taint for it. */
const byCondition: readonly (readonly [type: string, status: string, key: string])[] = [
  ["Ready", "False", NOT_READY],
  ["Ready", "Unknown", UNREACHABLE],
  ["MemoryPressure", "True", "node.kubernetes.io/memory-pressure"],
  ["DiskPressure", "True", "node.kubernetes.io/disk-pressure"],
  ["NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"],
  ["PIDPressure", "True", "node.kubernetes.io/pid-pressure"],
];

const ownNoSchedule: ReadonlySet<string> = new Set([...byCondition.map(([, , key]) => key), UNSCHEDULABLE]);

/** Taints that this controller adds and takes away; all others are the user's. */
export const isOwnTaint = (taint: Taint): boolean =>
  taint.effect === "NoExecute"
    ? taint.key === NOT_READY || taint.key === UNREACHABLE
    : taint.effect === "NoSchedule" && ownNoSchedule.has(taint.key);

export function conditionTaints(node: Node): Taint[] {
  const taints = byCondition
    .filter(([type, status]) => findCondition(node.status?.conditions, type)?.status === status)
    .map(([, , key]): Taint => ({ key, effect: "NoSchedule" }));
  // A node that has not reported yet is not ready.
  if (!findCondition(node.status?.conditions, "Ready")) taints.push({ key: NOT_READY, effect: "NoSchedule" });
  if (node.spec?.unschedulable) taints.push({ key: UNSCHEDULABLE, effect: "NoSchedule" });
  return taints;
}

export function evictionTaints(node: Node): Taint[] {
  const ready = findCondition(node.status?.conditions, "Ready")?.status;
  if (ready === "False") return [{ key: NOT_READY, effect: "NoExecute" }];
  return ready === "Unknown" ? [{ key: UNREACHABLE, effect: "NoExecute" }] : [];
}

const labelPairs = [
  ["kubernetes.io/os", "beta.kubernetes.io/os"],
  ["kubernetes.io/arch", "beta.kubernetes.io/arch"],
] as const;

/** Beta labels that differ from their successors. */
export function mirroredLabels(node: Node): Record<string, string> | undefined {
  const labels = node.metadata.labels ?? {};
  const stale = labelPairs.filter(([current, beta]) => labels[current] !== undefined && labels[beta] !== labels[current]);
  return stale.length ? Object.fromEntries(stale.map(([current, beta]) => [beta, labels[current]!])) : undefined;
}
