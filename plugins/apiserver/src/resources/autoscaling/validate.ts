/** Validation of HorizontalPodAutoscalers (v2 form) and PodDisruptionBudgets. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidValue, notSupported, optionalOneOf, required } from "../validate/field.ts";
import { intOrPercent } from "../validate/names.ts";
import { quantityProblems } from "../validate/resources.ts";
import { validateLabelSelector } from "../validate/selector.ts";

const sourceOf: Readonly<Record<string, string>> = {
  ContainerResource: "containerResource", External: "external", Object: "object", Pods: "pods", Resource: "resource",
};

export function validateHpa({ spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.minReplicas != null && spec.minReplicas < 1) errors.push(invalidValue("spec.minReplicas", spec.minReplicas, "must be greater than or equal to 1"));
  const max = spec.maxReplicas ?? 0;
  if (max < 1) errors.push(invalidValue("spec.maxReplicas", max, "must be greater than 0"));
  if (spec.minReplicas != null && max < spec.minReplicas) errors.push(invalidValue("spec.maxReplicas", max, "must be greater than or equal to `minReplicas`"));
  for (const name of ["kind", "name"]) if (!spec.scaleTargetRef?.[name]) errors.push(required(`spec.scaleTargetRef.${name}`));
  items(spec, "metrics").forEach((metric, i) => errors.push(...validateMetric(`spec.metrics[${i}]`, metric)));
  if (isObject(spec.behavior)) {
    for (const name of ["scaleUp", "scaleDown"]) errors.push(...validateRules(`spec.behavior.${name}`, spec.behavior[name]));
  }
  return errors;
}

function validateMetric(at: string, metric: Obj): FieldError[] {
  if (!metric.type) return [required(`${at}.type`, "must specify a metric source type")];
  const field = sourceOf[metric.type];
  if (!field) return [notSupported(`${at}.type`, metric.type, Object.keys(sourceOf))];
  const source = metric[field];
  if (!isObject(source)) return [required(`${at}.${field}`, "must populate information for the given metric source")];
  const errors = Object.values(sourceOf).filter((other) => other !== field && isObject(metric[other]))
    .map((other) => forbidden(`${at}.${other}`, "must populate the given metric source only"));
  return [...errors, ...validateSource(`${at}.${field}`, field, source), ...validateTarget(`${at}.${field}.target`, source.target), ...targetRules[field]!(`${at}.${field}.target`, source.target ?? {})];
}

function validateSource(at: string, kind: string, source: Obj): FieldError[] {
  if (kind === "resource" || kind === "containerResource") {
    const errors = source.name ? [] : [required(`${at}.name`, "must specify a resource name")];
    return kind === "resource" || source.container ? errors : [...errors, required(`${at}.container`, "must specify a container")];
  }
  const errors = kind === "object" ? ["kind", "name"].filter((name) => !source.describedObject?.[name]).map((name) => required(`${at}.describedObject.${name}`)) : [];
  if (!source.metric?.name) errors.push(required(`${at}.metric.name`, "must specify a metric name"));
  return [...errors, ...validateLabelSelector(`${at}.metric.selector`, source.metric?.selector)];
}

type TargetRule = (at: string, target: Obj) => FieldError[];

const utilization: TargetRule = (at, { averageUtilization, averageValue }) => {
  if (averageUtilization == null && averageValue == null) return [required(`${at}.averageUtilization`, "must set either a target raw value or a target utilization")];
  return averageUtilization != null && averageValue != null ? [forbidden(`${at}.averageValue`, "may not set both a target raw value and a target utilization")] : [];
};

/** Which figures each source of metrics takes as its target. */
const targetRules: Readonly<Record<string, TargetRule>> = {
  resource: utilization,
  containerResource: utilization,
  pods: (at, { averageValue }) => (averageValue == null ? [required(`${at}.averageValue`, "must specify a positive target averageValue")] : []),
  object: (at, { value, averageValue }) => (value == null && averageValue == null ? [required(`${at}.averageValue`, "must set either a target value or averageValue")] : []),
  external: (at, { value, averageValue }) => {
    if (value == null && averageValue == null) return [required(`${at}.averageValue`, "must set either a target value for metric or a per-pod target")];
    return value != null && averageValue != null ? [forbidden(`${at}.value`, "may not set both a target value for metric and a per-pod target")] : [];
  },
};

function validateTarget(at: string, target: unknown): FieldError[] {
  if (!isObject(target) || !target.type) return [required(`${at}.type`, "must specify a metric target type")];
  const errors: FieldError[] = [];
  if (!["Utilization", "Value", "AverageValue"].includes(target.type)) {
    errors.push(invalidValue(`${at}.type`, target.type, "must be either Utilization, Value, or AverageValue"));
  }
  for (const name of ["value", "averageValue"]) {
    if (target[name] == null) continue;
    const positive = quantityProblems(target[name]).length === 0 && !/^0*(\.0*)?[a-zA-Z]*$/.test(String(target[name]));
    if (!positive) errors.push(invalidValue(`${at}.${name}`, target[name], "must be positive"));
  }
  if (target.averageUtilization != null && target.averageUtilization < 1) {
    errors.push(invalidValue(`${at}.averageUtilization`, target.averageUtilization, "must be greater than 0"));
  }
  return errors;
}

function validateRules(at: string, rules: unknown): FieldError[] {
  if (!isObject(rules)) return [];
  const errors: FieldError[] = [];
  const window = rules.stabilizationWindowSeconds;
  if (window != null && window < 0) errors.push(invalidValue(`${at}.stabilizationWindowSeconds`, window, "must be greater than or equal to zero"));
  if (window > 3600) errors.push(invalidValue(`${at}.stabilizationWindowSeconds`, window, "must be less than or equal to 3600"));
  errors.push(...optionalOneOf(`${at}.selectPolicy`, rules.selectPolicy, ["Disabled", "Max", "Min"]));
  const policies = items(rules, "policies");
  if (policies.length === 0) errors.push(required(`${at}.policies`, "must specify at least one Policy"));
  policies.forEach((policy, i) => {
    const field = `${at}.policies[${i}]`;
    if (policy.type !== "Pods" && policy.type !== "Percent") errors.push(notSupported(`${field}.type`, policy.type, ["Percent", "Pods"]));
    if (!(policy.value > 0)) errors.push(invalidValue(`${field}.value`, policy.value ?? 0, "must be greater than zero"));
    if (!(policy.periodSeconds > 0)) errors.push(invalidValue(`${field}.periodSeconds`, policy.periodSeconds ?? 0, "must be greater than zero"));
    else if (policy.periodSeconds > 1800) errors.push(invalidValue(`${field}.periodSeconds`, policy.periodSeconds, "must be less than or equal to 1800"));
  });
  return errors;
}

export function validatePdb({ spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.minAvailable != null && spec.maxUnavailable != null) errors.push(invalidValue("spec", spec, "minAvailable and maxUnavailable cannot be both set"));
  for (const name of ["minAvailable", "maxUnavailable"]) {
    if (spec[name] != null) errors.push(...intOrPercent(`spec.${name}`, spec[name], true));
  }
  errors.push(...optionalOneOf("spec.unhealthyPodEvictionPolicy", spec.unhealthyPodEvictionPolicy, ["AlwaysAllow", "IfHealthyBudget"]));
  return [...errors, ...validateLabelSelector("spec.selector", spec.selector)];
}
