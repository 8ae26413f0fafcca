/** The pods of a Job: building them, choosing indexes, and the back-off after failures. */
import { jobs, type Job, type ObjectMeta, type Pod, type PodSpec } from "@k3s-p/plugin-api/kube";
import { ownerReference } from "../lib/claim.ts";
import { podFromTemplate } from "../lib/pod-control.ts";
import { compareForDeletion, isActive } from "../lib/pods.ts";
import { applyFailurePolicy, isPodFailed } from "./failure-policy.ts";
import {
  finishedAt, hasIndexLimit, INDEX, INDEX_FAILURES, INDEX_IGNORED, indexFailures, indexIgnored, indexOf,
  isIndexed, TRACKING, type JobState,
} from "./job-state.ts";

const FIRST_BACKOFF_MS = 10_000;
const LONGEST_BACKOFF_MS = 600_000;
const ENV = "JOB_COMPLETION_INDEX";

const backoffMs = (failures: number): number =>
  failures === 0 ? 0 : Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 20));

/** Failures in a row since the last success, and when the last one was. */
export interface BackoffRecord {
  readonly failures: number;
  readonly last: number;
}

export function nextBackoff(before: BackoffRecord | undefined, state: JobState, now: Date): BackoffRecord {
  const ends = [
    ...state.newSucceeded.map((pod) => ({ at: finishedAt(pod, now), ok: true })),
    ...state.newFailed.map((pod) => ({ at: finishedAt(pod, now), ok: false })),
  ].sort((a, b) => a.at - b.at);
  let record = before ?? { failures: 0, last: 0 };
  for (const { at, ok } of ends) record = ok ? { failures: 0, last: 0 } : { failures: record.failures + 1, last: at };
  return record;
}

export interface NewPod {
  readonly index: number | undefined;
  /** Failures that pods of this index had before. */
  readonly failures: number;
  readonly ignored: number;
}

export interface CreationPlan {
  readonly pods: readonly NewPod[];
  /** Milliseconds until a replacement that is held back may come. */
  readonly waitMs: number | undefined;
}

/** Which pods to make, at most `count`, none of them before its back-off is over. */
export function planCreation(state: JobState, count: number, backoff: BackoffRecord, now: Date): CreationPlan {
  if (!hasIndexLimit(state.job)) {
    const waitMs = backoff.last + backoffMs(backoff.failures) - now.getTime();
    if (backoff.failures > 0 && waitMs > 0) return { pods: [], waitMs };
    const indexes = isIndexed(state.job)
      ? pendingIndexes(state).slice(0, count)
      : Array.from({ length: count }, () => undefined);
    return { pods: indexes.map((index) => ({ index, failures: 0, ignored: 0 })), waitMs: undefined };
  }
  const pods: NewPod[] = [];
  let waitMs: number | undefined;
  for (const index of pendingIndexes(state)) {
    if (pods.length >= count) break;
    const last = lastFailed(state, index);
    const wait = last ? finishedAt(last.pod, now) + backoffMs(last.failures + last.ignored) - now.getTime() : 0;
    if (wait > 0) waitMs = Math.min(waitMs ?? Infinity, wait);
    else pods.push({ index, failures: last?.failures ?? 0, ignored: last?.ignored ?? 0 });
  }
  return { pods, waitMs };
}

function pendingIndexes({ job, active, succeededIndexes, failedIndexes }: JobState): number[] {
  const taken = new Set(active.map(indexOf));
  return Array.from({ length: job.spec?.completions ?? 0 }, (_, i) => i)
    .filter((index) => !taken.has(index) && !succeededIndexes.has(index) && !failedIndexes.has(index));
}

function lastFailed(
  { job, pods }: JobState, index: number,
): { pod: Pod; failures: number; ignored: number } | undefined {
  const failed = pods.filter((pod) => indexOf(pod) === index && isPodFailed(job, pod));
  const pod = failed.sort((a, b) => indexFailures(b) + indexIgnored(b) - indexFailures(a) - indexIgnored(a))[0];
  if (!pod) return undefined;
  const ignored = applyFailurePolicy(job.spec?.podFailurePolicy, pod).action === "Ignore";
  return { pod, failures: indexFailures(pod) + Number(!ignored), ignored: indexIgnored(pod) + Number(ignored) };
}

export function buildPod(job: Job, { index, failures, ignored }: NewPod): Pod {
  const pod = podFromTemplate(job.spec!.template, job, ownerReference(jobs, job));
  const metadata: ObjectMeta = {
    ...pod.metadata,
    finalizers: [...(pod.metadata.finalizers ?? []).filter((f) => f !== TRACKING), TRACKING],
  };
  if (index === undefined) return { ...pod, metadata };
  const counts = hasIndexLimit(job)
    ? { [INDEX_FAILURES]: String(failures), ...(job.spec?.podFailurePolicy && { [INDEX_IGNORED]: String(ignored) }) }
    : {};
  return {
    ...pod,
    metadata: {
      ...metadata, generateName: `${job.metadata.name}-${index}-`,
      labels: { ...metadata.labels, [INDEX]: String(index) },
      annotations: { ...metadata.annotations, [INDEX]: String(index), ...counts },
    },
    spec: withIndexEnv({ ...pod.spec!, hostname: `${job.metadata.name}-${index}` }),
  };
}

function withIndexEnv(spec: PodSpec): PodSpec {
  const env = { name: ENV, valueFrom: { fieldRef: { fieldPath: `metadata.labels['${INDEX}']` } } };
  const add = <T extends { env?: any[] }>(container: T): T =>
    container.env?.some((e) => e.name === ENV) ? container : { ...container, env: [...(container.env ?? []), env] };
  return {
    ...spec,
    containers: spec.containers.map(add),
    ...(spec.initContainers && { initContainers: spec.initContainers.map(add) }),
  };
}

/** Active pods to give up: for indexed Jobs first those beyond the completions and duplicates of an index. */
export function surplusPods({ job, active }: JobState, count: number, now: Date): Pod[] {
  const perNode = Map.groupBy(active, (pod) => pod.spec?.nodeName ?? "");
  const ranked = [...active].sort((a, b) =>
    compareForDeletion(a, b, (pod) => perNode.get(pod.spec?.nodeName ?? "")!.length, now),
  );
  if (!isIndexed(job)) return ranked.slice(0, count);
  const seen = new Set<number>();
  const useless: Pod[] = [];
  const keepable: Pod[] = [];
  for (const pod of ranked.toReversed()) {
    const index = indexOf(pod);
    const useful = index !== undefined && index < (job.spec?.completions ?? 0) && !seen.has(index) && isActive(pod);
    if (useful) seen.add(index);
    (useful ? keepable : useless).push(pod);
  }
  const byIndex = keepable.sort((a, b) => indexOf(b)! - indexOf(a)!);
  return [...useless, ...byIndex.slice(0, Math.max(0, count - useless.length))];
}
