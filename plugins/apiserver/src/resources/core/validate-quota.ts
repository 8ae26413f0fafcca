/** Validation of ResourceQuotas and LimitRanges. */
import { parseNano } from "@k3s-p/plugin-api/kube";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, required } from "../validate/field.ts";
import { qualifiedName } from "../validate/names.ts";
import { isQuotaName, quantityProblems, validateQuotaList } from "../validate/resources.ts";

const podResources = /^(pods|(requests\.|limits\.)?(cpu|memory|ephemeral-storage|hugepages-.*))$/;
const claimResources = /^(persistentvolumeclaims|requests\.storage)$/;
/** The standard resources that a quota of this scope can count. */
const scopes: Readonly<Record<string, RegExp>> = {
  BestEffort: /^pods$/, CrossNamespacePodAffinity: podResources, NotBestEffort: podResources, NotTerminating: podResources,
  PriorityClass: podResources, Terminating: podResources, VolumeAttributesClass: claimResources,
};
/** Those that cannot be counted in the scope; upstream tells of each. */
const outside = (scope: string, hard: unknown): string[] =>
  Object.keys((hard ?? {}) as object).filter((name) => isQuotaName(name) && scopes[scope] && !scopes[scope].test(name));

export function validateResourceQuota({ spec }: Obj): FieldError[] {
  return [...validateQuotaList("spec.hard", spec.hard), ...validateScopes(spec), ...validateScopeSelector("spec.scopeSelector.matchExpressions", spec)];
}

const conflicting = (list: readonly string[]): boolean =>
  [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]].some((pair) => pair.every((scope) => list.includes(scope)));

function validateScopes({ scopes: list = [], hard }: Obj): FieldError[] {
  const names = list as string[];
  const errors = names.flatMap((scope) => [
    ...(scopes[scope] ? [] : [invalidValue("spec.scopes", names, "unsupported scope")]),
    ...outside(scope, hard).map(() => invalidValue("spec.scopes", names, "unsupported scope applied to resource")),
  ]);
  return conflicting(names) ? [...errors, invalidValue("spec.scopes", names, "conflicting scopes")] : errors;
}

function validateScopeSelector(at: string, { scopeSelector, hard }: Obj): FieldError[] {
  const requirements = items(scopeSelector, "matchExpressions");
  const errors = requirements.flatMap(({ scopeName = "", operator = "", values = [] }) => {
    const problems: FieldError[] = [];
    if (!scopes[scopeName]) problems.push(invalidValue(`${at}.scopeName`, scopeName, "unsupported scope"));
    problems.push(...outside(scopeName, hard).map(() => invalidValue(at, scopeSelector, "unsupported scope applied to resource")));
    if (scopes[scopeName] && scopeName !== "PriorityClass" && scopeName !== "VolumeAttributesClass" && operator !== "Exists") {
      problems.push(invalidValue(`${at}.operator`, operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"));
    }
    return [...problems, ...validateOperator(at, operator, values ?? [])];
  });
  return conflicting(requirements.map(({ scopeName }) => scopeName)) ? [...errors, invalidValue(at, scopeSelector, "conflicting scopes")] : errors;
}

function validateOperator(at: string, operator: string, values: readonly string[]): FieldError[] {
  switch (operator) {
    case "In": case "NotIn": return values.length ? [] : [required(`${at}.values`, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")];
    case "Exists": case "DoesNotExist": return values.length ? [invalidValue(`${at}.values`, values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")] : [];
    default: return [invalidValue(`${at}.operator`, operator, "not a valid selector operator")];
  }
}

export function validateResourceQuotaUpdate(quota: Obj, old: Obj): FieldError[] {
  const errors = validateResourceQuota(quota);
  return same(quota.spec.scopes, old.spec.scopes) ? errors : [...errors, invalidValue("spec.scopes", quota.spec.scopes, IMMUTABLE)];
}

const limitLists = ["min", "max", "default", "defaultRequest"] as const;
/** Pairs whose first may not exceed the second. */
const order: readonly (readonly [string, string, string])[] = [
  ["min", "max", "min value {a} is greater than max value {b}"],
  ["min", "defaultRequest", "min value {a} is greater than default request value {b}"],
  ["defaultRequest", "max", "default request value {a} is greater than max value {b}"],
  ["defaultRequest", "default", "default request value {a} is greater than default limit value {b}"],
  ["min", "default", "min value {a} is greater than default value {b}"],
  ["default", "max", "default value {a} is greater than max value {b}"],
];

export function validateLimitRange({ spec }: Obj): FieldError[] {
  const seen = new Set<string>();
  return items(spec, "limits").flatMap((limit, i) => {
    const at = `spec.limits[${i}]`;
    const errors: FieldError[] = limit.type ? invalidAll(`${at}.type`, limit.type, qualifiedName(limit.type)) : [required(`${at}.type`)];
    if (limit.type && seen.has(limit.type)) errors.push(duplicate(`${at}.type`, limit.type));
    seen.add(limit.type);
    for (const list of limitLists) {
      if (limit.type === "Pod" && list.startsWith("default") && limit[list]) {
        errors.push(forbidden(`${at}.${list}`, "may not be specified when `type` is 'Pod'"));
      }
      for (const [name, value] of Object.entries(limit[list] ?? {})) errors.push(...invalidAll(`${at}.${list}[${name}]`, value, quantityProblems(value)));
    }
    if (limit.type === "PersistentVolumeClaim" && limit.min?.storage == null && limit.max?.storage == null) {
      errors.push(required(`${at}.limits`, "either minimum or maximum storage value is required, but neither was provided"));
    }
    return errors.length > 0 ? errors : [...orderErrors(at, limit), ...validateRatio(at, limit)];
  });
}

function orderErrors(at: string, limit: Obj): FieldError[] {
  const names = new Set(limitLists.flatMap((list) => Object.keys(limit[list] ?? {})));
  return [...names].flatMap((name) => order.flatMap(([small, large, text]) => {
    const [a, b] = [limit[small]?.[name], limit[large]?.[name]];
    if (a === undefined || b === undefined || parseNano(a)! <= parseNano(b)!) return [];
    const field = small === "default" || small === "defaultRequest" ? small : large.startsWith("default") ? large : small;
    return [invalidValue(`${at}.${field}[${name}]`, limit[field][name], text.replace("{a}", a).replace("{b}", b))];
  }));
}

/** By how much a limit may exceed its request. */
function validateRatio(at: string, { maxLimitRequestRatio, min = {}, max = {} }: Obj): FieldError[] {
  if (!isObject(maxLimitRequestRatio)) return [];
  return Object.entries(maxLimitRequestRatio).flatMap(([name, ratio]) => {
    const field = `${at}.maxLimitRequestRatio[${name}]`;
    const problems = quantityProblems(ratio);
    if (problems.length > 0) return invalidAll(field, ratio, problems);
    if (Number(parseNano(ratio)!) < 1e9) return [invalidValue(field, ratio, `ratio ${ratio} is less than 1`)];
    if (min?.[name] == null || max?.[name] == null) return [];
    const widest = Number(parseNano(max[name])!) / Number(parseNano(min[name])!);
    return Number(parseNano(ratio)!) / 1e9 > widest ? [invalidValue(field, ratio, `ratio ${ratio} is greater than max/min = ${widest.toFixed(6)}`)] : [];
  });
}
