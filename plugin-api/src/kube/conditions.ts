/** Status conditions: pure updates that keep `lastTransitionTime` when the status does not change. */

interface ConditionLike {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

export function findCondition<C extends ConditionLike>(list: readonly C[] | undefined, type: string): C | undefined {
  return list?.find((c) => c.type === type);
}

export function conditionIsTrue(list: readonly ConditionLike[] | undefined, type: string): boolean {
  return findCondition(list, type)?.status === "True";
}

/** Returns the same array when nothing changed, so that callers can skip the write. */
export function setCondition<C extends ConditionLike>(list: readonly C[] | undefined, next: C, now: string): C[] {
  const before = list ?? [];
  const old = findCondition(before, next.type);
  if (old && old.status === next.status && old.reason === next.reason && old.message === next.message) return before as C[];
  const lastTransitionTime = old?.status === next.status ? old.lastTransitionTime : now;
  const merged = { ...next, lastTransitionTime } as C;
  return old ? before.map((c) => (c.type === next.type ? merged : c)) : [...before, merged];
}
