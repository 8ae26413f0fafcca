/** Validation of Jobs and CronJobs. */
import { type LabelSelector, matchesSelector } from "@k3s-p/plugin-api/kube";
import { isObject, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validatePodTemplate } from "../core/validate-pod.ts";
import { type FieldError, IMMUTABLE, invalidValue, nonNegative, notSupported, oneOf, required } from "../validate/field.ts";
import { validateLabelSelector } from "../validate/selector.ts";
import { scheduleProblem } from "./schedule.ts";

const MAX_CRON_NAME = 52;

export function validateJob({ spec }: Obj): FieldError[] {
  const errors = validateJobSpec("spec", spec);
  if (!isObject(spec.selector)) errors.push(required("spec.selector"));
  else {
    errors.push(...validateLabelSelector("spec.selector", spec.selector));
    const labels = spec.template?.metadata?.labels;
    if (errors.length === 0 && !matchesSelector(spec.selector as LabelSelector, labels)) {
      errors.push(invalidValue("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
    }
  }
  return errors;
}

function validateJobSpec(at: string, spec: Obj): FieldError[] {
  const errors = [
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes",
  ].flatMap((name) => nonNegative(`${at}.${name}`, spec[name]));
  if (spec.completionMode != null) {
    if (spec.completionMode !== "NonIndexed" && spec.completionMode !== "Indexed") errors.push(notSupported(`${at}.completionMode`, spec.completionMode, ["Indexed", "NonIndexed"]));
    if (spec.completionMode === "Indexed") errors.push(...validateIndexed(at, spec));
  }
  if (spec.backoffLimitPerIndex != null && spec.completionMode !== "Indexed") {
    errors.push(invalidValue(`${at}.backoffLimitPerIndex`, spec.backoffLimitPerIndex, "requires indexed completion mode"));
  }
  errors.push(...validateFailurePolicy(at, spec));
  if (spec.podReplacementPolicy != null) errors.push(...oneOf(`${at}.podReplacementPolicy`, spec.podReplacementPolicy, ["Failed", "TerminatingOrFailed"]));
  return [...errors, ...validatePodTemplate(`${at}.template`, spec.template), ...validateRestart(at, spec)];
}

function validateIndexed(at: string, spec: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.completions == null) errors.push(required(`${at}.completions`, "when completion mode is Indexed"));
  if (spec.parallelism > 100_000) errors.push(invalidValue(`${at}.parallelism`, spec.parallelism, "must be less than or equal to 100000 when completion mode is Indexed"));
  return errors;
}

function validateFailurePolicy(at: string, spec: Obj): FieldError[] {
  const policy = spec.podFailurePolicy;
  if (!isObject(policy)) return [];
  const errors: FieldError[] = [];
  if (spec.template?.spec?.restartPolicy !== "Never") {
    errors.push(invalidValue(`${at}.template.spec.restartPolicy`, spec.template?.spec?.restartPolicy, "only \"Never\" is supported when podFailurePolicy is specified"));
  }
  (policy.rules ?? []).forEach((rule: Obj, i: number) => {
    const field = `${at}.podFailurePolicy.rules[${i}]`;
    errors.push(...oneOf(`${field}.action`, rule.action, ["Count", "FailIndex", "FailJob", "Ignore"]));
    const both = isObject(rule.onExitCodes) && rule.onPodConditions?.length;
    if (both) errors.push(invalidValue(field, rule, "specifying both OnExitCodes and OnPodConditions is not supported"));
    else if (!isObject(rule.onExitCodes) && !rule.onPodConditions?.length) {
      errors.push(invalidValue(field, rule, "specifying one of OnExitCodes and OnPodConditions is required"));
    }
  });
  return errors;
}

function validateRestart(at: string, spec: Obj): FieldError[] {
  const policy = spec.template?.spec?.restartPolicy;
  const field = `${at}.template.spec.restartPolicy`;
  if (!policy || policy === "Always") return [required(field, 'valid values: "OnFailure", "Never"')];
  return [];
}

const immutableInJob = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
/** What may change in the template of a suspended job that has not started: what steers scheduling. */
const schedulingFields = ["nodeSelector", "tolerations", "schedulingGates", "affinity"];

export function validateJobUpdate(job: Obj, old: Obj): FieldError[] {
  const errors = validateJob(job);
  if (!same(job.spec.completions, old.spec.completions) && !isElastic(job.spec, old.spec)) {
    errors.push(invalidValue("spec.completions", job.spec.completions, IMMUTABLE));
  }
  if (!same(maskTemplate(job.spec.template, old), old.spec.template)) errors.push(invalidValue("spec.template", job.spec.template, IMMUTABLE));
  for (const field of immutableInJob) {
    if (!same(job.spec[field], old.spec[field])) errors.push(invalidValue(`spec.${field}`, job.spec[field], IMMUTABLE));
  }
  return errors;
}

/** An Indexed job may change completions together with parallelism. */
const isElastic = (spec: Obj, old: Obj): boolean =>
  spec.completionMode === "Indexed" && old.completions != null && spec.completions != null && spec.completions === spec.parallelism;

function maskTemplate(template: Obj, old: Obj): Obj {
  const pending = old.spec.suspend === true && old.status?.startTime == null;
  if (!pending) return template;
  const before = old.spec.template;
  return {
    ...template,
    metadata: { ...template.metadata, annotations: before.metadata?.annotations, labels: before.metadata?.labels },
    spec: { ...template.spec, ...Object.fromEntries(schedulingFields.map((field) => [field, before.spec?.[field]])) },
  };
}

export function validateCronJob(cronJob: Obj): FieldError[] {
  const { spec, metadata } = cronJob;
  const errors = [
    ...validateSchedule(spec), ...nonNegative("spec.startingDeadlineSeconds", spec.startingDeadlineSeconds),
    ...oneOf("spec.concurrencyPolicy", spec.concurrencyPolicy, ["Allow", "Forbid", "Replace"]),
    ...validateJobSpec("spec.jobTemplate.spec", spec.jobTemplate.spec),
    ...nonNegative("spec.successfulJobsHistoryLimit", spec.successfulJobsHistoryLimit),
    ...nonNegative("spec.failedJobsHistoryLimit", spec.failedJobsHistoryLimit),
  ];
  if (spec.jobTemplate.spec.manualSelector) {
    errors.push(notSupported("spec.jobTemplate.spec.manualSelector", true, ["nil", "false"]));
  }
  if ((metadata?.name?.length ?? 0) > MAX_CRON_NAME) errors.push(invalidValue("metadata.name", metadata!.name, `must be no more than ${MAX_CRON_NAME} characters`));
  return errors;
}

function validateSchedule(spec: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const problem = spec.schedule ? scheduleProblem(spec.schedule) : undefined;
  if (!spec.schedule) errors.push(required("spec.schedule"));
  else if (problem) errors.push(invalidValue("spec.schedule", spec.schedule, problem));
  if (/TZ=/.test(spec.schedule ?? "")) errors.push(invalidValue("spec.schedule", spec.schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
  if (spec.timeZone == null) return errors;
  if (spec.timeZone === "") errors.push(invalidValue("spec.timeZone", "", "timeZone must be nil or non-empty string"));
  else if (!isTimeZone(spec.timeZone)) errors.push(invalidValue("spec.timeZone", spec.timeZone, `unknown time zone ${spec.timeZone}`));
  return errors;
}

function isTimeZone(name: string): boolean {
  if (name.toLowerCase() === "local") return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
