/** Validation of what decides over the end of a Job: its failure policy, its success policy, and the limits of its indexes. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, invalidRule, invalidValue, nonNegative, notSupported, required, tooLong, tooMany } from "../validate/field.ts";
import { qualifiedName } from "../validate/names.ts";

const MAX_RULES = 20;
const MAX_EXIT_CODES = 255;
const MAX_INDEXES = 100_000;
const MAX_INDEX_TEXT = 64 * 1024;
const MAX_INDEXES_OF_MANY = 10_000;
const OF_MANY = `must be less than or equal to ${MAX_INDEXES_OF_MANY} when completions are above ${MAX_INDEXES} and used with backoff limit per index`;
const actions = ["Count", "FailIndex", "FailJob", "Ignore"];
const statuses = ["False", "True", "Unknown"];
const operators = ["In", "NotIn"];

/** One of the values; the text of an absent one lists them as Go prints a list. */
function chosen(field: string, value: unknown, values: readonly string[]): FieldError[] {
  if (!value) return [required(field, `valid values: [${values.map((v) => JSON.stringify(v)).join(" ")}]`)];
  return values.includes(value as string) ? [] : [notSupported(field, value, values)];
}

export function validateFailurePolicy(at: string, spec: Obj): FieldError[] {
  const policy = spec.podFailurePolicy;
  if (!isObject(policy)) return [];
  const rules = items(policy, "rules");
  const errors = rules.length > MAX_RULES ? [tooMany(`${at}.rules`, rules.length, MAX_RULES)] : [];
  const pod = spec.template?.spec;
  const names = new Set([...items(pod, "containers"), ...items(pod, "initContainers")].map(({ name }) => name));
  return [...errors, ...rules.flatMap((rule, i) => validateRule(`${at}.rules[${i}]`, rule, spec, names))];
}

function validateRule(at: string, rule: Obj, spec: Obj, containers: ReadonlySet<string>): FieldError[] {
  const errors = chosen(`${at}.action`, rule.action, actions);
  if (rule.action === "FailIndex" && spec.backoffLimitPerIndex == null) errors.push(invalidValue(`${at}.action`, rule.action, "requires the backoffLimitPerIndex to be set"));
  const conditions = items(rule, "onPodConditions");
  if (isObject(rule.onExitCodes)) errors.push(...validateExitCodes(`${at}.onExitCodes`, rule.onExitCodes, containers));
  if (conditions.length > MAX_RULES) errors.push(tooMany(`${at}.onPodConditions`, conditions.length, MAX_RULES));
  conditions.forEach(({ type = "", status }, i) => {
    const field = `${at}.onPodConditions[${i}]`;
    errors.push(...qualifiedName(type).map((why) => invalidValue(`${field}.type`, type, why)), ...chosen(`${field}.status`, status, statuses));
  });
  if (isObject(rule.onExitCodes) && conditions.length > 0) errors.push(invalidRule(at, "specifying both OnExitCodes and OnPodConditions is not supported"));
  if (!isObject(rule.onExitCodes) && conditions.length === 0) errors.push(invalidRule(at, "specifying one of OnExitCodes and OnPodConditions is required"));
  return errors;
}

function validateExitCodes(at: string, { operator, containerName, values = [] }: Obj, containers: ReadonlySet<string>): FieldError[] {
  const errors = chosen(`${at}.operator`, operator, operators);
  if (containerName != null && !containers.has(containerName)) {
    errors.push(invalidValue(`${at}.containerName`, containerName, "must be one of the container or initContainer names in the pod template"));
  }
  const codes = values as number[];
  if (codes.length === 0) errors.push(invalidValue(`${at}.values`, codes, "at least one value is required"));
  else if (codes.length > MAX_EXIT_CODES) errors.push(tooMany(`${at}.values`, codes.length, MAX_EXIT_CODES));
  codes.forEach((code, i) => {
    if (operator === "In" && code === 0) errors.push(invalidValue(`${at}.values[${i}]`, code, "must not be 0 for the In operator"));
    if (codes.indexOf(code) < i) errors.push(duplicate(`${at}.values[${i}]`, code));
  });
  if (codes.some((code, i) => i > 0 && codes[i - 1]! > code)) errors.push(invalidValue(`${at}.values`, codes, "must be ordered"));
  return errors;
}

/** The limits that an Indexed job may set for its indexes, and no other. */
export function validateCompletionMode(at: string, spec: Obj): FieldError[] {
  const { completions, parallelism, backoffLimitPerIndex: perIndex, maxFailedIndexes: maxFailed, completionMode: mode } = spec;
  if (mode != null && mode !== "NonIndexed" && mode !== "Indexed") return [notSupported(`${at}.completionMode`, mode, ["NonIndexed", "Indexed"])];
  if (mode !== "Indexed") {
    return ["backoffLimitPerIndex", "maxFailedIndexes"].filter((name) => spec[name] != null)
      .map((name) => invalidValue(`${at}.${name}`, spec[name], "requires indexed completion mode"));
  }
  const errors = completions == null ? [required(`${at}.completions`, "when completion mode is Indexed")] : [];
  if (parallelism > MAX_INDEXES) errors.push(invalidValue(`${at}.parallelism`, parallelism, `must be less than or equal to ${MAX_INDEXES} when completion mode is Indexed`));
  if (completions != null && maxFailed > completions) errors.push(invalidValue(`${at}.maxFailedIndexes`, maxFailed, "must be less than or equal to completions"));
  if (maxFailed > MAX_INDEXES) errors.push(invalidValue(`${at}.maxFailedIndexes`, maxFailed, `must be less than or equal to ${MAX_INDEXES}`));
  if (!(completions > MAX_INDEXES) || perIndex == null) return errors;
  if (maxFailed == null) errors.push(required(`${at}.maxFailedIndexes`, `must be specified when completions is above ${MAX_INDEXES}`));
  for (const name of ["parallelism", "maxFailedIndexes"]) {
    if (spec[name] > MAX_INDEXES_OF_MANY) errors.push(invalidValue(`${at}.${name}`, spec[name], OF_MANY));
  }
  return errors;
}

export function validateSuccessPolicy(at: string, spec: Obj): FieldError[] {
  const policy = spec.successPolicy;
  if (!isObject(policy)) return [];
  if (spec.completionMode !== "Indexed") return [invalidValue(at, policy, "requires indexed completion mode")];
  const rules = items(policy, "rules");
  const errors = rules.length === 0 ? [required(`${at}.rules`, "at least one rules must be specified when the successPolicy is specified")] : [];
  if (rules.length > MAX_RULES) errors.push(tooMany(`${at}.rules`, rules.length, MAX_RULES));
  return [...errors, ...rules.flatMap((rule, i) => validateSuccessRule(`${at}.rules[${i}]`, rule, spec.completions ?? 0))];
}

function validateSuccessRule(at: string, { succeededCount: count, succeededIndexes: indexes }: Obj, completions: number): FieldError[] {
  if (count == null && indexes == null) return [required(at, "at least one of succeededCount or succeededIndexes must be specified")];
  const total = indexes == null ? 0 : countIndexes(indexes, completions);
  const errors = indexes?.length > MAX_INDEX_TEXT ? [tooLong(`${at}.succeededIndexes`, MAX_INDEX_TEXT)] : [];
  if (typeof total === "string") errors.push(invalidValue(`${at}.succeededIndexes`, indexes, `error parsing succeededIndexes: ${total}`));
  errors.push(...nonNegative(`${at}.succeededCount`, count));
  if (count > completions) errors.push(invalidValue(`${at}.succeededCount`, count, `must be less than or equal to ${completions} (the number of specified completions)`));
  const available = typeof total === "string" ? 0 : total;
  if (indexes != null && count > available) {
    errors.push(invalidValue(`${at}.succeededCount`, count, `must be less than or equal to ${available} (the number of indexes in the specified succeededIndexes field)`));
  }
  return errors;
}

/** How many indexes a list such as `0-3,7` names, or what is wrong with it. */
export function countIndexes(text: string, completions: number): number | string {
  let previous: number | undefined;
  let total = 0;
  for (const part of text === "" ? [] : text.split(",")) {
    const interval = parseInterval(part, completions);
    if (typeof interval === "string") return interval;
    const [first, last] = interval;
    if (previous !== undefined && previous >= first) return outOfOrder(previous, first);
    total += last - first + 1;
    previous = last;
  }
  return total;
}

const outOfOrder = (previous: number, current: number): string => `non-increasing order, previous: ${previous}, current: ${current}`;

/** First and last index of `3` or `0-3`. */
export function parseInterval(text: string, completions: number): readonly [number, number] | string {
  const ends = text.split("-");
  if (ends.length > 2) return `the fragment ${JSON.stringify(text)} violates the requirement that an index interval can have at most two parts separated by '-'`;
  for (const end of ends) {
    if (!/^\d+$/.test(end)) return `cannot convert string to integer for index: ${JSON.stringify(end)}`;
    if (Number(end) >= completions) return `too large index: ${JSON.stringify(end)}`;
  }
  const [first = 0, last] = ends.map(Number);
  if (last === undefined) return [first, first];
  return first < last ? [first, last] : outOfOrder(first, last);
}
