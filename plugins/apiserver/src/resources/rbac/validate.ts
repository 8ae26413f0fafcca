/** Validation of RBAC. */
import { items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { dns1123Subdomain, pathSegment } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";

const GROUP = "rbac.authorization.k8s.io";
const none = (list: unknown): boolean => !Array.isArray(list) || list.length === 0;

const rules = (role: Obj, namespaced: boolean): FieldError[] =>
  items(role, "rules").flatMap((rule, i) => validateRule(`rules[${i}]`, rule, namespaced));

function validateRule(at: string, rule: Obj, namespaced: boolean): FieldError[] {
  const errors: FieldError[] = none(rule.verbs) ? [required(`${at}.verbs`, "verbs must contain at least one value")] : [];
  if (!none(rule.nonResourceURLs)) {
    if (namespaced) errors.push(invalidValue(`${at}.nonResourceURLs`, rule.nonResourceURLs, "namespaced rules cannot apply to non-resource URLs"));
    if (![rule.apiGroups, rule.resources, rule.resourceNames].every(none)) {
      errors.push(invalidValue(`${at}.nonResourceURLs`, rule.nonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"));
    }
    return errors;
  }
  if (none(rule.apiGroups)) errors.push(required(`${at}.apiGroups`, "resource rules must supply at least one api group"));
  if (none(rule.resources)) errors.push(required(`${at}.resources`, "resource rules must supply at least one resource"));
  return errors;
}

export const validateRole = (role: Obj): FieldError[] => rules(role, true);

export function validateClusterRole(role: Obj): FieldError[] {
  const selectors = role.aggregationRule ? items(role.aggregationRule, "clusterRoleSelectors") : undefined;
  const errors = rules(role, false);
  if (!selectors) return errors;
  if (selectors.length === 0) errors.push(required("aggregationRule.clusterRoleSelectors", "at least one clusterRoleSelector required if aggregationRule is non-nil"));
  return [...errors, ...selectors.flatMap((s, i) => validateLabelSelector(`aggregationRule.clusterRoleSelectors[${i}]`, s))];
}

const validateBinding = (kinds: readonly string[]) => (binding: Obj): FieldError[] => {
  const { roleRef } = binding;
  const errors: FieldError[] = roleRef.apiGroup === GROUP ? [] : [notSupported("roleRef.apiGroup", roleRef.apiGroup, [GROUP])];
  if (!kinds.includes(roleRef.kind)) errors.push(notSupported("roleRef.kind", roleRef.kind ?? "", kinds));
  errors.push(...(roleRef.name ? invalidAll("roleRef.name", roleRef.name, pathSegment(roleRef.name)) : [required("roleRef.name")]));
  const clusterOnly = kinds.length === 1;
  return [...errors, ...items(binding, "subjects").flatMap((subject, i) => validateSubject(`subjects[${i}]`, subject, clusterOnly))];
};

function validateSubject(at: string, subject: Obj, needsNamespace: boolean): FieldError[] {
  const errors: FieldError[] = subject.name ? [] : [required(`${at}.name`)];
  switch (subject.kind) {
    case "ServiceAccount":
      if (subject.name) errors.push(...invalidAll(`${at}.name`, subject.name, dns1123Subdomain(subject.name)));
      if (subject.apiGroup) errors.push(notSupported(`${at}.apiGroup`, subject.apiGroup, [""]));
      if (needsNamespace && !subject.namespace) errors.push(required(`${at}.namespace`));
      return errors;
    case "User": case "Group":
      if (subject.apiGroup !== GROUP) errors.push(notSupported(`${at}.apiGroup`, subject.apiGroup ?? "", [GROUP]));
      return errors;
    default:
      return [...errors, notSupported(`${at}.kind`, subject.kind ?? "", ["ServiceAccount", "User", "Group"])];
  }
}

export const validateRoleBinding = validateBinding(["Role", "ClusterRole"]);
export const validateClusterRoleBinding = validateBinding(["ClusterRole"]);

/** What a binding grants never changes under its subjects. */
export const updateOf = (validate: (object: Obj) => FieldError[]) => (object: Obj, old: Obj): FieldError[] => {
  const errors = validate(object);
  return same(object.roleRef, old.roleRef) ? errors : [...errors, invalidValue("roleRef", object.roleRef, "cannot change roleRef")];
};
