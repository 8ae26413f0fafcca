/** Validation of HorizontalPodAutoscalers (v2 form) and PodDisruptionBudgets. */
import { parseNano } from "@k3s-p/plugin-api/kube";
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validateConditions } from "../validate/conditions.ts";
import { type FieldError, forbidden, invalidAll, invalidValue, nonNegative, NOT_NEGATIVE, notSupported, optionalOneOf, required } from "../validate/field.ts";
import { dns1123Label, intOrPercent, pathSegment } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";

/** By type, in the order in which the first that is given is judged. */
const sourceOf: Readonly<Record<string, string>> = {
  Object: "object", External: "external", Pods: "pods", Resource: "resource", ContainerResource: "containerResource",
};
const types = Object.keys(sourceOf).sort();

/** The figures of a new autoscaler, or of a changed one. */
export function validateHpa({ spec }: Obj, old?: Obj): FieldError[] {
  const least = old?.spec?.minReplicas === 0 ? 0 : 1;
  const { minReplicas: min, maxReplicas: max = 0 } = spec;
  const errors: FieldError[] = min != null && min < least ? [invalidValue("spec.minReplicas", min, `must be greater than or equal to ${least}`)] : [];
  if (max === 0) errors.push(required("spec.maxReplicas", "must be set and greater than 0"));
  else if (max < 0) errors.push(invalidValue("spec.maxReplicas", max, "must be greater than or equal to 1"));
  if (min != null && max < min) errors.push(invalidValue("spec.maxReplicas", max, "must be greater than or equal to `minReplicas`"));
  const metrics = items(spec, "metrics");
  errors.push(...validateTargetRef(spec.scaleTargetRef ?? {}, old?.spec?.scaleTargetRef), ...metrics.flatMap((metric, i) => validateMetric(`spec.metrics[${i}]`, metric)));
  if (min === 0 && !metrics.some(({ type }) => type === "Object" || type === "External")) {
    errors.push(forbidden("spec.metrics", "must specify at least one Object or External metric to support scaling to zero replicas"));
  }
  const behavior = isObject(spec.behavior) ? spec.behavior : {};
  return [...errors, ...["scaleUp", "scaleDown"].flatMap((name) => validateRules(`spec.behavior.${name}`, behavior[name]))];
}

export const validateHpaStatus = ({ status = {} }: Obj): FieldError[] =>
  ["currentReplicas", "desiredReplicas"].flatMap((name) => nonNegative(`status.${name}`, status[name]));

/** What scales has a group, but for the one kind of the core group that does; a reference of old stays. */
function validateTargetRef(ref: Obj, old: Obj | undefined): FieldError[] {
  const at = "spec.scaleTargetRef";
  const isKept = old !== undefined && old.apiVersion === ref.apiVersion && old.kind === ref.kind;
  return [...validateReference(at, ref), ...(isKept ? [] : validateApiVersion(at, ref, ref.kind !== "ReplicationController"))];
}

const validateReference = (at: string, ref: Obj): FieldError[] => ["kind", "name"].flatMap((name) =>
  ref[name] ? invalidAll(`${at}.${name}`, ref[name], pathSegment(ref[name])) : [required(`${at}.${name}`)]);

function validateApiVersion(at: string, { apiVersion = "" }: Obj, needsGroup: boolean): FieldError[] {
  const parts = apiVersion.split("/");
  if (parts.length > 2) return [invalidValue(`${at}.apiVersion`, apiVersion, `unexpected GroupVersion string: ${apiVersion}`)];
  return needsGroup && (parts.length === 1 || parts[0] === "") ? [invalidValue(`${at}.apiVersion`, apiVersion, "apiVersion must specify API group")] : [];
}

function validateMetric(at: string, metric: Obj): FieldError[] {
  const { type = "" } = metric;
  const own = sourceOf[type];
  const given = Object.values(sourceOf).filter((field) => isObject(metric[field]));
  const errors: FieldError[] = type ? [] : [required(`${at}.type`, "must specify a metric source type")];
  if (!own) errors.push(notSupported(`${at}.type`, type, types));
  const [first] = given;
  if (first) errors.push(...validateSource(`${at}.${first}`, first, metric[first]), ...validateTarget(`${at}.${first}.target`, first, metric[first].target));
  if (own && !given.includes(own)) errors.push(required(`${at}.${own}`, "must populate information for the given metric source"));
  const others = given.length > 1 ? given.filter((field) => field !== own) : [];
  return [...errors, ...others.map((field) => forbidden(`${at}.${field}`, "must populate the given metric source only"))];
}

function validateSource(at: string, kind: string, source: Obj): FieldError[] {
  if (kind === "resource" || kind === "containerResource") {
    const errors = source.name ? [] : [required(`${at}.name`, "must specify a resource name")];
    if (kind === "resource") return errors;
    if (!source.container) return [...errors, required(`${at}.container`, "must specify a container")];
    return [...errors, ...invalidAll(`${at}.container`, source.container, dns1123Label(source.container))];
  }
  const described: Obj = source.describedObject ?? {};
  const errors = kind === "object" ? [...validateReference(`${at}.describedObject`, described), ...validateApiVersion(`${at}.describedObject`, described, false)] : [];
  const name = source.metric?.name;
  return [...errors, ...(name ? invalidAll(`${at}.metric.name`, name, pathSegment(name)) : [required(`${at}.metric.name`, "must specify a metric name")])];
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

function validateTarget(at: string, source: string, given: unknown): FieldError[] {
  const target = isObject(given) ? given : {};
  const { type = "", averageUtilization: utilization } = target;
  const errors = type ? [] : [required(`${at}.type`, "must specify a metric target type")];
  if (!["Utilization", "Value", "AverageValue"].includes(type)) errors.push(invalidValue(`${at}.type`, type, "must be either Utilization, Value, or AverageValue"));
  for (const name of ["value", "averageValue"]) {
    if (target[name] != null && !((parseNano(target[name]) ?? 0n) > 0n)) errors.push(invalidValue(`${at}.${name}`, target[name], "must be positive"));
  }
  if (utilization != null && utilization < 1) errors.push(invalidValue(`${at}.averageUtilization`, utilization, "must be greater than 0"));
  return [...errors, ...targetRules[source]!(at, target)];
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
    if (policy.periodSeconds > 1800) errors.push(invalidValue(`${field}.periodSeconds`, policy.periodSeconds, "must be less than or equal to 1800"));
  });
  if (rules.tolerance != null && (parseNano(rules.tolerance) ?? 0n) < 0n) errors.push(invalidValue(`${at}.tolerance`, rules.tolerance, NOT_NEGATIVE));
  return errors;
}

export function validatePdb({ spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.minAvailable != null && spec.maxUnavailable != null) errors.push(invalidValue("spec", spec, "minAvailable and maxUnavailable cannot be both set"));
  for (const name of ["minAvailable", "maxUnavailable"]) {
    if (spec[name] != null) errors.push(...intOrPercent(`spec.${name}`, spec[name], true));
  }
  errors.push(...validateLabelSelector("spec.selector", spec.selector));
  const { unhealthyPodEvictionPolicy: unhealthy } = spec;
  return unhealthy == null || evictionPolicies.includes(unhealthy) ? errors : [...errors, notSupported("spec.unhealthyPodEvictionPolicy", unhealthy, evictionPolicies)];
}

const evictionPolicies = ["AlwaysAllow", "IfHealthyBudget"];

export const validatePdbStatus = ({ status = {} }: Obj): FieldError[] => [
  ...validateConditions("status.conditions", items(status, "conditions")),
  ...["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"].flatMap((name) => nonNegative(`status.${name}`, status[name])),
];
