/** Validation of quantities and of requests and limits. */
import { compareQuantity, parseNano } from "@k3s-p/plugin-api/kube";
import { isObject } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, NOT_NEGATIVE, notFound, notSupported, required } from "./field.ts";
import { dns1123Label, qualifiedName } from "./names.ts";

const QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const INTEGER = "must be an integer";
const standardQuota = new Set([
  "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
  "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "services", "replicationcontrollers", "resourcequotas",
  "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
]);
/** Objects, in whole numbers. */
const counted = new Set([
  "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
]);

export function quantityProblems(value: unknown): string[] {
  const isText = typeof value === "string" || typeof value === "number";
  if (!isText || parseNano(value) === undefined) return [QUANTITY];
  return compareQuantity(value, "0") < 0 ? [NOT_NEGATIVE] : [];
}

const isHugePages = (name: string): boolean => name.startsWith("hugepages-");
const isQuotaPages = (name: string): boolean => isHugePages(name.replace(/^requests\./, ""));
const isNative = (name: string): boolean => !name.includes("/") || name.includes("kubernetes.io/");
/** Resources of devices and the like: named with a domain, requested in whole numbers, never overcommitted; quotas name them with `requests.`. */
const isExtended = (name: string): boolean => !isNative(name) && !name.startsWith("requests.") && qualifiedName(`requests.${name}`).length === 0;

function nameProblems(name: string, known: (name: string) => boolean): string[] {
  const problems = qualifiedName(name);
  if (problems.length === 0 && !name.includes("/") && !known(name)) problems.push("must be a standard resource type or fully qualified");
  return problems;
}

/** What may be requested, for one container or for all of a pod together. */
export type ResourceNames = (field: string, name: string) => FieldError[];

const isComputeResource = (name: string): boolean => ["cpu", "memory"].includes(name) || isHugePages(name);
const isStandard = (name: string): boolean => standardQuota.has(name) || name === "storage" || isQuotaPages(name);

export const ofContainers: ResourceNames = (field, name) => {
  const problems = nameProblems(name, isStandard);
  if (name.includes("/")) {
    if (!isNative(name) && !isExtended(name)) problems.push("doesn't follow extended resource name standard");
  } else if (!isComputeResource(name) && name !== "ephemeral-storage") problems.push("must be a standard resource for containers");
  return invalidAll(field, name, problems);
};

/** Whatever there is, or has a name of its own. */
export const ofAnything: ResourceNames = (field, name) => invalidAll(field, name, nameProblems(name, isStandard));

/** May more be promised of it than there is? */
export const mayOvercommit = (name: string): boolean => isNative(name) && !isHugePages(name);

export const ofPods: ResourceNames = (field, name) => {
  const problems = nameProblems(name, isStandard);
  if (problems.length > 0) return invalidAll(field, name, problems);
  return isComputeResource(name) ? [] : [notSupported(field, name, ["cpu", "hugepages-", "memory"])];
};

function validateValue(field: string, name: string, value: unknown): FieldError[] {
  const problems = quantityProblems(value);
  if (problems.length > 0) return invalidAll(field, value, problems);
  return (counted.has(name) || isExtended(name)) && parseNano(value as string)! % 1_000_000_000n !== 0n ? [invalidValue(field, value, INTEGER)] : [];
}

/** `limits` and `requests` of a container. */
export function validateRequirements(field: string, resources: unknown, names: ResourceNames = ofContainers): FieldError[] {
  if (!isObject(resources)) return [];
  const limits = Object.entries((resources.limits ?? {}) as Record<string, string>);
  const requests = Object.entries((resources.requests ?? {}) as Record<string, string>);
  const each = (list: string, name: string, value: string): FieldError[] => [
    ...names(`${field}.${list}[${name}]`, name), ...validateValue(`${field}.${list}[${name}]`, name, value),
  ];
  const errors = [
    ...limits.flatMap(([name, value]) => [...each("limits", name, value), ...validatePages(`${field}.limits[${name}]`, name, value)]),
    ...requests.flatMap(([name, value]) => [
      ...each("requests", name, value), ...validateAgainstLimit(field, name, value, resources.limits?.[name]), ...validatePages(`${field}.requests[${name}]`, name, value),
    ]),
  ];
  const all = [...limits, ...requests].map(([name]) => name);
  if (all.some(isHugePages) && !all.includes("cpu") && !all.includes("memory")) errors.push(forbidden(field, "HugePages require cpu or memory"));
  return errors;
}

/** In whole pages. */
function validatePages(field: string, name: string, value: string): FieldError[] {
  const [size, amount] = [isHugePages(name) ? parseNano(name.slice("hugepages-".length)) : undefined, parseNano(value)];
  if (size === undefined || amount === undefined || size <= 0n) return [];
  return amount % size === 0n ? [] : [invalidValue(field, value, `${value} is not positive integer multiple of ${name}`)];
}

function validateAgainstLimit(field: string, name: string, request: string, limit: string | undefined): FieldError[] {
  const exact = isExtended(name) || isHugePages(name);
  if (limit === undefined) return exact ? [required(`${field}.limits`, "Limit must be set for non overcommitable resources")] : [];
  // What is no quantity has been said to be none.
  if (parseNano(request) === undefined || parseNano(limit) === undefined) return [];
  const order = compareQuantity(request, limit);
  if (exact && order !== 0) return [invalidValue(`${field}.requests`, request, `must be equal to ${name} limit of ${limit}`)];
  return !exact && order > 0 ? [invalidValue(`${field}.requests`, request, `must be less than or equal to ${name} limit of ${limit}`)] : [];
}

/** Each claim of a container is one of its pod's, and named once. */
export function validateClaimNames(field: string, claims: readonly Obj[], ofPod: readonly string[]): FieldError[] {
  const seen = new Set<string>();
  return claims.flatMap(({ name, request }, i) => {
    const at = `${field}[${i}]`;
    if (!name) return [required(at)];
    const errors: FieldError[] = [];
    const key = request ? `${name}/${request}` : name;
    if (request && !seen.has(name)) errors.push(...invalidAll(`${at}.request`, request, dns1123Label(request)));
    if (seen.has(name)) errors.push(duplicate(at, name));
    else if (seen.has(key)) errors.push(duplicate(at, key));
    else if (!request && [...seen].some((other) => other.startsWith(`${name}/`))) errors.push(duplicate(at, name));
    seen.add(key);
    if (!ofPod.includes(name)) {
      const known = ofPod.length > 0 ? `: ${[...ofPod].sort().join(", ")}` : " which is empty";
      errors.push(notFound(at, name, `must be one of the names in pod.spec.resourceClaims${known}`));
    }
    return errors;
  });
}

/** A list of any resources, such as a node's capacity; `fieldOf` tells the field of each. */
export function validateResourceList(fieldOf: (name: string) => string, list: unknown): FieldError[] {
  return Object.entries((list ?? {}) as Record<string, unknown>).flatMap(([name, value]) => validateValue(fieldOf(name), name, value));
}

/** Lists of a quota: counts such as `count/pods` and extended resources have qualified names, others are of the API itself. */
export function validateQuotaList(field: string, list: unknown): FieldError[] {
  return Object.entries((list ?? {}) as Record<string, unknown>).flatMap(([name, value]) => {
    const problems = nameProblems(name, isStandard);
    if (!name.includes("/") && !isQuotaName(name)) problems.push("must be a standard resource for quota");
    return [...invalidAll(`${field}[${name}]`, name, problems), ...validateValue(`${field}[${name}]`, name, value)];
  });
}

/** Names of the API itself that quotas take. */
export const isQuotaName = (name: string): boolean => standardQuota.has(name) || isQuotaPages(name);
