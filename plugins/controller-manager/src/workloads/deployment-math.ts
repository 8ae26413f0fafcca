/** The arithmetic of rollouts: how many replicas each ReplicaSet of a Deployment may have. Pure functions. */
import type { Deployment, ReplicaSet } from "@k3s-p/plugin-api/kube";
import { createdAt } from "../lib/pods.ts";
import { resolveIntOrPercent, semanticEqual } from "../lib/values.ts";

export const annotation = {
  revision: "deployment.kubernetes.io/revision",
  revisionHistory: "deployment.kubernetes.io/revision-history",
  desiredReplicas: "deployment.kubernetes.io/desired-replicas",
  maxReplicas: "deployment.kubernetes.io/max-replicas",
} as const;
export const HASH_LABEL = "pod-template-hash";

export const replicasOf = (object: Deployment | ReplicaSet): number => object.spec?.replicas ?? 1;
export const availableOf = (set: ReplicaSet): number => set.status?.availableReplicas ?? 0;
export const sumReplicas = (sets: readonly ReplicaSet[]): number => sets.reduce((sum, set) => sum + replicasOf(set), 0);
export const sumActual = (sets: readonly ReplicaSet[]): number =>
  sets.reduce((sum, set) => sum + (set.status?.replicas ?? 0), 0);
export const sumAvailable = (sets: readonly ReplicaSet[]): number =>
  sets.reduce((sum, set) => sum + availableOf(set), 0);
export const activeSets = (sets: readonly ReplicaSet[]): ReplicaSet[] => sets.filter((set) => replicasOf(set) > 0);

export const isRolling = (d: Deployment): boolean => (d.spec?.strategy?.type ?? "RollingUpdate") === "RollingUpdate";

/** `maxSurge` rounded up and `maxUnavailable` rounded down; never both zero. */
function fenceposts(d: Deployment): { readonly surge: number; readonly unavailable: number } {
  const rolling = d.spec?.strategy?.rollingUpdate;
  const surge = resolveIntOrPercent(rolling?.maxSurge ?? "25%", replicasOf(d), "up");
  const unavailable = resolveIntOrPercent(rolling?.maxUnavailable ?? "25%", replicasOf(d), "down");
  return { surge, unavailable: surge === 0 && unavailable === 0 ? 1 : unavailable };
}

export const maxSurge = (d: Deployment): number => (isRolling(d) ? fenceposts(d).surge : 0);

export function maxUnavailable(d: Deployment): number {
  if (!isRolling(d) || replicasOf(d) === 0) return 0;
  return Math.min(fenceposts(d).unavailable, replicasOf(d));
}

/** Revisions have 64 bits, more than a number holds exactly. */
export const parseRevision = (text: string | undefined): bigint => (/^\d+$/.test(text ?? "") ? BigInt(text!) : 0n);

export const revisionOf = (object: Deployment | ReplicaSet): bigint => parseRevision(object.metadata.annotations?.[annotation.revision]);

const countAnnotation = (set: ReplicaSet, name: string): number | undefined => {
  const value = Number.parseInt(set.metadata.annotations?.[name] ?? "", 10);
  return Number.isNaN(value) ? undefined : value;
};
export const desiredOf = (set: ReplicaSet): number | undefined => countAnnotation(set, annotation.desiredReplicas);

/** Templates are compared without the hash label that the controller itself adds. */
export function sameTemplate(a: any, b: any): boolean {
  return semanticEqual(withoutHash(a), withoutHash(b));
}
function withoutHash(template: any): unknown {
  const { [HASH_LABEL]: _, ...labels } = template?.metadata?.labels ?? {};
  return { ...template, metadata: { ...template?.metadata, labels } };
}

export const oldestFirst = (a: ReplicaSet, b: ReplicaSet): number =>
  createdAt(a) - createdAt(b) || (a.metadata.name! < b.metadata.name! ? -1 : 1);

/** Size that the new ReplicaSet may grow to now. */
export function newSetReplicas(d: Deployment, sets: readonly ReplicaSet[], newSet: ReplicaSet | undefined): number {
  const current = newSet ? replicasOf(newSet) : 0;
  if (!isRolling(d)) return replicasOf(d);
  const room = replicasOf(d) + maxSurge(d) - sumReplicas(sets);
  if (room <= 0) return current;
  return current + Math.min(room, replicasOf(d) - current);
}

/** Sizes after the old ReplicaSets gave up pods that are not available anyway, at most `limit` of them. */
export function withoutUnhealthy(oldSets: readonly ReplicaSet[], limit: number): Map<ReplicaSet, number> {
  const sizes = new Map<ReplicaSet, number>();
  let left = limit;
  for (const set of [...oldSets].sort(oldestFirst)) {
    if (left <= 0) break;
    const unhealthy = replicasOf(set) - availableOf(set);
    if (replicasOf(set) === 0 || unhealthy <= 0) continue;
    const less = Math.min(left, unhealthy);
    left -= less;
    sizes.set(set, replicasOf(set) - less);
  }
  return sizes;
}

/** Sizes of old ReplicaSets after a scale-down that keeps the Deployment's minimum available. */
export function scaledDown(
  d: Deployment,
  sets: readonly ReplicaSet[],
  oldSets: readonly ReplicaSet[],
  sizeOf: (set: ReplicaSet) => number,
): Map<ReplicaSet, number> {
  const sizes = new Map<ReplicaSet, number>();
  let left = sumAvailable(sets) - (replicasOf(d) - maxUnavailable(d));
  for (const set of [...oldSets].sort(oldestFirst)) {
    if (left <= 0) break;
    const size = sizeOf(set);
    if (size === 0) continue;
    const less = Math.min(size, left);
    left -= less;
    sizes.set(set, size - less);
  }
  return sizes;
}

/** Sizes that spread a changed `replicas` over all active ReplicaSets in proportion to what they have. */
export function proportional(d: Deployment, sets: readonly ReplicaSet[]): Map<ReplicaSet, number> {
  const active = activeSets(sets);
  const allowed = replicasOf(d) > 0 ? replicasOf(d) + maxSurge(d) : 0;
  const toAdd = allowed - sumReplicas(active);
  active.sort((a, b) => replicasOf(b) - replicasOf(a) || (toAdd > 0 ? oldestFirst(b, a) : oldestFirst(a, b)));
  const sizes = new Map<ReplicaSet, number>();
  let added = 0;
  for (const set of active) {
    const share = toAdd === 0 ? 0 : proportionOf(d, set, toAdd, added);
    added += share;
    sizes.set(set, replicasOf(set) + share);
  }
  const first = active[0];
  if (first && toAdd !== 0) sizes.set(first, Math.max(0, sizes.get(first)! + toAdd - added));
  return sizes;
}

function proportionOf(d: Deployment, set: ReplicaSet, toAdd: number, added: number): number {
  const allowed = toAdd - added;
  if (allowed === 0) return 0;
  const share = fractionOf(d, set);
  return toAdd > 0 ? Math.min(share, allowed) : Math.max(share, allowed);
}

function fractionOf(d: Deployment, set: ReplicaSet): number {
  if (replicasOf(d) === 0) return -replicasOf(set);
  const before = countAnnotation(set, annotation.maxReplicas) || (d.status?.replicas ?? 0);
  if (!before) return 0;
  return Math.round((replicasOf(set) * (replicasOf(d) + maxSurge(d))) / before) - replicasOf(set);
}

/** The new ReplicaSet carries the whole Deployment. */
export function isSaturated(d: Deployment, set: ReplicaSet | undefined): boolean {
  return (
    set !== undefined &&
    desiredOf(set) === replicasOf(d) &&
    replicasOf(set) === replicasOf(d) &&
    availableOf(set) === replicasOf(d)
  );
}
