/** Table columns of apps and batch. */
import { controllerOf } from "@k3s-p/plugin-api/kube";
import { ageColumn, containerColumns, integer, nameColumn, selectorColumn, templateSpec, text, wide } from "../columns.ts";
import { age, humanDuration, labelsText, orNone, selectorText } from "../human.ts";
import type { Column, Obj } from "../types.ts";

export const deploymentColumns: readonly Column[] = [
  nameColumn,
  text("Ready", "Number of the pod with ready state", (o) => `${o.status?.readyReplicas ?? 0}/${o.spec?.replicas ?? 0}`),
  integer("Up-to-date", "Number of pods of the current template.", (o) => o.status?.updatedReplicas ?? 0),
  integer("Available", "Number of pods that have been ready for minReadySeconds.", (o) => o.status?.availableReplicas ?? 0),
  ageColumn,
  ...containerColumns(templateSpec),
  selectorColumn,
];

export const statefulSetColumns: readonly Column[] = [
  nameColumn,
  text("Ready", "Number of the pod with ready state", (o) => `${o.status?.readyReplicas ?? 0}/${o.spec?.replicas ?? 0}`),
  ageColumn,
  ...containerColumns(templateSpec),
];

export const daemonSetColumns: readonly Column[] = [
  nameColumn,
  integer("Desired", "Number of nodes that should run the pod.", (o) => o.status?.desiredNumberScheduled ?? 0),
  integer("Current", "Number of nodes that run the pod and should.", (o) => o.status?.currentNumberScheduled ?? 0),
  integer("Ready", "Number of nodes whose pod is ready.", (o) => o.status?.numberReady ?? 0),
  integer("Up-to-date", "Number of nodes with a pod of the current template.", (o) => o.status?.updatedNumberScheduled ?? 0),
  integer("Available", "Number of nodes whose pod is available.", (o) => o.status?.numberAvailable ?? 0),
  text("Node Selector", "Labels of the nodes that run the pod.", (o) => labelsText(templateSpec(o)?.nodeSelector)),
  ageColumn,
  ...containerColumns(templateSpec),
  selectorColumn,
];

export const controllerRevisionColumns: readonly Column[] = [
  nameColumn,
  text("Controller", "Controller of the object", controllerText),
  text("Revision", "Number of the revision.", (o) => String(o.revision ?? 0)),
  ageColumn,
];

function controllerText(revision: Obj): string {
  const owner = controllerOf(revision);
  if (!owner) return "<none>";
  const [group, version] = owner.apiVersion.includes("/") ? owner.apiVersion.split("/") : ["", owner.apiVersion];
  const kind = owner.kind.toLowerCase();
  return version === undefined || group === "" ? `${kind}/${owner.name}` : `${kind}.${group}/${owner.name}`;
}

export const jobColumns: readonly Column[] = [
  nameColumn,
  text("Status", "Status of the job.", jobStatus),
  text("Completions", "Pods that succeeded, of those asked for.", completions),
  text("Duration", "Time required to complete the job.", jobDuration),
  ageColumn,
  ...containerColumns(templateSpec),
  selectorColumn,
];

const isTrue = (o: Obj, type: string): boolean =>
  (o.status?.conditions ?? []).some((c: Obj) => c.type === type && c.status === "True");

function jobStatus(job: Obj): string {
  if (isTrue(job, "Complete")) return "Complete";
  if (isTrue(job, "Failed")) return "Failed";
  if (job.metadata?.deletionTimestamp) return "Terminating";
  return ["Suspended", "FailureTarget", "SuccessCriteriaMet"].find((type) => isTrue(job, type)) ?? "Running";
}

function completions(job: Obj): string {
  const succeeded = job.status?.succeeded ?? 0;
  if (job.spec?.completions != null) return `${succeeded}/${job.spec.completions}`;
  const parallelism = job.spec?.parallelism ?? 0;
  return parallelism > 1 ? `${succeeded}/1 of ${parallelism}` : `${succeeded}/1`;
}

function jobDuration(job: Obj, now: number): string {
  const { startTime, completionTime } = job.status ?? {};
  if (!startTime) return "";
  return humanDuration((completionTime ? Date.parse(completionTime) : now) - Date.parse(startTime));
}

const jobTemplateSpec = (o: Obj): Obj | undefined => o.spec?.jobTemplate?.spec;

export const cronJobColumns: readonly Column[] = [
  nameColumn,
  text("Schedule", "When the job runs, in cron form.", (o) => o.spec?.schedule ?? ""),
  text("Timezone", "Time zone of the schedule.", (o) => orNone(o.spec?.timeZone)),
  {
    name: "Suspend", type: "boolean", priority: 0, description: "Whether the schedule is paused.",
    value: (o) => (o.spec?.suspend === undefined ? "<unset>" : o.spec.suspend ? "True" : "False"),
  },
  integer("Active", "Number of jobs that run now.", (o) => o.status?.active?.length ?? 0),
  text("Last Schedule", "Time since a job was last scheduled.", (o, now) =>
    o.status?.lastScheduleTime ? age(o.status.lastScheduleTime, now) : "<none>"),
  ageColumn,
  ...containerColumns((o) => jobTemplateSpec(o)?.template?.spec),
  wide("Selector", "Label selector of the jobs' pods.", (o) => selectorText(jobTemplateSpec(o)?.selector)),
];
