/** Validation of label selectors and node selector requirements. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidAll, invalidValue, required } from "./field.ts";
import { labelValue, qualifiedName, validateLabels } from "./names.ts";

export function validateLabelSelector(field: string, selector: unknown): FieldError[] {
  if (!isObject(selector)) return [];
  return [
    ...validateLabels(`${field}.matchLabels`, selector.matchLabels),
    ...items(selector, "matchExpressions").flatMap((e, i) => validateExpression(`${field}.matchExpressions[${i}]`, e)),
  ];
}

function validateExpression(field: string, { key, operator, values = [] }: Obj): FieldError[] {
  const errors = validateOperator(field, operator, values ?? []);
  errors.push(...invalidAll(`${field}.key`, key ?? "", qualifiedName(key ?? "")));
  (values ?? []).forEach((value: string, i: number) => errors.push(...invalidAll(`${field}.values[${i}]`, value, labelValue(value))));
  return errors;
}

function validateOperator(field: string, operator: unknown, values: readonly unknown[]): FieldError[] {
  switch (operator) {
    case "In": case "NotIn":
      return values.length ? [] : [required(`${field}.values`, "must be specified when `operator` is 'In' or 'NotIn'")];
    case "Exists": case "DoesNotExist":
      return values.length ? [forbidden(`${field}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")] : [];
    default:
      return [invalidValue(`${field}.operator`, operator ?? "", "not a valid selector operator")];
  }
}

export const isEmptySelector = (selector: unknown): boolean =>
  !isObject(selector) || (Object.keys(selector.matchLabels ?? {}).length === 0 && items(selector, "matchExpressions").length === 0);

/** Requirements of node affinity; they also compare numbers. A preference may be for what no label can be. */
export function validateNodeRequirement(field: string, { key, operator, values }: Obj, isPreference = false): FieldError[] {
  const errors: FieldError[] = [];
  const count = values?.length ?? 0;
  if (operator === "In" || operator === "NotIn") {
    if (count === 0) errors.push(required(`${field}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
  } else if (operator === "Exists" || operator === "DoesNotExist") {
    if (count > 0) errors.push(forbidden(`${field}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
  } else if (operator === "Gt" || operator === "Lt") {
    if (count !== 1) errors.push(required(`${field}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
  } else errors.push(invalidValue(`${field}.operator`, operator ?? "", "not a valid selector operator"));
  const ofValues = isPreference ? [] : ((values ?? []) as string[]).flatMap((value, i) => invalidAll(`${field}.values[${i}]`, value, labelValue(value)));
  return [...errors, ...invalidAll(`${field}.key`, key ?? "", qualifiedName(key ?? "")), ...ofValues];
}

