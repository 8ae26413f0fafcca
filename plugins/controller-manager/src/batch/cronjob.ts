/** The cronjob controller: makes a Job at each time of a schedule. */
import { messageOf } from "@k3s-p/plugin-api";
import {
  controllerOf, cronJobs, isAlreadyExists, isNotFound, jobs, splitKey, timestamp,
  type CronJob, type Job, type ObjectReference,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { ownerReference } from "../lib/claim.ts";
import { isTerminatingNamespace, referenceTo } from "../lib/pod-control.ts";
import { byCreation } from "../lib/pods.ts";
import { semanticEqual } from "../lib/values.ts";
import { parseSchedule, runsSince, type Schedule } from "./schedule.ts";

const SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp";
type Status = NonNullable<CronJob["status"]>;

const endOf = (job: Job) =>
  job.status?.conditions?.find((c) => (c.type === "Complete" || c.type === "Failed") && c.status === "True");

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "cronjob");
  const informer = c.follow(cronJobs);
  const jobInformer = c.follow(jobs, (job, { previous }) => {
    const owners = [controllerOf(job), previous && controllerOf(previous)].filter((ref) => ref?.kind === "CronJob");
    return owners.map((ref) => `${job.metadata.namespace}/${ref!.name}`);
  });
  c.run(reconcile);

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const cronJob = informer.get(name, namespace);
    if (!cronJob) return;
    const owned = jobInformer
      .byIndex("owner", cronJob.metadata.uid!)
      .filter((job) => controllerOf(job)?.uid === cronJob.metadata.uid);
    await cleanHistory(cronJob, owned);
    const status = followJobs(cronJob, owned);
    const { next, waitMs } = await startDue(cronJob, status, owned);
    if (!semanticEqual(next, cronJob.status))
      await client.update(cronJobs, { ...cronJob, status: next }, { subresource: "status" });
    return waitMs;
  }

  const event = (cronJob: CronJob, type: "Normal" | "Warning", reason: string, message: string) =>
    c.events.record(referenceTo(cronJobs, cronJob), type, reason, message);

  async function cleanHistory(cronJob: CronJob, owned: readonly Job[]): Promise<void> {
    const { successfulJobsHistoryLimit: succeeded, failedJobsHistoryLimit: failed } = cronJob.spec ?? {};
    for (const [type, limit] of [["Complete", succeeded], ["Failed", failed]] as const) {
      if (limit === undefined) continue;
      const ended = owned.filter((job) => endOf(job)?.type === type).sort(byCreation);
      for (const job of ended.slice(0, Math.max(0, ended.length - limit))) await remove(cronJob, job);
    }
  }

  async function remove(cronJob: CronJob, job: Job): Promise<void> {
    try {
      await client.delete(jobs, job.metadata.name!, {
        namespace: job.metadata.namespace,
        propagationPolicy: "Background",
        preconditions: { uid: job.metadata.uid },
      });
      event(cronJob, "Normal", "SuccessfulDelete", `Deleted job ${job.metadata.name}`);
    } catch (error) {
      if (isNotFound(error)) return;
      event(cronJob, "Warning", "FailedDelete", `Deleted job: ${messageOf(error)}`);
      throw error;
    }
  }

  /** The active list without Jobs that ended or vanished, and the time of the last success. */
  function followJobs(cronJob: CronJob, owned: readonly Job[]): Status {
    const before = cronJob.status ?? {};
    const listed = new Set(before.active?.map((ref) => ref.uid));
    let lastSuccessfulTime = before.lastSuccessfulTime;
    for (const job of owned) {
      const end = endOf(job);
      if (!end && !listed.has(job.metadata.uid)) {
        // A Job made just before a restart is one of ours; it is listed again below.
        event(
          cronJob,
          "Warning",
          "UnexpectedJob",
          `Saw a job that the controller did not create or forgot: ${job.metadata.name}`,
        );
      }
      if (end && listed.has(job.metadata.uid))
        event(cronJob, "Normal", "SawCompletedJob", `Saw completed job: ${job.metadata.name}, condition: ${end.type}`);
      const at = end?.type === "Complete" ? job.status?.completionTime : undefined;
      if (at && (!lastSuccessfulTime || Date.parse(at) > Date.parse(lastSuccessfulTime))) lastSuccessfulTime = at;
    }
    const active = (before.active ?? []).filter((ref) => {
      const job = owned.find((j) => j.metadata.uid === ref.uid);
      if (!job) event(cronJob, "Normal", "MissingJob", `Active job went missing: ${ref.name}`);
      return job && !endOf(job);
    });
    return { ...before, active, ...(lastSuccessfulTime && { lastSuccessfulTime }) };
  }

  interface Started {
    readonly next: Status;
    readonly waitMs: number | undefined;
  }

  async function startDue(cronJob: CronJob, status: Status, owned: readonly Job[]): Promise<Started> {
    const idle = (waitMs?: number): Started => ({ next: status, waitMs });
    if (cronJob.metadata.deletionTimestamp || cronJob.spec?.suspend) return idle();
    const schedule = readSchedule(cronJob);
    if (!schedule) return idle();
    const at = now();
    const { due, missed, next } = runsSince(schedule, earliest(cronJob, at), at);
    const waitMs = next ? next.getTime() - at.getTime() + 100 : undefined;
    if (missed) {
      const message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
      event(cronJob, "Warning", "TooManyMissedTimes", message);
    }
    if (!due || due.getTime() === Date.parse(status.lastScheduleTime ?? "")) return idle(waitMs);
    const running = owned.filter((job) => !endOf(job));
    if (!mayStart(cronJob, due, at, running)) return idle(waitMs);
    return { next: await startJob(cronJob, status, due, running), waitMs };
  }

  /** Whether it is not too late for a run, and those that still run allow it. */
  function mayStart(cronJob: CronJob, due: Date, at: Date, running: readonly Job[]): boolean {
    const { startingDeadlineSeconds: deadline, concurrencyPolicy } = cronJob.spec ?? {};
    if (deadline !== undefined && due.getTime() + deadline * 1000 < at.getTime()) {
      event(cronJob, "Warning", "MissSchedule", `Missed scheduled time to start a job: ${due.toUTCString()}`);
      return false;
    }
    if (concurrencyPolicy !== "Forbid" || running.length === 0) return true;
    const message = "Not starting job because prior execution is running and concurrency policy is Forbid";
    event(cronJob, "Normal", "JobAlreadyActive", message);
    return false;
  }

  /** The status with the new Job; as it was when none can be made because the namespace is being deleted. */
  async function startJob(cronJob: CronJob, status: Status, due: Date, running: readonly Job[]): Promise<Status> {
    const replaces = cronJob.spec?.concurrencyPolicy === "Replace";
    if (replaces) for (const job of running) await remove(cronJob, job);
    const job = await createJob(cronJob, due);
    if (!job) return status;
    const kept = replaces ? [] : (status.active ?? []).filter((ref) => ref.uid !== job.metadata.uid);
    return { ...status, active: [...kept, jobReference(job)], lastScheduleTime: timestamp(due) as any };
  }

  function readSchedule(cronJob: CronJob): Schedule | undefined {
    const { schedule = "", timeZone } = cronJob.spec ?? {};
    const parsed = parseSchedule(schedule, timeZone);
    if (parsed.ok) return parsed.schedule;
    if (parsed.reason === "timezone")
      event(cronJob, "Warning", "UnknownTimeZone", `invalid timeZone: "${timeZone}": ${parsed.message}`);
    else event(cronJob, "Warning", "UnparseableSchedule", `unparseable schedule: "${schedule}" : ${parsed.message}`);
    return undefined;
  }

  /** From when on a missed run still counts. */
  function earliest(cronJob: CronJob, at: Date): Date {
    const from = Date.parse((cronJob.status?.lastScheduleTime as string | undefined) ?? cronJob.metadata.creationTimestamp!);
    const deadline = cronJob.spec?.startingDeadlineSeconds;
    return new Date(deadline === undefined ? from : Math.max(from, at.getTime() - deadline * 1000));
  }

  async function createJob(cronJob: CronJob, due: Date): Promise<Job | undefined> {
    const template = cronJob.spec!.jobTemplate;
    const meta = template.metadata as { labels?: Record<string, string>; annotations?: Record<string, string> } | undefined;
    const wanted = {
      apiVersion: "batch/v1", kind: "Job", spec: template.spec,
      metadata: {
        name: `${cronJob.metadata.name}-${Math.floor(due.getTime() / 60_000)}`, namespace: cronJob.metadata.namespace,
        labels: { ...meta?.labels }, annotations: { ...meta?.annotations, [SCHEDULED_AT]: timestamp(due) },
        ownerReferences: [ownerReference(cronJobs, cronJob)],
      },
    } as Job;
    try {
      const job = await client.create(jobs, wanted);
      event(cronJob, "Normal", "SuccessfulCreate", `Created job ${job.metadata.name}`);
      return job;
    } catch (error) {
      if (isTerminatingNamespace(error)) return undefined;
      if (isAlreadyExists(error)) {
        const live = await client.get(jobs, wanted.metadata.name!, wanted.metadata.namespace);
        if (controllerOf(live)?.uid === cronJob.metadata.uid) return live;
      }
      event(cronJob, "Warning", "FailedCreate", `Error creating job: ${messageOf(error)}`);
      throw error;
    }
  }
}

const jobReference = (job: Job): ObjectReference => ({
  apiVersion: "batch/v1", kind: "Job", name: job.metadata.name, namespace: job.metadata.namespace, uid: job.metadata.uid,
  resourceVersion: job.metadata.resourceVersion,
});

