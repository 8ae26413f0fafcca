/** Jobs and CronJobs. */
import type { Behaviour } from "../row.ts";
import { ensure } from "../fields.ts";
import { keepStatus, withGeneration } from "../strategy.ts";
import type { Obj } from "../types.ts";
import { warnOfName, warnOfTemplate, warnOfWorkload } from "../core/warn-pod.ts";
import { cronJobColumns, jobColumns } from "./columns.ts";
import { defaultCronJob, defaultJob } from "./defaults.ts";
import { validateCronJob, validateCronJobUpdate, validateJob, validateJobUpdate } from "./validate-batch.ts";
import { validateJobStatus } from "./validate-job-status.ts";

export const cronJob: Behaviour = {
  ...withGeneration(),
  columns: cronJobColumns,
  defaults: defaultCronJob,
  validate: validateCronJob,
  validateUpdate: validateCronJobUpdate,
  warnings: (object) => {
    const { schedule, jobTemplate } = object.spec;
    return [
      ...warnOfName(object), ...warnOfManyIndexes(jobTemplate.spec), ...warnOfTemplate("spec.jobTemplate.spec.template", jobTemplate.spec.template),
      ...(schedule.includes("TZ") ? [`CRON_TZ or TZ used in spec.schedule is not officially supported, see ${CRON_DOCS}`] : []),
    ];
  },
};

const CRON_DOCS = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
const MANY_INDEXES = 100_000;
const MANY_PODS = 10_000;

const warnOfManyIndexes = ({ completionMode, completions, parallelism }: Obj): string[] =>
  completionMode === "Indexed" && completions > MANY_INDEXES && parallelism > MANY_PODS
    ? ["In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"]
    : [];

export const job: Behaviour = {
  columns: jobColumns,
  defaults: defaultJob,
  prepareCreate: (object) => {
    object.status = {};
    generateSelector(object);
  },
  prepareUpdate: keepStatus,
  validate: validateJob,
  validateUpdate: validateJobUpdate,
  validateStatusUpdate: validateJobStatus,
  warnings: (object) => [...warnOfManyIndexes(object.spec), ...warnOfWorkload(object)],
  generationOf: (object) => object.spec,
  selectableFields: { "status.successful": (o) => String(o.status?.succeeded ?? 0) },
};

/** A job's pods are told from all others by the job's uid, unless the user takes the selector into their own hands. */
function generateSelector(object: Obj): void {
  const { spec, metadata } = object;
  if (spec.manualSelector) return;
  const uid = metadata!.uid!;
  const labels = ensure(ensure(spec.template, "metadata"), "labels");
  labels["controller-uid"] ??= uid;
  labels["job-name"] ??= metadata!.name;
  labels["batch.kubernetes.io/controller-uid"] ??= uid;
  labels["batch.kubernetes.io/job-name"] ??= metadata!.name;
  const selector = ensure(ensure(spec, "selector"), "matchLabels");
  selector["batch.kubernetes.io/controller-uid"] ??= uid;
}
