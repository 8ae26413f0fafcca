/** Validation of quantities and of requests and limits. */
import { compareQuantity, parseNano } from "@k3s-p/plugin-api/kube";
import { isObject } from "../fields.ts";
import { type FieldError, invalidAll, invalidValue, NOT_NEGATIVE, required } from "./field.ts";
import { dns1123Subdomain, qualifiedName } from "./names.ts";

const QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const INTEGER = "must be an integer";
const standard = new Set(["cpu", "memory", "ephemeral-storage", "storage", "requests.storage"]);
const standardQuota = new Set([
  "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
  "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "services", "replicationcontrollers", "resourcequotas",
  "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
]);

export function quantityProblems(value: unknown): string[] {
  const isText = typeof value === "string" || typeof value === "number";
  if (!isText || parseNano(value) === undefined) return [QUANTITY];
  return compareQuantity(value, "0") < 0 ? [NOT_NEGATIVE] : [];
}

const isHugePages = (name: string): boolean => name.startsWith("hugepages-");
const isNative = (name: string): boolean => !name.includes("/") || name.includes("kubernetes.io/");
/** Resources of devices and the like: named with a domain, requested in whole numbers, never overcommitted. */
const isExtended = (name: string): boolean => !isNative(name) && !name.startsWith("requests.");

function nameProblems(name: string, known: (name: string) => boolean): string[] {
  const problems = qualifiedName(name);
  if (problems.length === 0 && !name.includes("/") && !known(name)) problems.push("must be a standard resource type or fully qualified");
  return problems;
}

const isContainerResource = (name: string): boolean => ["cpu", "memory", "ephemeral-storage"].includes(name) || isHugePages(name);

function containerNameProblems(name: string): string[] {
  const problems = nameProblems(name, (n) => standard.has(n) || isHugePages(n));
  if (problems.length === 0 && !name.includes("/") && !isContainerResource(name)) problems.push("must be a standard resource for containers");
  return problems;
}

function validateValue(field: string, name: string, value: unknown, whole = isExtended(name)): FieldError[] {
  const problems = quantityProblems(value);
  if (problems.length > 0) return invalidAll(field, value, problems);
  return whole && parseNano(value as string)! % 1_000_000_000n !== 0n ? [invalidValue(field, value, INTEGER)] : [];
}

/** `limits` and `requests` of a container. */
export function validateRequirements(field: string, resources: unknown): FieldError[] {
  if (!isObject(resources)) return [];
  const { limits, requests } = resources;
  const errors: FieldError[] = [];
  for (const [list, values] of [["limits", limits], ["requests", requests]] as const) {
    for (const [name, value] of Object.entries((values ?? {}) as Record<string, unknown>)) {
      errors.push(...invalidAll(`${field}.${list}`, name, containerNameProblems(name)), ...validateValue(`${field}.${list}[${name}]`, name, value));
    }
  }
  return errors.length > 0 ? errors : validateAgainstLimits(field, limits ?? {}, requests ?? {});
}

function validateAgainstLimits(field: string, limits: Record<string, string>, requests: Record<string, string>): FieldError[] {
  const errors: FieldError[] = [];
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    const exact = isExtended(name) || isHugePages(name);
    if (limit === undefined) {
      if (exact) errors.push(required(`${field}.limits`, "Limit must be set for non overcommitable resources"));
    } else if (exact && compareQuantity(request, limit) !== 0) {
      errors.push(invalidValue(`${field}.requests`, request, `must be equal to ${name} limit of ${limit}`));
    } else if (!exact && compareQuantity(request, limit) > 0) {
      errors.push(invalidValue(`${field}.requests`, request, `must be less than or equal to ${name} limit of ${limit}`));
    }
  }
  return errors;
}

/** A list of any resources, such as a node's capacity. */
export function validateResourceList(field: string, list: unknown): FieldError[] {
  return Object.entries((list ?? {}) as Record<string, unknown>).flatMap(([name, value]) => validateValue(`${field}[${name}]`, name, value));
}

/** `hard` of a quota; counts such as `count/pods` have names of their own. */
export function validateQuotaList(field: string, list: unknown): FieldError[] {
  return Object.entries((list ?? {}) as Record<string, unknown>).flatMap(([name, value]) => {
    const problems = name.startsWith("count/") ? dns1123Subdomain(name.slice(6)) : nameProblems(name, (n) => isQuotaName(n));
    return [...invalidAll(`${field}[${name}]`, name, problems), ...validateValue(`${field}[${name}]`, name, value, isCount(name))];
  });
}

/** Objects are counted in whole numbers. */
const isCount = (name: string): boolean => name.startsWith("count/") || (standardQuota.has(name) && !/(^|\.)(cpu|memory|ephemeral-storage|storage)$/.test(name));

const isQuotaName = (name: string): boolean =>
  standardQuota.has(name) || isHugePages(name) || name.startsWith("requests.") || name.startsWith("limits.");
