/** Validation of the rules by which webhooks and admission policies choose requests. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { pathSegment } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";

const operations = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const scopes = ["*", "Cluster", "Namespaced"];
export const failurePolicies = ["Fail", "Ignore"];
export const matchPolicies = ["Equivalent", "Exact"];
export const reinvocationPolicies = ["IfNeeded", "Never"];

/** One of the values, when there is one; "" is none of them. */
export const supported = (field: string, value: unknown, values: readonly string[]): FieldError[] =>
  value == null || values.includes(value as string) ? [] : [notSupported(field, value, values)];

export const supportedAndThere = (field: string, value: unknown, values: readonly string[]): FieldError[] =>
  value == null ? [required(field)] : supported(field, value, values);

export function validateRule(at: string, rule: Obj): FieldError[] {
  const errors = [...wildcardAlone(`${at}.operations`, rule.operations, "operations")];
  ((rule.operations ?? []) as string[]).forEach((operation, i) => errors.push(...supported(`${at}.operations[${i}]`, operation, operations)));
  errors.push(...wildcardAlone(`${at}.apiGroups`, rule.apiGroups, "API groups"), ...wildcardAlone(`${at}.apiVersions`, rule.apiVersions, "API versions"));
  ((rule.apiVersions ?? []) as string[]).forEach((version, i) => {
    if (version === "") errors.push(required(`${at}.apiVersions[${i}]`));
  });
  return [...errors, ...validateResources(`${at}.resources`, rule.resources ?? []), ...supported(`${at}.scope`, rule.scope, scopes)];
}

function wildcardAlone(field: string, list: readonly string[] | undefined, others: string): FieldError[] {
  if (!list?.length) return [required(field)];
  return list.length > 1 && list.includes("*") ? [invalidValue(field, list, `if '*' is present, must not specify other ${others}`)] : [];
}

// Such as `pods`, `pods/status`, `*`, `*/scale` or `pods/*`: none that another one covers.
function validateResources(field: string, resources: readonly string[]): FieldError[] {
  if (resources.length === 0) return [required(field)];
  const errors: FieldError[] = [];
  const [allOf, everywhere] = [new Set<string>(), new Set<string>()];
  for (const [i, text] of resources.entries()) {
    if (text === "") errors.push(required(`${field}[${i}]`));
    const [, resource, sub] = /^([^/]*)\/(.*)$/s.exec(text) ?? [];
    if (resource === undefined || sub === undefined) continue;
    if (allOf.has(resource)) errors.push(invalidValue(`${field}[${i}]`, text, `if '${resource}/*' is present, must not specify ${text}`));
    if (everywhere.has(sub)) errors.push(invalidValue(`${field}[${i}]`, text, `if '*/${sub}' is present, must not specify ${text}`));
    if (sub === "*") allOf.add(resource);
    if (resource === "*") everywhere.add(sub);
  }
  if (resources.length > 1 && resources.includes("*/*")) errors.push(invalidValue(field, resources, "if '*/*' is present, must not specify other resources"));
  const plain = resources.filter((text) => text !== "" && !text.includes("/"));
  if (plain.length > 0 && plain.at(-1) !== "*" && plain.includes("*")) errors.push(invalidValue(field, resources, "if '*' is present, must not specify other resources without subresources"));
  return errors;
}

/** The requests that a policy is about. */
export function validateMatch(at: string, match: unknown): FieldError[] {
  if (!isObject(match)) return [];
  return [
    ...supportedAndThere(`${at}.matchPolicy`, match.matchPolicy, matchPolicies),
    ...["namespaceSelector", "objectSelector"].flatMap((name) => validateLabelSelector(`${at}.${name}`, match[name])),
    ...["resourceRules", "excludeResourceRules"].flatMap((list) => items(match, list).flatMap((rule, i) => [
      ...validateNames(`${at}.${list}[${i}].resourceNames`, rule.resourceNames ?? []), ...validateRule(`${at}.${list}[${i}]`, rule),
    ])),
  ];
}

const validateNames = (field: string, names: readonly string[]): FieldError[] => names.flatMap((name, i) => [
  ...invalidAll(`${field}[${i}]`, name, pathSegment(name)), ...(names.indexOf(name) < i ? [duplicate(`${field}[${i}]`, name)] : []),
]);
