/** Validation of Leases, RuntimeClasses and PriorityClasses. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validateTolerations } from "../core/validate-scheduling.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, nonNegative, optionalOneOf, positive, required } from "../validate/field.ts";
import { dns1123Label, validateLabels } from "../validate/names.ts";
import { validateRequirements } from "../validate/resources.ts";

export function validateLease({ spec }: Obj): FieldError[] {
  if (!isObject(spec)) return [];
  return [...positive("spec.leaseDurationSeconds", spec.leaseDurationSeconds), ...nonNegative("spec.leaseTransitions", spec.leaseTransitions)];
}

export function validateRuntimeClass(object: Obj): FieldError[] {
  const errors = object.handler ? invalidAll("handler", object.handler, dns1123Label(object.handler)) : [required("handler")];
  errors.push(...validateRequirements("overhead", { limits: object.overhead?.podFixed }));
  const { scheduling } = object;
  if (!isObject(scheduling)) return errors;
  return [
    ...errors, ...validateLabels("scheduling.nodeSelector", scheduling.nodeSelector),
    ...validateTolerations("scheduling.tolerations", items(scheduling, "tolerations")),
  ];
}

export const validateRuntimeClassUpdate = (object: Obj, old: Obj): FieldError[] =>
  [...validateRuntimeClass(object), ...(object.handler === old.handler ? [] : [invalidValue("handler", object.handler, IMMUTABLE)])];

const MAX_PRIORITY = 1_000_000_000;
const systemPriorities: Readonly<Record<string, number>> = { "system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000 };

export function validatePriorityClass({ metadata, value, globalDefault, preemptionPolicy }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const name = metadata?.name ?? "";
  if (name.startsWith("system-")) {
    const known = systemPriorities[name];
    if (known === undefined) errors.push(forbidden("metadata.name", `priority class names with 'system-' prefix are reserved for system use only. error: ${name} is not a known system priority class`));
    else if (known !== value) errors.push(forbidden("metadata.name", `priority class names with 'system-' prefix are reserved for system use only. error: value of ${name} PriorityClass must be ${known}`));
    else if (globalDefault) errors.push(forbidden("metadata.name", `priority class names with 'system-' prefix are reserved for system use only. error: globalDefault of ${name} PriorityClass must be false`));
  } else if (value > MAX_PRIORITY) errors.push(forbidden("value", `maximum allowed value of a user defined priority is ${MAX_PRIORITY}`));
  return [...errors, ...optionalOneOf("preemptionPolicy", preemptionPolicy, ["PreemptLowerPriority", "Never"])];
}

export function validatePriorityClassUpdate(object: Obj, old: Obj): FieldError[] {
  const errors: FieldError[] = object.value === old.value ? [] : [forbidden("value", "may not be changed in an update.")];
  return object.preemptionPolicy === old.preemptionPolicy ? errors : [...errors, invalidValue("preemptionPolicy", object.preemptionPolicy, IMMUTABLE)];
}
