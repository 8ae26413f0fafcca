/** The job controller: runs pods to completion and counts each finished pod exactly once. */
import {
  controllerOf, jobs, keyOf, matchesSelector, pods, splitKey, timestamp,
  type Job, type Pod,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { candidatesOf, claim } from "../lib/claim.ts";
import { createExpectations } from "../lib/expectations.ts";
import { createPodBatches, createPodControl, isTerminatingNamespace } from "../lib/pod-control.ts";
import { isReady, isTerminating } from "../lib/pods.ts";
import { buildPod, nextBackoff, planCreation, surplusPods, type BackoffRecord } from "./job-pods.ts";
import {
  deadlineIn, decide, hasTracking, isComplete, isFinished, isSuspended, jobState, TRACKING, wantedActive,
  type JobState, type Outcome,
} from "./job-state.ts";
import { createJobStatus } from "./job-status.ts";

const BURST = 500;
const MANAGED_BY = "kubernetes.io/job-controller";

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "job");
  const expectations = createExpectations(now);
  const backoffs = new Map<string, BackoffRecord>();
  /** Pods that were counted, whose informer copy still shows the finalizer. */
  const counted = new Set<string>();
  const status = createJobStatus({ client, now, events: c.events, counted });

  const jobInformer = c.follow(jobs, (job, { deleted }) => {
    if (deleted) forget(keyOf(job));
    if (!deleted && !isFinished(job)) return keyOf(job);
    return podInformer.byIndex("owner", job.metadata.uid!).filter(hasTracking).map(orphanKey);
  });
  const podInformer = c.follow(pods, podKeys);
  const batches = createPodBatches(createPodControl(client, c.events, jobs), expectations, podInformer);
  c.run((key) => (key.startsWith("pod|") ? releaseOrphan(key.slice(4)) : reconcile(key)));

  const orphanKey = (pod: Pod): string => `pod|${keyOf(pod)}`;

  function forget(key: string): void {
    expectations.forget(key);
    backoffs.delete(key);
  }

  function podKeys(pod: Pod, { previous, deleted }: Change<Pod>): string[] {
    if (deleted || !hasTracking(pod)) counted.delete(pod.metadata.uid!);
    const ref = controllerOf(pod);
    if (!ref) return deleted ? [] : [...jobsMatching(pod), ...previousKey(previous)];
    if (ref.kind !== "Job") return [];
    const key = `${pod.metadata.namespace}/${ref.name}`;
    if (!previous && !deleted) expectations.creationObserved(key);
    if (deleted || isTerminating(pod)) expectations.deletionObserved(key, pod.metadata.uid!);
    const job = jobInformer.get(ref.name, pod.metadata.namespace);
    const orphaned = !deleted && hasTracking(pod) && (!job || job.metadata.uid !== ref.uid || isFinished(job));
    return orphaned ? [key, orphanKey(pod)] : [key];
  }

  function previousKey(previous: Pod | undefined): string[] {
    const ref = previous && controllerOf(previous);
    return ref?.kind === "Job" ? [`${previous!.metadata.namespace}/${ref.name}`] : [];
  }

  const jobsMatching = (pod: Pod): string[] =>
    jobInformer
      .list(pod.metadata.namespace)
      .filter((job) => matchesSelector(job.spec?.selector, pod.metadata.labels))
      .map(keyOf);

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const job = jobInformer.get(name, namespace);
    if (!job) return forget(key);
    if (job.spec?.managedBy !== undefined && job.spec.managedBy !== MANAGED_BY) return;
    if (isFinished(job)) return forget(key);
    const settled = expectations.satisfied(key);
    const claimed = await claim({
      client, resource: pods, owner: { resource: jobs, object: job }, finalizers: [TRACKING],
      matches: (pod) => matchesSelector(job.spec?.selector, pod.metadata.labels), candidates: candidatesOf(podInformer, job),
    });
    const state = jobState(started(job), claimed, (pod) => counted.has(pod.metadata.uid!));
    const backoff = nextBackoff(backoffs.get(key), state, now());
    const outcome = decide(state, now());
    const step = outcome ? await deleteActive(state) : await manage(state, backoff, settled);
    await status.write(job, state, outcome ?? completion(state, step), step);
    backoffs.set(key, backoff);
    if (step.error !== undefined && !isTerminatingNamespace(step.error)) throw step.error;
    return soonest(step.waitMs, outcome ? undefined : deadlineIn(state.job, now()));
  }

  /** The clock of a Job starts when the controller sees it unsuspended. */
  function started(job: Job): Job {
    if (job.status?.startTime || isSuspended(job)) return job;
    return { ...job, status: { ...job.status, startTime: timestamp(now()) as any } };
  }

  function completion(state: JobState, step: Step): Outcome | undefined {
    if (isSuspended(state.job) || !isComplete(state, step.active)) return undefined;
    return {
      type: "SuccessCriteriaMet",
      reason: "CompletionsReached",
      message: "Reached expected number of succeeded pods",
    };
  }

  async function manage(state: JobState, backoff: BackoffRecord, settled: boolean): Promise<Step> {
    const { job, active } = state;
    const idle: Step = { active: active.length, ready: state.ready, terminating: state.terminating };
    if (!settled || job.metadata.deletionTimestamp) return idle;
    if (isSuspended(job)) return { ...(await deleteActive(state)), managed: true };
    const wanted = wantedActive(state);
    if (active.length > wanted) {
      const surplus = surplusPods(state, Math.min(active.length - wanted, BURST), now());
      return { ...(await deletePods(state, surplus)), managed: true };
    }
    if (active.length === wanted || isComplete(state, active.length)) return { ...idle, managed: true };
    const plan = planCreation(state, Math.min(wanted - active.length, BURST), backoff, now());
    const { done, error } = await batches.create(job, plan.pods.map((pod) => buildPod(job, pod)));
    return { ...idle, active: active.length + done, managed: true, error, waitMs: plan.waitMs };
  }

  const deleteActive = (state: JobState): Promise<Step> => deletePods(state, state.active);

  async function deletePods(state: JobState, doomed: readonly Pod[]): Promise<Step> {
    const { done, error } = await batches.remove(state.job, doomed);
    return {
      active: state.active.length - done,
      ready: Math.max(0, state.ready - doomed.filter(isReady).length),
      terminating: state.terminating + done,
      error,
    };
  }

  /** A pod whose Job is gone or finished must not be held by the tracking finalizer. */
  async function releaseOrphan(key: string): Promise<void> {
    const [namespace, name] = splitKey(key);
    const pod = podInformer.get(name, namespace);
    const ref = pod && controllerOf(pod);
    if (!pod || !hasTracking(pod)) return;
    const job = ref?.kind === "Job" ? jobInformer.get(ref.name, namespace) : undefined;
    if (job && job.metadata.uid === ref!.uid && !isFinished(job)) return;
    await status.removeFinalizer(pod);
  }
}

/** What one pass did to the pods. */
export interface Step {
  readonly active: number;
  readonly ready: number;
  readonly terminating: number;
  /** The number of pods was brought in line, so that the Suspended condition may follow the spec. */
  readonly managed?: boolean;
  readonly error?: unknown;
  readonly waitMs?: number | undefined;
}

function soonest(...waits: (number | undefined)[]): number | undefined {
  const due = waits.filter((ms) => ms !== undefined);
  return due.length ? Math.min(...due) : undefined;
}
