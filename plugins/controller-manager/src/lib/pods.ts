/** What controllers ask about a pod: is it active, ready, available, and which of several should go first. */
import { findCondition, type Pod } from "@k3s-p/plugin-api/kube";

export const podPhase = (pod: Pod): string => pod.status?.phase ?? "Pending";
export const isTerminal = (pod: Pod): boolean => podPhase(pod) === "Succeeded" || podPhase(pod) === "Failed";
export const isTerminating = (pod: Pod): boolean => pod.metadata.deletionTimestamp !== undefined;
/** Neither finished nor on its way out. */
export const isActive = (pod: Pod): boolean => !isTerminal(pod) && !isTerminating(pod);

export const isReady = (pod: Pod): boolean => findCondition(pod.status?.conditions, "Ready")?.status === "True";

const readySince = (pod: Pod): number | undefined => {
  const condition = findCondition(pod.status?.conditions, "Ready");
  if (condition?.status !== "True" || !condition.lastTransitionTime) return undefined;
  return Date.parse(condition.lastTransitionTime);
};

export function isAvailable(pod: Pod, minReadySeconds: number, now: Date): boolean {
  return isReady(pod) && availableIn(pod, minReadySeconds, now) === 0;
}

/** Milliseconds until a ready pod counts as available; 0 = now, undefined = not ready. */
function availableIn(pod: Pod, minReadySeconds: number, now: Date): number | undefined {
  if (!isReady(pod)) return undefined;
  if (minReadySeconds === 0) return 0;
  const since = readySince(pod);
  if (since === undefined) return undefined;
  return Math.max(0, since + minReadySeconds * 1000 - now.getTime());
}

/** The soonest moment at which one more of the pods becomes available, in milliseconds from now. */
export function nextAvailable(pods: readonly Pod[], minReadySeconds: number, now: Date): number | undefined {
  const waits = pods.map((pod) => availableIn(pod, minReadySeconds, now)).filter((ms) => ms !== undefined && ms > 0);
  return waits.length ? Math.min(...(waits as number[])) : undefined;
}

const restartsOf = (pod: Pod): number =>
  Math.max(0, ...(pod.status?.containerStatuses ?? []).map((status) => status.restartCount ?? 0));

const deletionCost = (pod: Pod): number => {
  const text = pod.metadata.annotations?.["controller.kubernetes.io/pod-deletion-cost"];
  return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : 0;
};

const phaseRank: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };

/** Age in powers of two, so that pods of about the same age count as equal. */
const logAge = (from: number, now: Date): number => {
  const age = now.getTime() - from;
  return age <= 0 ? -1 : Math.floor(Math.log2(age));
};

/**
 * Order in which a scale-down removes pods: unassigned, pending, not ready, cheap, doubled up on a node,
 * recently ready, often restarted, young. `rank` is the number of related pods on the pod's node.
 */
export function compareForDeletion(a: Pod, b: Pod, rank: (pod: Pod) => number, now: Date): number {
  const assigned = Number(Boolean(a.spec?.nodeName)) - Number(Boolean(b.spec?.nodeName));
  if (assigned) return assigned;
  const phase = (phaseRank[podPhase(a)] ?? 2) - (phaseRank[podPhase(b)] ?? 2);
  if (phase) return phase;
  const ready = Number(isReady(a)) - Number(isReady(b));
  if (ready) return ready;
  const cost = deletionCost(a) - deletionCost(b);
  if (cost) return cost;
  const doubled = rank(b) - rank(a);
  if (doubled) return doubled;
  const readyAge = logAge(readySince(a) ?? now.getTime(), now) - logAge(readySince(b) ?? now.getTime(), now);
  if (readyAge) return readyAge;
  const restarts = restartsOf(b) - restartsOf(a);
  if (restarts) return restarts;
  const age = logAge(createdAt(a), now) - logAge(createdAt(b), now);
  return age || (a.metadata.uid! < b.metadata.uid! ? -1 : 1);
}

export const createdAt = (object: { metadata: { creationTimestamp?: string } }): number =>
  Date.parse(object.metadata.creationTimestamp ?? "") || 0;

/** Oldest first, by name when they are of the same second. */
export function byCreation<T extends { metadata: { creationTimestamp?: string; name?: string } }>(
  a: T, b: T,
): number {
  return createdAt(a) - createdAt(b) || (a.metadata.name! < b.metadata.name! ? -1 : 1);
}
