/** What a Job's pods amount to: which are active, newly finished or failed, and whether the Job is decided. Pure. */
import { findCondition, type Job, type Pod } from "@k3s-p/plugin-api/kube";
import { isActive, isReady, isTerminal, isTerminating } from "../lib/pods.ts";
import { applyFailurePolicy, applySuccessPolicy, isPodFailed, replacesOnlyFailed } from "./failure-policy.ts";
import { parseIndexes } from "./indexes.ts";

export const TRACKING = "batch.kubernetes.io/job-tracking";
export const INDEX = "batch.kubernetes.io/job-completion-index";
export const INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count";
export const INDEX_IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count";

export const hasTracking = (pod: Pod): boolean => pod.metadata.finalizers?.includes(TRACKING) ?? false;
export const isIndexed = (job: Job): boolean => job.spec?.completionMode === "Indexed";
export const isSuspended = (job: Job): boolean => job.spec?.suspend ?? false;
export const hasIndexLimit = (job: Job): boolean => isIndexed(job) && job.spec?.backoffLimitPerIndex !== undefined;
export const isFinished = (job: Job): boolean =>
  (job.status?.conditions ?? []).some((c) => (c.type === "Complete" || c.type === "Failed") && c.status === "True");

export function indexOf(pod: Pod): number | undefined {
  const text = pod.metadata.annotations?.[INDEX];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

const annotationCount = (pod: Pod, name: string): number => Number(pod.metadata.annotations?.[name] ?? 0) || 0;
export const indexFailures = (pod: Pod): number => annotationCount(pod, INDEX_FAILURES);
export const indexIgnored = (pod: Pod): number => annotationCount(pod, INDEX_IGNORED);

/** Milliseconds since the epoch at which a pod ended. */
export function finishedAt(pod: Pod, now: Date): number {
  const ends = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])]
    .map((status) => Date.parse(status.state?.terminated?.finishedAt ?? "")).filter((time) => !Number.isNaN(time));
  if (ends.length) return Math.max(...ends);
  const ready = findCondition(pod.status?.conditions, "Ready")?.lastTransitionTime;
  return Date.parse(pod.metadata.deletionTimestamp ?? ready ?? "") || now.getTime();
}

/** A decision that is announced before the pods are gone: `FailureTarget` or `SuccessCriteriaMet`. */
export interface Outcome {
  readonly type: "FailureTarget" | "SuccessCriteriaMet";
  readonly reason: string;
  readonly message: string;
}

export interface JobState {
  readonly job: Job;
  readonly pods: readonly Pod[];
  readonly active: readonly Pod[];
  readonly ready: number;
  readonly terminating: number;
  /** Finished pods that no status counts yet. */
  readonly newSucceeded: readonly Pod[];
  readonly newFailed: readonly Pod[];
  readonly succeeded: number;
  readonly failed: number;
  readonly succeededIndexes: ReadonlySet<number>;
  readonly failedIndexes: ReadonlySet<number>;
}

/** `counted` tells that a pod's end is in the status already, although it still shows its finalizer. */
export function jobState(job: Job, pods: readonly Pod[], counted: (pod: Pod) => boolean): JobState {
  const uncounted = job.status?.uncountedTerminatedPods ?? {};
  const inFlight = new Set([...(uncounted.succeeded ?? []), ...(uncounted.failed ?? [])]);
  const fresh = pods.filter((pod) => hasTracking(pod) && !counted(pod) && !inFlight.has(pod.metadata.uid!));
  const newSucceeded = fresh.filter((pod) => pod.status?.phase === "Succeeded");
  const newFailed = fresh.filter((pod) => isPodFailed(job, pod));
  const active = pods.filter(isActive);
  const succeededIndexes = isIndexed(job) ? succeededOf(job, pods) : new Set<number>();
  const failures = newFailed.filter((pod) => applyFailurePolicy(job.spec?.podFailurePolicy, pod).action !== "Ignore");
  return {
    job, pods, active, newSucceeded, newFailed, succeededIndexes,
    ready: active.filter(isReady).length,
    terminating: pods.filter((pod) => isTerminating(pod) && !isTerminal(pod)).length,
    succeeded: isIndexed(job)
      ? succeededIndexes.size
      : (job.status?.succeeded ?? 0) + newSucceeded.length + (uncounted.succeeded?.length ?? 0),
    failed: (job.status?.failed ?? 0) + failures.length + (uncounted.failed?.length ?? 0),
    failedIndexes: hasIndexLimit(job) ? failedOf(job, pods, succeededIndexes) : new Set(),
  };
}

function succeededOf(job: Job, pods: readonly Pod[]): Set<number> {
  const completions = job.spec?.completions ?? 0;
  const indexes = parseIndexes(job.status?.completedIndexes, completions);
  for (const pod of pods) {
    const index = indexOf(pod);
    if (index !== undefined && index < completions && pod.status?.phase === "Succeeded" && hasTracking(pod))
      indexes.add(index);
  }
  return indexes;
}

function failedOf(job: Job, pods: readonly Pod[], succeeded: ReadonlySet<number>): Set<number> {
  const completions = job.spec?.completions ?? 0;
  const indexes = parseIndexes(job.status?.failedIndexes, completions);
  for (const pod of pods) {
    const index = indexOf(pod);
    if (index === undefined || index >= completions || succeeded.has(index) || !hasTracking(pod)) continue;
    if (isPodFailed(job, pod) && failsIndex(job, pod)) indexes.add(index);
  }
  return indexes;
}

function failsIndex(job: Job, pod: Pod): boolean {
  const { action } = applyFailurePolicy(job.spec?.podFailurePolicy, pod);
  if (action === "FailIndex") return true;
  return action !== "Ignore" && indexFailures(pod) >= job.spec!.backoffLimitPerIndex!;
}

/** Why the Job is decided now, if it is; a decision that was announced before stands. */
export function decide(state: JobState, now: Date): Outcome | undefined {
  const { job } = state;
  const announced = (job.status?.conditions ?? []).find(
    (c) => (c.type === "FailureTarget" || c.type === "SuccessCriteriaMet") && c.status === "True",
  );
  if (announced)
    return {
      type: announced.type as Outcome["type"],
      reason: announced.reason ?? "",
      message: announced.message ?? "",
    };
  const failure = failureOf(state, now);
  if (failure) return { type: "FailureTarget", ...failure };
  const matched = isIndexed(job) ? applySuccessPolicy(job, state.succeededIndexes) : undefined;
  return matched === undefined ? undefined : { type: "SuccessCriteriaMet", reason: "SuccessPolicy", message: matched };
}

function failureOf(state: JobState, now: Date): { reason: string; message: string } | undefined {
  const { job, failed, failedIndexes, succeeded } = state;
  const policy = job.spec?.podFailurePolicy;
  const fatal =
    policy &&
    state.newFailed.map((pod) => applyFailurePolicy(policy, pod)).find((verdict) => verdict.action === "FailJob");
  if (fatal) return { reason: "PodFailurePolicy", message: fatal.message! };
  if (failed > (job.spec?.backoffLimit ?? (hasIndexLimit(job) ? Infinity : 6)) || restartsExceeded(state)) {
    return { reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit" };
  }
  if (deadlineIn(job, now) === 0)
    return { reason: "DeadlineExceeded", message: "Job was active longer than specified deadline" };
  if (!hasIndexLimit(job)) return undefined;
  if (job.spec?.maxFailedIndexes !== undefined && failedIndexes.size > job.spec.maxFailedIndexes) {
    return {
      reason: "MaxFailedIndexesExceeded",
      message: "Job has exceeded the specified maximal number of failed indexes",
    };
  }
  const done = failedIndexes.size > 0 && failedIndexes.size + succeeded >= (job.spec?.completions ?? 0);
  return done ? { reason: "FailedIndexes", message: "Job has failed indexes" } : undefined;
}

/** Containers that restart in place count, too, when the pods' policy is OnFailure. */
function restartsExceeded({ job, pods }: JobState): boolean {
  if (job.spec?.template.spec?.restartPolicy !== "OnFailure") return false;
  const running = pods.filter((pod) => pod.status?.phase === "Running" || pod.status?.phase === "Pending");
  const restarts = running.reduce(
    (sum, pod) =>
      sum +
      [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])].reduce(
        (n, s) => n + (s.restartCount ?? 0),
        0,
      ),
    0,
  );
  const limit = job.spec.backoffLimit ?? 6;
  return limit === 0 ? restarts > 0 : restarts >= limit;
}

/** Milliseconds until activeDeadlineSeconds is over; undefined when there is none. */
export function deadlineIn(job: Job, now: Date): number | undefined {
  const seconds = job.spec?.activeDeadlineSeconds;
  if (seconds === undefined || !job.status?.startTime || isSuspended(job)) return undefined;
  return Math.max(0, Date.parse(job.status.startTime) + seconds * 1000 - now.getTime());
}

/** All wanted completions are there; a work queue Job is complete when one pod succeeded and none runs. */
export function isComplete({ job, succeeded }: JobState, activeCount: number): boolean {
  const completions = job.spec?.completions;
  return completions === undefined ? succeeded > 0 && activeCount === 0 : succeeded >= completions;
}

/** Pods that should run now. */
export function wantedActive({ job, succeeded, active, terminating }: JobState): number {
  const parallelism = job.spec?.parallelism ?? 1;
  const held = replacesOnlyFailed(job) ? terminating : 0;
  if (job.spec?.completions === undefined) return succeeded > 0 ? active.length : Math.max(0, parallelism - held);
  return Math.max(0, Math.min(job.spec.completions - succeeded, parallelism) - held);
}

