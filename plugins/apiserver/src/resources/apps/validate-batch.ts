/** Validation of Jobs and CronJobs. */
import { type LabelSelector, matchesSelector } from "@k3s-p/plugin-api/kube";
import { isObject, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validatePodTemplate } from "../core/validate-pod.ts";
import {
  type FieldError, IMMUTABLE, invalidAll, invalidValue, nonNegative, notSupported, oneOf, optionalOneOf, required, tooLong,
} from "../validate/field.ts";
import { dns1123Subdomain } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";
import { scheduleProblem } from "./schedule.ts";
import { validateFailurePolicy, validateIndexLimits, validateSuccessPolicy } from "./validate-job-policy.ts";

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
  const errors = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"]
    .flatMap((name) => nonNegative(`${at}.${name}`, spec[name]));
  if (spec.managedBy != null) errors.push(...validateManager(`${at}.managedBy`, spec.managedBy));
  if (spec.completionMode != null && spec.completionMode !== "NonIndexed" && spec.completionMode !== "Indexed") {
    errors.push(notSupported(`${at}.completionMode`, spec.completionMode, ["Indexed", "NonIndexed"]));
  }
  return [
    ...errors, ...validateIndexLimits(at, spec), ...validateFailurePolicy(`${at}.podFailurePolicy`, spec),
    ...validateSuccessPolicy(`${at}.successPolicy`, spec), ...validateReplacement(`${at}.podReplacementPolicy`, spec),
    ...validatePodTemplate(`${at}.template`, spec.template), ...validateRestart(`${at}.template.spec.restartPolicy`, spec),
  ];
}

const MAX_MANAGER = 63;

function validateManager(field: string, name: string): FieldError[] {
  const [domain = "", ...path] = name.split("/");
  if (path.length === 0 || domain === "" || path.join("/") === "") return [invalidValue(field, name, 'must be a domain-prefixed path (such as "acme.io/foo")')];
  const errors = invalidAll(field, domain, dns1123Subdomain(domain));
  return name.length > MAX_MANAGER ? [...errors, tooLong(field, MAX_MANAGER)] : errors;
}

/** With a failure policy a pod is replaced when it has failed, and not before. */
function validateReplacement(field: string, spec: Obj): FieldError[] {
  const allowed = isObject(spec.podFailurePolicy) ? ["Failed"] : ["Failed", "TerminatingOrFailed"];
  return optionalOneOf(field, spec.podReplacementPolicy, allowed);
}

function validateRestart(field: string, spec: Obj): FieldError[] {
  const policy = spec.template?.spec?.restartPolicy;
  if (!policy || policy === "Always") return [required(field, 'valid values: "OnFailure", "Never"')];
  if (policy === "Never" || policy !== "OnFailure") return [];
  const needsNever = ["podFailurePolicy", "backoffLimitPerIndex"].filter((name) => spec[name] != null);
  return needsNever.map((name) => invalidValue(field, policy, `only "Never" is supported when ${name} is specified`));
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
