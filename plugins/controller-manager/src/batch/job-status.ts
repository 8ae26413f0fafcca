/**
 * Writing a Job's status. A finished pod is counted in three steps, so that a crash between any two counts it neither
 * twice nor never: its uid goes into uncountedTerminatedPods, its finalizer is removed, the counter takes it over.
 */
import {
  isConflict, isInvalid, isNotFound, jobs, pods, timestamp,
  type EventRecorder, type Job, type KubeClient, type Pod,
} from "@k3s-p/plugin-api/kube";
import { referenceTo } from "../lib/pod-control.ts";
import { semanticEqual } from "../lib/values.ts";
import { formatIndexes } from "./indexes.ts";
import type { Step } from "./job.ts";
import { hasIndexLimit, isIndexed, isSuspended, TRACKING, type JobState, type Outcome } from "./job-state.ts";
import { countable, settle, type Tally } from "./job-tally.ts";

type Status = NonNullable<Job["status"]>;
type Condition = NonNullable<Status["conditions"]>[number];

export interface JobStatusDeps {
  readonly client: KubeClient;
  readonly now: () => Date;
  readonly events: EventRecorder;
  readonly counted: Set<string>;
}

export function createJobStatus({ client, now, events, counted }: JobStatusDeps) {
  const at = () => timestamp(now()) as unknown as Condition["lastTransitionTime"];

  const condition = (type: string, reason: string, message: string, status = "True"): Condition =>
    ({ type, status, reason, message, lastProbeTime: at(), lastTransitionTime: at() });

  /** `before` is the Job as the server has it; the state's may have a start time that is not written yet. */
  async function write(before: Job, state: JobState, outcome: Outcome | undefined, step: Step): Promise<void> {
    const { tally, release } = countable(state, counted);
    const announced = withSuspension(state.job, announce(state, outcome, step, tally), step, outcome);
    const written = await save(before, announced);
    const removed = await releaseAll(release);
    const done = settle(written, state, (uid) => removed.has(uid) || counted.has(uid));
    const final = outcome && isOver(done, step) ? conclude(done, outcome) : done;
    const after = await save(written, final);
    if (final !== done) reportEnd(after, outcome!);
  }

  function announce(
    { job, succeededIndexes, failedIndexes }: JobState,
    outcome: Outcome | undefined,
    step: Step,
    tally: Tally,
  ): Status {
    const conditions = job.status?.conditions ?? [];
    const news = outcome && !conditions.some((c) => c.type === outcome.type && c.status === "True");
    return {
      ...job.status, ...tally, active: step.active, ready: step.ready, terminating: step.terminating,
      ...(isIndexed(job) && { succeeded: succeededIndexes.size, completedIndexes: formatIndexes(succeededIndexes) }),
      ...(hasIndexLimit(job) && { failedIndexes: formatIndexes(failedIndexes) }),
      conditions: news ? [...conditions, condition(outcome.type, outcome.reason, outcome.message)] : conditions,
    };
  }

  function withSuspension(job: Job, status: Status, step: Step, outcome: Outcome | undefined): Status {
    if (outcome || !step.managed) return status;
    const current = status.conditions?.find((c) => c.type === "Suspended");
    const suspended = isSuspended(job);
    if (suspended ? current?.status === "True" : current?.status !== "True") return status;
    const next = suspended
      ? condition("Suspended", "JobSuspended", "Job suspended")
      : condition("Suspended", "JobResumed", "Job resumed", "False");
    events.record(referenceTo(jobs, job), "Normal", suspended ? "Suspended" : "Resumed", next.message!);
    const conditions = [...(status.conditions ?? []).filter((c) => c.type !== "Suspended"), next];
    const { startTime: _, ...rest } = status;
    return suspended ? { ...rest, conditions } : { ...status, conditions, startTime: at() as Status["startTime"] };
  }

  async function releaseAll(list: readonly Pod[]): Promise<ReadonlySet<string>> {
    const removed = new Set<string>();
    const results = await Promise.allSettled(list.map(async (pod) => {
      await removeFinalizer(pod);
      removed.add(pod.metadata.uid!);
    }));
    const failed = results.find((result) => result.status === "rejected");
    if (failed && removed.size === 0) throw failed.reason;
    return removed;
  }

  async function removeFinalizer(pod: Pod): Promise<void> {
    counted.add(pod.metadata.uid!);
    try {
      const metadata = { uid: pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [TRACKING] };
      await client.patch(pods, pod.metadata.name!, { metadata }, { type: "strategic", namespace: pod.metadata.namespace });
    } catch (error) {
      counted.delete(pod.metadata.uid!);
      // Gone, or another pod of that name: there is no finalizer left to remove.
      if (!isNotFound(error) && !isConflict(error) && !isInvalid(error)) throw error;
    }
  }

  /** Nothing runs, nothing terminates, everything is counted. */
  const isOver = ({ status }: Job, step: Step): boolean =>
    step.active === 0 &&
    step.terminating === 0 &&
    !status?.uncountedTerminatedPods?.succeeded?.length &&
    !status?.uncountedTerminatedPods?.failed?.length;

  function conclude(job: Job, outcome: Outcome): Job {
    const complete = outcome.type === "SuccessCriteriaMet";
    const last = condition(complete ? "Complete" : "Failed", outcome.reason, outcome.message);
    return {
      ...job,
      status: {
        ...job.status, active: 0, ready: 0, terminating: 0, conditions: [...(job.status?.conditions ?? []), last],
        ...(complete && { completionTime: at() as Status["completionTime"] }),
      },
    };
  }

  function reportEnd(job: Job, outcome: Outcome): void {
    const ref = referenceTo(jobs, job);
    if (outcome.type === "SuccessCriteriaMet") events.record(ref, "Normal", "Completed", "Job completed");
    else events.record(ref, "Warning", outcome.reason, outcome.message);
  }

  async function save(job: Job, next: Status | Job): Promise<Job> {
    const status = "metadata" in next ? next.status! : next;
    if (semanticEqual(strip(status), strip(job.status ?? {}))) return { ...job, status };
    return client.update(jobs, { ...job, status }, { subresource: "status" });
  }

  return { write, removeFinalizer };
}

/** Zero counts and an empty tally may be left out by the server. */
const strip = (status: Status): object =>
  Object.fromEntries(
    Object.entries(status).filter(
      ([, value]) =>
        value !== 0 &&
        value !== "" &&
        !(typeof value === "object" && value !== null && Object.keys(value).length === 0),
    ),
  );
