/** Validation of Jobs and CronJobs. */
import { type LabelSelector, matchesSelector } from "@k3s-p/plugin-api/kube";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validatePodTemplate } from "../core/validate-pod.ts";
import {
  type FieldError, IMMUTABLE, invalidValue, nonNegative, notSupported, oneOf, optionalOneOf, required, tooLong,
} from "../validate/field.ts";
import { dns1123Label, domainPrefixedPath } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";
import { scheduleProblem } from "./schedule.ts";
import { validateCompletionMode, validateFailurePolicy, validateSuccessPolicy } from "./validate-job-policy.ts";

const MAX_CRON_NAME = 52;

export function validateJob(job: Obj): FieldError[] {
  const { spec, metadata } = job;
  const errors = [...validateGeneratedSelector(job), ...validateJobSpec("spec", spec)];
  const problems = validateLabelSelector("spec.selector", spec.selector);
  errors.push(...(isObject(spec.selector) ? problems : [required("spec.selector")]));
  const labels = spec.template?.metadata?.labels;
  if (problems.length === 0 && !(isObject(spec.selector) && matchesSelector(spec.selector as LabelSelector, labels))) {
    errors.push(invalidValue("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
  }
  if (spec.completionMode !== "Indexed" || !(spec.completions > 0)) return errors;
  const last = `${metadata?.name}-${spec.completions - 1}`;
  return dns1123Label(last).length === 0 ? errors : [...errors, invalidValue("metadata.name", metadata?.name, `will not able to create pod with invalid DNS label: ${last}`)];
}

/** Labels of its pods that a job does not leave to the user, unless the user chose the selector. */
const generatedLabels = (job: Obj): Readonly<Record<string, string>> => {
  const { uid = "", name = "" } = job.metadata ?? {};
  return { "controller-uid": uid, "job-name": name, "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name };
};

function validateGeneratedSelector(job: Obj): FieldError[] {
  const { spec } = job;
  if (spec.manualSelector || !isObject(spec.selector)) return [];
  const wanted = generatedLabels(job);
  const labels: Readonly<Record<string, string>> = spec.template?.metadata?.labels ?? {};
  const errors = Object.entries(wanted).flatMap(([key, value]) => {
    const field = `spec.template.metadata.labels[${key}]`;
    if (labels[key] === undefined) return [required(field, `must be '${value}'`)];
    return labels[key] === value ? [] : [invalidValue(field, labels, `must be '${value}'`)];
  });
  const isGenerated = validateLabelSelector("", spec.selector).length > 0 || matchesSelector(spec.selector as LabelSelector, wanted);
  return isGenerated ? errors : [...errors, invalidValue("spec.selector", spec.selector, "`selector` not auto-generated")];
}

function validateJobSpec(at: string, spec: Obj): FieldError[] {
  return [
    ...["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes"]
      .flatMap((name) => nonNegative(`${at}.${name}`, spec[name])),
    ...(spec.maxFailedIndexes != null && spec.backoffLimitPerIndex == null ? [required(`${at}.backoffLimitPerIndex`, "when maxFailedIndexes is specified")] : []),
    ...(spec.managedBy == null ? [] : validateManager(`${at}.managedBy`, spec.managedBy)),
    ...validateCompletionMode(at, spec), ...validateFailurePolicy(`${at}.podFailurePolicy`, spec),
    ...validateSuccessPolicy(`${at}.successPolicy`, spec), ...validateReplacement(`${at}.podReplacementPolicy`, spec),
    ...validatePodTemplate(`${at}.template`, spec.template), ...validateRestart(`${at}.template.spec.restartPolicy`, spec),
  ];
}

const MAX_MANAGER = 63;

const validateManager = (field: string, name: string): FieldError[] =>
  [...domainPrefixedPath(field, name), ...(name.length > MAX_MANAGER ? [tooLong(field, MAX_MANAGER)] : [])];

/** With a failure policy a pod is replaced when it has failed, and not before. */
function validateReplacement(field: string, spec: Obj): FieldError[] {
  const allowed = isObject(spec.podFailurePolicy) ? ["Failed"] : ["Failed", "TerminatingOrFailed"];
  return optionalOneOf(field, spec.podReplacementPolicy, allowed);
}

function validateRestart(field: string, spec: Obj): FieldError[] {
  const policy = spec.template?.spec?.restartPolicy;
  if (!policy || policy === "Always") return [required(field, 'valid values: "OnFailure", "Never"')];
  if (policy !== "OnFailure" && policy !== "Never") return [notSupported(field, policy, ["OnFailure", "Never"])];
  return policy === "OnFailure" && spec.podFailurePolicy != null ? [invalidValue(field, policy, 'only "Never" is supported when podFailurePolicy is specified')] : [];
}

/** What may change in the template of a suspended job, beside node affinity and resources: what steers scheduling. */
const schedulingFields = ["nodeSelector", "tolerations", "schedulingGates"];

export function validateJobUpdate(job: Obj, old: Obj): FieldError[] {
  const immutable = (field: string): FieldError[] =>
    same(job.spec[field], old.spec[field]) ? [] : [invalidValue(`spec.${field}`, job.spec[field], IMMUTABLE)];
  return [
    ...validateJob(job), ...(job.spec.completionMode === "Indexed" ? validateElastic(job.spec, old.spec) : immutable("completions")), ...immutable("selector"),
    ...validateTemplateUpdate(job.spec.template, old),
    ...["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"].flatMap(immutable),
  ];
}

/** An Indexed job may change completions together with parallelism. */
function validateElastic({ completions, parallelism }: Obj, old: Obj): FieldError[] {
  if (completions == null || completions === old.completions || completions === parallelism) return [];
  return [invalidValue("spec.completions", completions, "can only be modified in tandem with spec.parallelism")];
}

function validateTemplateUpdate(template: Obj, { spec, status = {} }: Obj): FieldError[] {
  const isHeld = items(status, "conditions").some((condition) => condition.type === "Suspended" && condition.status === "True");
  const isMutable = spec.suspend === true && (status.startTime == null || isHeld) && !status.active;
  const before: Obj = spec.template;
  if (!isMutable) return same(template, before) ? [] : [invalidValue("spec.template", template, IMMUTABLE)];
  return same(maskPod(template.spec ?? {}, before.spec ?? {}), before.spec) ? [] : [invalidValue("spec.template.spec", template.spec, IMMUTABLE)];
}

/** The new pod with what may change in it as it was before. */
function maskPod(pod: Obj, before: Obj): Obj {
  const { nodeAffinity: _, ...affinity } = pod.affinity ?? {};
  const { nodeAffinity } = before.affinity ?? {};
  return {
    ...pod, ...Object.fromEntries(schedulingFields.map((field) => [field, before[field]])),
    affinity: { ...affinity, ...(nodeAffinity && { nodeAffinity }) },
    containers: maskResources(pod, before, "containers"), initContainers: maskResources(pod, before, "initContainers"),
  };
}

const maskResources = (pod: Obj, before: Obj, list: string): Obj[] =>
  items(pod, list).map((container, i) => ({ ...container, resources: before[list]?.[i]?.resources }));

export function validateCronJob(cronJob: Obj): FieldError[] {
  const name = cronJob.metadata?.name ?? "";
  const errors = validateCronJobSpec(cronJob.spec);
  return name.length > MAX_CRON_NAME ? [...errors, invalidValue("metadata.name", name, `must be no more than ${MAX_CRON_NAME} characters`)] : errors;
}

/** A name that was once accepted stays. */
export const validateCronJobUpdate = (cronJob: Obj, old: Obj): FieldError[] => validateCronJobSpec(cronJob.spec, old.spec);

function validateCronJobSpec(spec: Obj, old?: Obj): FieldError[] {
  const at = "spec.jobTemplate.spec";
  const template = spec.jobTemplate.spec;
  return [
    ...validateSchedule(spec, old), ...nonNegative("spec.startingDeadlineSeconds", spec.startingDeadlineSeconds),
    ...(old && old.timeZone === spec.timeZone ? [] : validateTimeZone("spec.timeZone", spec.timeZone)),
    ...oneOf("spec.concurrencyPolicy", spec.concurrencyPolicy, ["Allow", "Forbid", "Replace"]), ...validateJobSpec(at, template),
    ...(template.selector == null ? [] : [invalidValue(`${at}.selector`, template.selector, "`selector` will be auto-generated")]),
    ...(template.manualSelector ? [notSupported(`${at}.manualSelector`, true, ["nil", "false"])] : []),
    ...nonNegative("spec.successfulJobsHistoryLimit", spec.successfulJobsHistoryLimit),
    ...nonNegative("spec.failedJobsHistoryLimit", spec.failedJobsHistoryLimit),
  ];
}

/** A time zone within a schedule is for those that have one already. */
function validateSchedule({ schedule, timeZone }: Obj, old: Obj | undefined): FieldError[] {
  const field = "spec.schedule";
  if (!schedule) return [required(field)];
  const problem = scheduleProblem(schedule);
  const errors = problem ? [invalidValue(field, schedule, problem)] : [];
  if (!schedule.includes("TZ")) return errors;
  if (!old?.schedule?.includes("TZ")) return [...errors, invalidValue(field, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")];
  return timeZone == null ? errors : [...errors, invalidValue(field, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")];
}

const zonePart = /^(?!-)(?!\.\.?$)[A-Za-z.\-_0-9+]{1,14}$/;

function validateTimeZone(field: string, zone: string | undefined | null): FieldError[] {
  if (zone == null) return [];
  if (zone === "") return [invalidValue(field, zone, "timeZone must be nil or non-empty string")];
  const isLocal = zone.toLowerCase() === "local";
  const known = zone.split("/").every((part) => zonePart.test(part)) && (isLocal || isTimeZone(zone));
  if (!known) return [invalidValue(field, zone, `unknown time zone ${zone}`)];
  return isLocal ? [invalidValue(field, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")] : [];
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
