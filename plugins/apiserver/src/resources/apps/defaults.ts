/** Defaults of apps and batch. */
import { ensure, fill, fillEmpty, items } from "../fields.ts";
import { defaultPodTemplate } from "../core/pod-defaults.ts";
import { defaultClaim } from "../core/volume-defaults.ts";
import type { Obj } from "../types.ts";

const HISTORY = 10;
const MAX_INT32 = 2_147_483_647;

function workload(object: Obj): Obj {
  const spec = ensure(object, "spec");
  defaultPodTemplate(ensure(spec, "template"));
  ensure(object, "status");
  return spec;
}

export function defaultDeployment(deployment: Obj): void {
  const spec = workload(deployment);
  fill(spec, { replicas: 1, revisionHistoryLimit: HISTORY, progressDeadlineSeconds: 600 });
  const strategy = ensure(spec, "strategy");
  fillEmpty(strategy, { type: "RollingUpdate" });
  if (strategy.type === "RollingUpdate") fill(ensure(strategy, "rollingUpdate"), { maxUnavailable: "25%", maxSurge: "25%" });
}

export function defaultReplicaSet(set: Obj): void {
  fill(workload(set), { replicas: 1 });
  fill(set.status, { replicas: 0 });
}

export function defaultDaemonSet(set: Obj): void {
  const spec = workload(set);
  fill(spec, { revisionHistoryLimit: HISTORY });
  const strategy = ensure(spec, "updateStrategy");
  fillEmpty(strategy, { type: "RollingUpdate" });
  if (strategy.type === "RollingUpdate") fill(ensure(strategy, "rollingUpdate"), { maxUnavailable: 1, maxSurge: 0 });
  fill(set.status, { currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0 });
}

export function defaultStatefulSet(set: Obj): void {
  const spec = workload(set);
  fill(spec, { replicas: 1, revisionHistoryLimit: HISTORY });
  fillEmpty(spec, { podManagementPolicy: "OrderedReady" });
  const strategy = ensure(spec, "updateStrategy");
  fillEmpty(strategy, { type: "RollingUpdate" });
  if (strategy.type === "RollingUpdate") fill(ensure(strategy, "rollingUpdate"), { partition: 0 });
  fillEmpty(ensure(spec, "persistentVolumeClaimRetentionPolicy"), { whenDeleted: "Retain", whenScaled: "Retain" });
  for (const claim of items(spec, "volumeClaimTemplates")) {
    fill(claim, { apiVersion: "v1", kind: "PersistentVolumeClaim" });
    defaultClaim(claim);
  }
  fill(set.status, { replicas: 0, availableReplicas: 0 });
}

export function defaultJob(job: Obj): void {
  const spec = workload(job);
  if (spec.completions == null && spec.parallelism == null) spec.completions = 1;
  fill(spec, {
    parallelism: 1, backoffLimit: spec.backoffLimitPerIndex == null ? 6 : MAX_INT32, completionMode: "NonIndexed",
    suspend: false, manualSelector: false,
    podReplacementPolicy: spec.podFailurePolicy == null ? "TerminatingOrFailed" : "Failed",
  });
  defaultFailurePolicy(spec);
  const labels = spec.template.metadata?.labels;
  const metadata = ensure(job, "metadata");
  if (labels && Object.keys(metadata.labels ?? {}).length === 0) metadata.labels = { ...labels };
}

function defaultFailurePolicy(jobSpec: Obj): void {
  for (const rule of items(jobSpec.podFailurePolicy, "rules")) {
    for (const pattern of items(rule, "onPodConditions")) fillEmpty(pattern, { status: "True" });
  }
}

export function defaultCronJob(cronJob: Obj): void {
  const spec = ensure(cronJob, "spec");
  fillEmpty(spec, { concurrencyPolicy: "Allow" });
  fill(spec, { suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1 });
  const template = ensure(spec, "jobTemplate");
  ensure(template, "metadata");
  const jobSpec = ensure(template, "spec");
  defaultPodTemplate(ensure(jobSpec, "template"));
  defaultFailurePolicy(jobSpec);
  ensure(cronJob, "status");
}
