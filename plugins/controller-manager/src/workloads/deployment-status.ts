/** A Deployment's status: counts, and the Progressing, Available and ReplicaFailure conditions that kubectl reads. */
import { timestamp, type Deployment, type ReplicaSet } from "@k3s-p/plugin-api/kube";
import { maxUnavailable, replicasOf, sumActual, sumAvailable, sumReplicas } from "./deployment-math.ts";

export type DeploymentStatus = NonNullable<Deployment["status"]>;
export type DeploymentCondition = NonNullable<DeploymentStatus["conditions"]>[number];

export const conditionOf = (
  conditions: readonly DeploymentCondition[] | undefined,
  type: string,
): DeploymentCondition | undefined => conditions?.find((condition) => condition.type === type);

const without = (conditions: readonly DeploymentCondition[] | undefined, type: string): DeploymentCondition[] =>
  (conditions ?? []).filter((condition) => condition.type !== type);

export interface NextCondition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

/** Keeps a condition of the same status and reason as it is; otherwise replaces it and moves it to the end. */
export function withCondition(
  conditions: readonly DeploymentCondition[] | undefined, next: NextCondition, at: Date,
): DeploymentCondition[] {
  const before = conditionOf(conditions, next.type);
  if (before?.status === next.status && before.reason === next.reason) return [...conditions!];
  const changed = timestamp(at);
  return [
    ...without(conditions, next.type),
    {
      ...next,
      lastUpdateTime: changed,
      lastTransitionTime: before?.status === next.status ? before.lastTransitionTime : changed,
    },
  ];
}

/** A deadline of 2^31-1 seconds means none. */
export const hasDeadline = (d: Deployment): boolean =>
  d.spec?.progressDeadlineSeconds !== undefined && d.spec.progressDeadlineSeconds !== 2 ** 31 - 1;

export function countsOf(
  d: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined, at: Date,
): DeploymentStatus {
  const available = sumAvailable(sets);
  const enough = available >= replicasOf(d) - maxUnavailable(d);
  return {
    observedGeneration: d.metadata.generation,
    replicas: sumActual(sets),
    updatedReplicas: newSet ? sumActual([newSet]) : 0,
    readyReplicas: sets.reduce((sum, set) => sum + (set.status?.readyReplicas ?? 0), 0),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, sumReplicas(sets) - available),
    terminatingReplicas: sets.reduce((sum, set) => sum + (set.status?.terminatingReplicas ?? 0), 0),
    ...(d.status?.collisionCount !== undefined && { collisionCount: d.status.collisionCount }),
    conditions: withCondition(
      d.status?.conditions,
      enough
        ? {
            type: "Available",
            status: "True",
            reason: "MinimumReplicasAvailable",
            message: "Deployment has minimum availability.",
          }
        : {
            type: "Available",
            status: "False",
            reason: "MinimumReplicasUnavailable",
            message: "Deployment does not have minimum availability.",
          },
      at,
    ),
  };
}

export function isComplete(d: Deployment, status: DeploymentStatus): boolean {
  return status.updatedReplicas === replicasOf(d) && status.replicas === replicasOf(d) &&
    status.availableReplicas === replicasOf(d) && (status.observedGeneration ?? 0) >= (d.metadata.generation ?? 0);
}

function isProgressing(d: Deployment, next: DeploymentStatus): boolean {
  const before = d.status ?? {};
  const old = (status: DeploymentStatus) => (status.replicas ?? 0) - (status.updatedReplicas ?? 0);
  return (
    (next.updatedReplicas ?? 0) > (before.updatedReplicas ?? 0) ||
    old(next) < old(before) ||
    (next.readyReplicas ?? 0) > (before.readyReplicas ?? 0) ||
    (next.availableReplicas ?? 0) > (before.availableReplicas ?? 0)
  );
}

function hasTimedOut(d: Deployment, status: DeploymentStatus, at: Date): boolean {
  const condition = conditionOf(status.conditions, "Progressing");
  if (!condition || condition.reason === "NewReplicaSetAvailable") return false;
  if (condition.reason === "ProgressDeadlineExceeded") return true;
  return Date.parse(condition.lastUpdateTime!) + d.spec!.progressDeadlineSeconds! * 1000 < at.getTime();
}

/** The status of a Deployment in the middle of a rollout. */
export function rolloutStatus(
  d: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined, at: Date,
): DeploymentStatus {
  const counts = countsOf(d, sets, newSet, at);
  const conditions = hasDeadline(d) ? progressing(d, counts, newSet, at) : without(counts.conditions, "Progressing");
  return { ...counts, conditions: replicaFailure(conditions, sets, newSet, at) };
}

function progressing(
  d: Deployment, next: DeploymentStatus, newSet: ReplicaSet | undefined, at: Date,
): DeploymentCondition[] {
  const current = conditionOf(d.status?.conditions, "Progressing");
  const settled = next.replicas === next.updatedReplicas && current?.reason === "NewReplicaSetAvailable";
  const subject = newSet ? `ReplicaSet "${newSet.metadata.name}"` : `Deployment "${d.metadata.name}"`;
  if (settled) return next.conditions!;
  if (isComplete(d, next)) {
    return withCondition(
      next.conditions,
      {
        type: "Progressing",
        status: "True",
        reason: "NewReplicaSetAvailable",
        message: `${subject} has successfully progressed.`,
      },
      at,
    );
  }
  if (isProgressing(d, next)) {
    const moved = withCondition(without(next.conditions, "Progressing"), {
      type: "Progressing", status: "True", reason: "ReplicaSetUpdated", message: `${subject} is progressing.`,
    }, at);
    if (current?.status !== "True") return moved;
    return moved.map((c) => (c.type === "Progressing" ? { ...c, lastTransitionTime: current.lastTransitionTime } : c));
  }
  if (hasTimedOut(d, next, at)) {
    return withCondition(
      next.conditions,
      {
        type: "Progressing",
        status: "False",
        reason: "ProgressDeadlineExceeded",
        message: `${subject} has timed out progressing.`,
      },
      at,
    );
  }
  return next.conditions!;
}

function replicaFailure(
  conditions: readonly DeploymentCondition[],
  sets: readonly ReplicaSet[],
  newSet: ReplicaSet | undefined,
  at: Date,
): DeploymentCondition[] {
  const candidates = newSet ? [newSet, ...sets] : sets;
  const failure = candidates.flatMap((set) => set.status?.conditions ?? []).find((c) => c.type === "ReplicaFailure");
  if (!failure) return without(conditions, "ReplicaFailure");
  return withCondition(conditions, {
    type: "ReplicaFailure", status: failure.status, reason: failure.reason ?? "", message: failure.message ?? "",
  }, at);
}

/** Milliseconds until a stuck rollout must be looked at again; undefined when nothing is due. */
export function deadlineIn(d: Deployment, status: DeploymentStatus, at: Date): number | undefined {
  const condition = conditionOf(status.conditions, "Progressing");
  if (!hasDeadline(d) || !condition || isComplete(d, status)) return undefined;
  if (condition.reason === "ProgressDeadlineExceeded" || condition.reason === "NewReplicaSetAvailable") return undefined;
  const due = Date.parse(condition.lastUpdateTime!) + d.spec!.progressDeadlineSeconds! * 1000 - at.getTime();
  return Math.max(due, 0) + 1000;
}
