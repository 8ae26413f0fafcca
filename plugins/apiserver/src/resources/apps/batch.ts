/** Jobs and CronJobs. */
import type { Behaviour } from "../row.ts";
import { ensure } from "../fields.ts";
import { keepStatus, withGeneration } from "../strategy.ts";
import type { Obj } from "../types.ts";
import { warnOfName, warnOfTemplate, warnOfWorkload } from "../core/warn-pod.ts";
import { cronJobColumns, jobColumns } from "./columns.ts";
import { defaultCronJob, defaultJob } from "./defaults.ts";
import { validateCronJob, validateJob, validateJobUpdate } from "./validate-batch.ts";

export const cronJob: Behaviour = {
  ...withGeneration(),
  columns: cronJobColumns,
  defaults: defaultCronJob,
  validate: validateCronJob,
  validateUpdate: validateCronJob,
  warnings: (object) => [...warnOfName(object), ...warnOfTemplate("spec.jobTemplate.spec.template", object.spec.jobTemplate?.spec?.template)],
};

export const job: Behaviour = {
  columns: jobColumns,
  defaults: defaultJob,
  prepareCreate: (object) => {
    object.status = {};
    generateSelector(object);
  },
  prepareUpdate: (object, old) => {
    keepStatus(object, old);
    inheritSelector(object, old);
  },
  validate: validateJob,
  validateUpdate: validateJobUpdate,
  warnings: warnOfWorkload,
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

/** The generated part may be left out of an update, as clients apply what they once created. */
function inheritSelector(object: Obj, old: Obj): void {
  if (object.spec.manualSelector || old.spec.manualSelector) return;
  object.spec.selector ??= old.spec.selector;
  const labels = ensure(ensure(object.spec.template, "metadata"), "labels");
  for (const key of ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"]) {
    const before = old.spec.template?.metadata?.labels?.[key];
    if (before !== undefined) labels[key] ??= before;
  }
}
