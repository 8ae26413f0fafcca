/** Validation of what steers scheduling: affinity, tolerations, topology spread, gates. */
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notSupported, oneOf, required } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain, labelValue, qualifiedName } from "../validate/names.ts";
import { validateLabelSelector, validateNodeRequirement } from "../validate/selector.ts";

const effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution";

export function validateAffinity(field: string, affinity: unknown): FieldError[] {
  if (!isObject(affinity)) return [];
  return [
    ...validateNodeAffinity(`${field}.nodeAffinity`, affinity.nodeAffinity),
    ...validatePodAffinity(`${field}.podAffinity`, affinity.podAffinity),
    ...validatePodAffinity(`${field}.podAntiAffinity`, affinity.podAntiAffinity),
  ];
}

function validateNodeAffinity(field: string, affinity: unknown): FieldError[] {
  if (!isObject(affinity)) return [];
  const errors = isObject(affinity[REQUIRED]) ? validateNodeSelector(`${field}.${REQUIRED}`, affinity[REQUIRED]) : [];
  items(affinity, PREFERRED).forEach((preference, i) => {
    const at = `${field}.${PREFERRED}[${i}]`;
    errors.push(...validateWeight(at, preference), ...validateTerm(`${at}.preference`, preference.preference, true));
  });
  return errors;
}

export function validateNodeSelector(field: string, selector: Obj): FieldError[] {
  const terms = items(selector, "nodeSelectorTerms");
  if (terms.length === 0) return [required(`${field}.nodeSelectorTerms`, "must have at least one node selector term")];
  return terms.flatMap((term, i) => validateTerm(`${field}.nodeSelectorTerms[${i}]`, term));
}

function validateTerm(field: string, term: unknown, isPreference = false): FieldError[] {
  if (!isObject(term)) return [];
  return [
    ...items(term, "matchExpressions").flatMap((r, i) => validateNodeRequirement(`${field}.matchExpressions[${i}]`, r, isPreference)),
    ...items(term, "matchFields").flatMap((r, i) => validateFieldRequirement(`${field}.matchFields[${i}]`, r)),
  ];
}

function validateFieldRequirement(field: string, { key, operator, values }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (operator !== "In" && operator !== "NotIn") errors.push(invalidValue(`${field}.operator`, operator, "not a valid selector operator"));
  else if (values?.length !== 1) errors.push(required(`${field}.values`, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"));
  if (key !== "metadata.name") errors.push(invalidValue(`${field}.key`, key, "not a valid field selector key"));
  else ((values ?? []) as string[]).forEach((value, i) => errors.push(...invalidAll(`${field}.values[${i}]`, value, dns1123Subdomain(value))));
  return errors;
}

const validateWeight = (field: string, { weight }: Obj): FieldError[] =>
  typeof weight === "number" && weight >= 1 && weight <= 100 ? [] : [invalidValue(`${field}.weight`, weight ?? 0, "must be in the range 1-100")];

function validatePodAffinity(field: string, affinity: unknown): FieldError[] {
  if (!isObject(affinity)) return [];
  return [
    ...items(affinity, REQUIRED).flatMap((term, i) => validatePodTerm(`${field}.${REQUIRED}[${i}]`, term)),
    ...items(affinity, PREFERRED).flatMap((term, i) => [
      ...validateWeight(`${field}.${PREFERRED}[${i}]`, term),
      ...validatePodTerm(`${field}.${PREFERRED}[${i}].podAffinityTerm`, term.podAffinityTerm ?? {}),
    ]),
  ];
}

function validatePodTerm(field: string, term: Obj): FieldError[] {
  return [
    ...validateLabelSelector(`${field}.labelSelector`, term.labelSelector),
    ...validateLabelSelector(`${field}.namespaceSelector`, term.namespaceSelector),
    ...((term.namespaces ?? []) as string[]).flatMap((name) => invalidAll(`${field}.namespace`, name, dns1123Label(name))),
    ...validateAffinityKeys(field, term),
    ...(term.topologyKey ? [] : [required(`${field}.topologyKey`, "can not be empty")]),
    ...invalidAll(`${field}.topologyKey`, term.topologyKey ?? "", qualifiedName(term.topologyKey ?? "")),
  ];
}

export function validateTolerations(field: string, tolerations: readonly Obj[]): FieldError[] {
  return tolerations.flatMap((toleration, i) => validateToleration(`${field}[${i}]`, toleration));
}

function validateToleration(at: string, { key, operator, value, effect, tolerationSeconds }: Obj): FieldError[] {
  const errors = key ? invalidAll(`${at}.key`, key, qualifiedName(key)) : [];
  if (!key && operator !== "Exists") {
    errors.push(invalidValue(`${at}.operator`, operator ?? "", "operator must be Exists when `key` is empty, which means \"match all values and all keys\""));
  }
  if (tolerationSeconds != null && effect !== "NoExecute") {
    errors.push(invalidValue(`${at}.effect`, effect ?? "", "effect must be 'NoExecute' when `tolerationSeconds` is set"));
  }
  if (operator === "Exists") {
    if (value) errors.push(invalidValue(`${at}.operator`, value, "value must be empty when `operator` is 'Exists'"));
  } else if (!operator || operator === "Equal") {
    const problems = labelValue(value ?? "");
    if (problems.length) errors.push(invalidValue(`${at}.operator`, value, problems.join(";")));
  } else errors.push(notSupported(`${at}.operator`, operator, ["Equal", "Exists"]));
  if (effect && !effects.includes(effect)) errors.push(notSupported(`${at}.effect`, effect, effects));
  return errors;
}

export function validateTaints(field: string, taints: readonly Obj[]): FieldError[] {
  const seen = new Set<string>();
  return taints.flatMap((taint, i) => {
    const at = `${field}[${i}]`;
    const errors = invalidAll(`${at}.key`, taint.key ?? "", qualifiedName(taint.key ?? ""));
    const problems = labelValue(taint.value ?? "");
    if (problems.length) errors.push(invalidValue(`${at}.value`, taint.value, problems.join(";")));
    errors.push(...oneOf(`${at}.effect`, taint.effect, effects));
    const identity = `${taint.key}:${taint.effect}`;
    if (seen.has(identity)) errors.push(duplicate(at, internalTaint(taint), "taints must be unique by key and effect pair"));
    seen.add(identity);
    return errors;
  });
}

/** As upstream shows its internal type. */
const internalTaint = ({ key: Key = "", value: Value = "", effect: Effect = "", timeAdded: TimeAdded = null }: Obj): object => ({ Key, Value, Effect, TimeAdded });

export function validateTopologySpread(field: string, constraints: readonly Obj[]): FieldError[] {
  const pairOf = ({ topologyKey = "", whenUnsatisfiable = "" }: Obj): string => `{${topologyKey}, ${whenUnsatisfiable}}`;
  return constraints.flatMap((constraint, i) => {
    const at = `${field}[${i}]`;
    const errors: FieldError[] = [];
    if (!(constraint.maxSkew > 0)) errors.push(invalidValue(`${at}.maxSkew`, constraint.maxSkew ?? 0, "must be greater than zero"));
    if (!constraint.topologyKey) errors.push(required(`${at}.topologyKey`, "can not be empty"));
    errors.push(...oneOf(`${at}.whenUnsatisfiable`, constraint.whenUnsatisfiable, ["DoNotSchedule", "ScheduleAnyway"]));
    const pair = pairOf(constraint);
    // Upstream names each that is met again.
    if (constraints.slice(i + 1).some((later) => pairOf(later) === pair)) errors.push(duplicate(`${at}.{topologyKey, whenUnsatisfiable}`, pair));
    if (constraint.minDomains != null) {
      if (constraint.minDomains <= 0) errors.push(invalidValue(`${at}.minDomains`, constraint.minDomains, "must be greater than zero"));
      if (constraint.whenUnsatisfiable !== "DoNotSchedule") {
        errors.push(invalidValue(`${at}.minDomains`, constraint.minDomains, `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${constraint.whenUnsatisfiable}`));
      }
    }
    for (const policy of ["nodeAffinityPolicy", "nodeTaintsPolicy"]) {
      const value = constraint[policy];
      if (value != null && value !== "Honor" && value !== "Ignore") errors.push(notSupported(`${at}.${policy}`, value, ["Honor", "Ignore"]));
    }
    return [
      ...errors, ...validateLabelKeys(`${at}.matchLabelKeys`, constraint.matchLabelKeys ?? [], constraint.labelSelector), ...validateLabelSelector(`${at}.labelSelector`, constraint.labelSelector),
    ];
  });
}

const EXISTS_IN_BOTH = "exists in both matchLabelKeys and labelSelector";
const NO_SELECTOR = "must not be specified when labelSelector is not set";

const keysOf = (selector: unknown): string[] =>
  (isObject(selector) ? [...Object.keys(selector.matchLabels ?? {}), ...items(selector, "matchExpressions").map(({ key }) => key as string)] : []);

/** Keys whose values the pod's own labels give: a new pod has them in its selector by now, so that those named twice were there before. */
function validateLabelKeys(field: string, keys: readonly string[], selector: unknown, at = field): FieldError[] {
  if (keys.length === 0) return [];
  if (!isObject(selector)) return [forbidden(field, NO_SELECTOR)];
  const selected = keysOf(selector);
  const isTwice = (key: string): boolean => selected.filter((other) => other === key).length > 1;
  return [
    ...keys.flatMap((key, i) => invalidAll(`${field}[${i}]`, key, qualifiedName(key))),
    ...keys.flatMap((key, i) => (isTwice(key) ? [invalidValue(`${at}[${i}]`, key, EXISTS_IN_BOTH)] : [])),
  ];
}

/** Upstream gives the place of a key within the term, without the name of the list. */
function validateAffinityKeys(field: string, { matchLabelKeys, mismatchLabelKeys, labelSelector }: Obj): FieldError[] {
  const [match, mismatch]: string[][] = [matchLabelKeys ?? [], mismatchLabelKeys ?? []];
  return [
    ...validateLabelKeys(`${field}.matchLabelKeys`, match!, labelSelector, field),
    // One may be among those that are selected.
    ...(mismatch!.length > 0 && !isObject(labelSelector) ? [forbidden(`${field}.mismatchLabelKeys`, NO_SELECTOR)] : []),
    ...mismatch!.flatMap((key, i) => invalidAll(`${field}.mismatchLabelKeys[${i}]`, key, qualifiedName(key))),
    ...match!.flatMap((key, i) => (mismatch!.includes(key) ? [invalidValue(`${field}.matchLabelKeys[${i}]`, key, "exists in both matchLabelKeys and mismatchLabelKeys")] : [])),
  ];
}

export function validateGates(field: string, spec: Obj): FieldError[] {
  const seen = new Set<string>();
  return items(spec, "schedulingGates").flatMap(({ name = "" }, i) => {
    const problems = invalidAll(`${field}[${i}]`, name, qualifiedName(name));
    if (seen.has(name)) problems.push(duplicate(`${field}[${i}]`, name));
    seen.add(name);
    return problems;
  });
}
