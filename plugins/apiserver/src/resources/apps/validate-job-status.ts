/**
 * Validation of a Job's status, which others than the server's own controller may write: what has ended stays ended, and
 * counters, indexes, times and conditions agree. Most rules hold for what a write changes, so that no old status locks it.
 */
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, invalidRule, invalidValue, nonNegative, required } from "../validate/field.ts";
import { countIndexes, parseInterval } from "./validate-job-policy.ts";

const CONDITIONS = "status.conditions";
const never = (detail: string): FieldError => invalidRule(CONDITIONS, detail);

interface Facts {
  readonly status: Obj;
  readonly complete: boolean;
  readonly failed: boolean;
  readonly failing: boolean;
  readonly succeeding: boolean;
  readonly finished: boolean;
}

function factsOf(job: Obj): Facts {
  const status = isObject(job.status) ? job.status : {};
  const is = (type: string): boolean => items(status, "conditions").some((condition) => condition.type === type && condition.status === "True");
  const [complete, failed] = [is("Complete"), is("Failed")];
  return { status, complete, failed, failing: is("FailureTarget"), succeeding: is("SuccessCriteriaMet"), finished: complete || failed };
}

export function validateJobStatus(job: Obj, oldJob: Obj): FieldError[] {
  const [now, old] = [factsOf(job), factsOf(oldJob)];
  const changed = (...names: string[]): boolean => names.some((name) => !same(now.status[name], old.status[name]));
  return [
    ...["active", "succeeded", "failed", "ready", "terminating"].flatMap((name) => nonNegative(`status.${name}`, now.status[name])),
    ...validateUncounted(now.status.uncountedTerminatedPods),
    ...validateEnd(now, old, changed), ...validateFinished(job.spec, now, old, changed), ...validateIndexes(job.spec, now, changed),
    ...validateSuccess(job.spec, now), ...validateCourse(job.spec, now, old),
  ];
}

type Changed = (...names: string[]) => boolean;

function validateUncounted(uncounted: unknown): FieldError[] {
  if (!isObject(uncounted)) return [];
  const seen = new Set<string>();
  return ["succeeded", "failed"].flatMap((list) => ((uncounted[list] ?? []) as string[]).flatMap((uid, i) => {
    const field = `status.uncountedTerminatedPods.${list}[${i}]`;
    if (uid === "") return [invalidValue(field, uid, "must not be empty")];
    return seen.size === seen.add(uid).size ? [duplicate(field, uid)] : [];
  }));
}

/** Conditions and the time of the end. */
function validateEnd(now: Facts, old: Facts, changed: Changed): FieldError[] {
  const { status, complete, failed, failing, succeeding } = now;
  const { startTime, completionTime } = status;
  const completes = complete !== old.complete;
  const errors: FieldError[] = [];
  if ((completes || failed !== old.failed) && complete && failed) errors.push(never("cannot set Complete=True and Failed=true conditions"));
  if ((completes || failing !== old.failing) && complete && failing) errors.push(never("cannot set Complete=True and FailureTarget=true conditions"));
  if (completes || changed("completionTime")) {
    if (completionTime && !complete) errors.push(invalidValue("status.completionTime", completionTime, "cannot set completionTime when there is no Complete=True condition"));
    if (!completionTime && complete) errors.push(required("status.completionTime", "completionTime is required for Complete jobs"));
  }
  if (changed("startTime", "completionTime") && startTime && completionTime && Date.parse(completionTime) < Date.parse(startTime)) {
    errors.push(invalidValue("status.completionTime", completionTime, "completionTime cannot be set before startTime"));
  }
  if ((failed !== old.failed || changed("failedIndexes")) && failed && !failing) errors.push(never("cannot set Failed=True condition without the FailureTarget=true condition"));
  if ((completes || succeeding !== old.succeeding) && complete && !succeeding) {
    errors.push(never("cannot set Complete=True condition without the SuccessCriteriaMet=true condition"));
  }
  return errors;
}

/** Of a finished job nothing runs, and everything is counted. */
function validateFinished(spec: Obj, { status, finished }: Facts, old: Facts, changed: Changed): FieldError[] {
  if (!finished) return validateReady(status, changed);
  const finishes = !old.finished;
  const errors: FieldError[] = [];
  if ((finishes || changed("active")) && status.active > 0) errors.push(invalidValue("status.active", status.active, "active>0 is invalid for finished job"));
  const isEmpty = spec.suspend === true && spec.completions === 0;
  if ((finishes || changed("startTime")) && !isEmpty && !status.startTime) errors.push(required("status.startTime", "startTime is required for finished job"));
  const uncounted = status.uncountedTerminatedPods;
  if ((finishes || changed("uncountedTerminatedPods")) && (uncounted?.failed?.length || uncounted?.succeeded?.length)) {
    errors.push(invalidValue("status.uncountedTerminatedPods", uncounted, "uncountedTerminatedPods needs to be empty for finished job"));
  }
  if ((finishes || changed("terminating")) && status.terminating > 0) {
    errors.push(invalidValue("status.terminating", status.terminating, "terminating>0 is invalid for finished job"));
  }
  return [...errors, ...validateReady(status, changed)];
}

const validateReady = ({ ready, active = 0 }: Obj, changed: Changed): FieldError[] =>
  changed("ready", "active") && ready > active ? [invalidValue("status.ready", ready, "cannot set more ready pods than active")] : [];

function validateIndexes(spec: Obj, { status }: Facts, changed: Changed): FieldError[] {
  const { completedIndexes = "", failedIndexes } = status;
  const { completions, backoffLimitPerIndex: perIndex, completionMode } = spec;
  const errors: FieldError[] = [];
  const parse = (name: string, text: string): void => {
    const problem = countIndexes(text, completions);
    if (typeof problem === "string") errors.push(invalidValue(`status.${name}`, text, `error parsing ${name}: ${problem}`));
  };
  if (changed("completedIndexes") && completions != null) parse("completedIndexes", completedIndexes);
  if (changed("failedIndexes") && completions != null && perIndex != null && failedIndexes != null) parse("failedIndexes", failedIndexes);
  if (changed("completedIndexes") && completedIndexes && completionMode !== "Indexed") {
    errors.push(invalidValue("status.completedIndexes", completedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"));
  }
  if (failedIndexes == null) return errors;
  if (changed("failedIndexes") && perIndex == null) errors.push(invalidValue("status.failedIndexes", failedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"));
  const both = changed("failedIndexes", "completedIndexes") && completions != null ? firstCommon(completedIndexes, failedIndexes, completions) : undefined;
  return both === undefined ? errors : [...errors, invalidValue("status.failedIndexes", failedIndexes, `failedIndexes and completedIndexes overlap at index: ${both}`)];
}

/** The first index that is in both lists; parts that are no intervals are for others to judge. */
function firstCommon(completed: string, failed: string, completions: number): number | undefined {
  const [a, b] = [completed, failed].map((text) => text.split(",").map((part) => parseInterval(part, completions)).filter((interval) => typeof interval !== "string"));
  for (const [first, last] of a!) {
    const other = b!.find((interval) => first <= interval[1] && interval[0] <= last);
    if (other) return Math.max(first, other[0]);
  }
  return undefined;
}

function validateSuccess({ successPolicy }: Obj, { complete, failed, failing, succeeding }: Facts): FieldError[] {
  const errors: FieldError[] = [];
  if (succeeding && failed) errors.push(never("cannot set SuccessCriteriaMet=True and Failed=true conditions"));
  if (succeeding && failing) errors.push(never("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"));
  if (successPolicy && !succeeding && complete) errors.push(never("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"));
  return errors;
}

/** What only ever goes one way. */
function validateCourse(spec: Obj, now: Facts, old: Facts): FieldError[] {
  const errors: FieldError[] = [];
  const ends: readonly (readonly [string, keyof Facts])[] = [["Failed", "failed"], ["Complete", "complete"], ["FailureTarget", "failing"]];
  for (const [type, key] of ends) if (old[key] && !now[key]) errors.push(never(`cannot disable the terminal ${type}=True condition`));
  const isScaled = spec.completionMode === "Indexed" && spec.completions === spec.parallelism;
  for (const name of isScaled ? ["failed"] : ["failed", "succeeded"]) {
    const count = now.status[name] ?? 0;
    if (count < (old.status[name] ?? 0)) errors.push(invalidValue(`status.${name}`, count, `cannot decrease the ${name} counter`));
  }
  const { startTime, completionTime } = now.status;
  const before = old.status;
  if (completionTime && before.completionTime && completionTime !== before.completionTime) {
    errors.push(invalidValue("status.completionTime", completionTime, "completionTime cannot be mutated"));
  }
  if (before.startTime && startTime !== before.startTime && !spec.suspend) errors.push(required("status.startTime", "startTime cannot be removed for unsuspended job"));
  if (old.succeeding && !now.succeeding) errors.push(never("cannot disable the SuccessCriteriaMet=True condition"));
  if (old.complete && !old.succeeding && now.succeeding) errors.push(never("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"));
  return errors;
}
