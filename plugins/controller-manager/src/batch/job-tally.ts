/** How finished pods get into a Job's counters: which of them a pass notes, and which are through. */
import type { Job, Pod } from "@k3s-p/plugin-api/kube";
import { isTerminal } from "../lib/pods.ts";
import { applyFailurePolicy } from "./failure-policy.ts";
import { hasTracking, indexOf, isIndexed, type JobState } from "./job-state.ts";

type Status = NonNullable<Job["status"]>;
export type Tally = Pick<Status, "uncountedTerminatedPods">;

/** Pods that one pass counts, as many as fit into a status. */
const BATCH = 500;

interface Countable {
  /** With the uids that must be noted before. */
  readonly tally: Tally;
  /** Pods whose finalizer can go once that is written. */
  readonly release: readonly Pod[];
}

/** Finished pods of this pass; `counted` are pods whose finalizer is gone though the cache still shows it. */
export function countable(state: JobState, counted: ReadonlySet<string>): Countable {
  const { job } = state;
  const before = job.status?.uncountedTerminatedPods ?? {};
  const succeeded = [...(before.succeeded ?? [])];
  const failed = [...(before.failed ?? [])];
  const release: Pod[] = [];
  const fresh = new Set([...state.newSucceeded, ...state.newFailed]);
  for (const pod of state.pods) {
    const uid = pod.metadata.uid!;
    if (!hasTracking(pod) || counted.has(uid) || succeeded.length + failed.length >= BATCH) continue;
    const known = succeeded.includes(uid) || failed.includes(uid);
    const ending =
      isTerminal(pod) ||
      fresh.has(pod) ||
      (pod.metadata.deletionTimestamp !== undefined && job.metadata.deletionTimestamp !== undefined);
    if (!known && !ending) continue;
    release.push(pod);
    if (known || !belongs(job, pod)) continue;
    if (pod.status?.phase === "Succeeded") {
      if (!isIndexed(job)) succeeded.push(uid);
    } else if (applyFailurePolicy(job.spec?.podFailurePolicy, pod).action !== "Ignore") failed.push(uid);
  }
  return {
    release,
    tally: { uncountedTerminatedPods: { ...(succeeded.length && { succeeded }), ...(failed.length && { failed }) } },
  };
}

/** Pods of an index that the Job does not have are let go without being counted. */
function belongs(job: Job, pod: Pod): boolean {
  if (!isIndexed(job)) return true;
  const index = indexOf(pod);
  return index !== undefined && index < (job.spec?.completions ?? 0);
}

/** Moves uids whose pods are free of the finalizer into the counters; the pods of the state may still show it. */
export function settle(job: Job, state: JobState, isFree: (uid: string) => boolean): Job {
  const uncounted = job.status?.uncountedTerminatedPods ?? {};
  const held = new Set(state.pods.filter((pod) => hasTracking(pod) && !isFree(pod.metadata.uid!)).map((pod) => pod.metadata.uid));
  const succeeded = (uncounted.succeeded ?? []).filter((uid) => held.has(uid));
  const failed = (uncounted.failed ?? []).filter((uid) => held.has(uid));
  const status: Status = {
    ...job.status,
    uncountedTerminatedPods: { ...(succeeded.length && { succeeded }), ...(failed.length && { failed }) },
    failed: (job.status?.failed ?? 0) + (uncounted.failed?.length ?? 0) - failed.length,
  };
  if (!isIndexed(job))
    status.succeeded = (job.status?.succeeded ?? 0) + (uncounted.succeeded?.length ?? 0) - succeeded.length;
  return { ...job, status };
}
