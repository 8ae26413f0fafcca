/** Validation of ResourceQuotas. */
import { items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, IMMUTABLE, invalidValue, required } from "../validate/field.ts";
import { isQuotaName, validateQuotaList } from "../validate/resources.ts";

const podResources = /^(pods|(requests\.|limits\.)?(cpu|memory))$/;
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

export const validateQuotaStatus = ({ status = {} }: Obj): FieldError[] =>
  ["hard", "used"].flatMap((list) => validateQuotaList(`status.${list}`, status[list]));

/** Upstream shows the scopes of the spec, also where the selector's conflict. */
const conflicts = (field: string, list: readonly string[], shown: unknown): FieldError[] =>
  [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]].filter((pair) => pair.every((scope) => list.includes(scope)))
    .map(() => invalidValue(field, shown, "conflicting scopes"));

function validateScopes({ scopes: list = [], hard }: Obj): FieldError[] {
  const names = list as string[];
  const errors = names.flatMap((scope) => [
    ...(scopes[scope] ? [] : [invalidValue("spec.scopes", names, "unsupported scope")]),
    ...outside(scope, hard).map(() => invalidValue("spec.scopes", names, "unsupported scope applied to resource")),
  ]);
  return [...errors, ...conflicts("spec.scopes", names, names)];
}

function validateScopeSelector(at: string, { scopes: list, scopeSelector, hard }: Obj): FieldError[] {
  const requirements = items(scopeSelector, "matchExpressions");
  const errors = requirements.flatMap(({ scopeName = "", operator = "", values = [] }) => {
    const problems: FieldError[] = [];
    if (!scopes[scopeName]) problems.push(invalidValue(`${at}.scopeName`, scopeName, "unsupported scope"));
    problems.push(...outside(scopeName, hard).map(() => invalidValue(at, internalSelector(requirements), "unsupported scope applied to resource")));
    if (scopes[scopeName] && scopeName !== "PriorityClass" && scopeName !== "VolumeAttributesClass" && operator !== "Exists") {
      problems.push(invalidValue(`${at}.operator`, operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"));
    }
    return [...problems, ...validateOperator(at, operator, values ?? [])];
  });
  return [...errors, ...conflicts(at, requirements.map(({ scopeName }) => scopeName), list)];
}

/** As upstream shows its internal type. */
const internalSelector = (requirements: readonly Obj[]): object =>
  ({ MatchExpressions: requirements.map(({ scopeName = "", operator = "", values = null }) => ({ ScopeName: scopeName, Operator: operator, Values: values })) });

function validateOperator(at: string, operator: string, values: readonly string[]): FieldError[] {
  switch (operator) {
    case "In": case "NotIn": return values.length ? [] : [required(`${at}.values`, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")];
    case "Exists": case "DoesNotExist": return values.length ? [invalidValue(`${at}.values`, values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")] : [];
    default: return [invalidValue(`${at}.operator`, operator, "not a valid selector operator")];
  }
}

export function validateResourceQuotaUpdate(quota: Obj, old: Obj): FieldError[] {
  const errors = validateResourceQuota(quota);
  const setOf = ({ spec }: Obj): string[] => [...new Set<string>(spec.scopes ?? [])].sort();
  return same(setOf(quota), setOf(old)) ? errors : [...errors, invalidValue("spec.scopes", quota.spec.scopes, IMMUTABLE)];
}
