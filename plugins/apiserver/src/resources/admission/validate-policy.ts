/** Validation of admission policies and their bindings. */
import { policyExpressionErrors } from "../../policy/validate.ts";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validateConditions } from "../validate/conditions.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { dns1035Label, dns1123Subdomain, pathSegment, qualifiedName } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";
import { failurePolicies, supported, supportedAndThere, validateMatch } from "./validate-rule.ts";

const MAX_ANNOTATIONS = 20;
const MAX_VALUE = 5 * 1024;
const reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const isBlank = (text: unknown): boolean => typeof text !== "string" || text.trim() === "";

function validateSpec(spec: Obj): FieldError[] {
  const at = "spec.matchConstraints";
  return [
    ...supportedAndThere("spec.failurePolicy", spec.failurePolicy, failurePolicies),
    ...(isObject(spec.paramKind) ? validateParamKind("spec.paramKind", spec.paramKind) : []),
    ...(isObject(spec.matchConstraints) ? validateMatch(at, spec.matchConstraints) : [required(at)]),
    ...(isObject(spec.matchConstraints) && items(spec.matchConstraints, "resourceRules").length === 0 ? [required(`${at}.resourceRules`)] : []),
  ];
}

/** Match conditions count as right when they and the kind of the parameters are as they were. */
function expressionErrors(spec: Obj, old: Obj | undefined): FieldError[] {
  const isKept = old !== undefined && same(old.spec?.matchConditions, spec.matchConditions) && same(old.spec?.paramKind, spec.paramKind);
  return policyExpressionErrors({ spec: isKept ? { ...spec, matchConditions: [] } : spec });
}

function validateParamKind(at: string, { apiVersion, kind }: Obj): FieldError[] {
  const joined = (field: string, value: string, problems: readonly string[], before = ""): FieldError[] =>
    problems.length > 0 ? [invalidValue(field, value, before + problems.join(","))] : [];
  const errors = apiVersion ? validateGroupVersion(`${at}.apiVersion`, apiVersion, joined) : [required(`${at}.apiVersion`)];
  if (!kind) return [...errors, required(`${at}.kind`)];
  return [...errors, ...joined(`${at}.kind`, kind, dns1035Label(kind.toLowerCase()), "may have mixed case, but should otherwise match: ")];
}

type Joined = (field: string, value: string, problems: readonly string[]) => FieldError[];

function validateGroupVersion(field: string, text: string, joined: Joined): FieldError[] {
  const parts = text.split("/");
  if (parts.length > 2) return [invalidValue(field, text, `unexpected GroupVersion string: ${text}`)];
  const [version = "", group = ""] = parts.reverse();
  const errors = group ? joined(field, group, dns1123Subdomain(group)) : [];
  return version ? [...errors, ...joined(field, version, dns1035Label(version))] : [...errors, invalidValue(field, text, "version must be specified")];
}

export function validateValidatingPolicy({ metadata, spec = {} }: Obj, old?: Obj): FieldError[] {
  const [validations, annotations] = [items(spec, "validations"), items(spec, "auditAnnotations")];
  const errors = validateSpec(spec);
  if (validations.length + annotations.length === 0) {
    for (const name of ["validations", "auditAnnotations"]) errors.push(required(`spec.${name}`, "validations or auditAnnotations must contain at least one item"));
  }
  validations.forEach((validation, i) => errors.push(...validateValidation(`spec.validations[${i}]`, validation)));
  if (annotations.length > MAX_ANNOTATIONS) errors.push(invalidValue("spec.auditAnnotations", annotations, `must not have more than ${MAX_ANNOTATIONS} auditAnnotations`));
  annotations.forEach(({ key = "", valueExpression }, i) => {
    const at = `spec.auditAnnotations[${i}]`;
    const name = `${metadata?.name}/${key}`;
    errors.push(...invalidAll(`${at}.key`, name, qualifiedName(name)));
    if (isBlank(valueExpression)) errors.push(required(`${at}.valueExpression`, "valueExpression is not specified"));
    else if (valueExpression.trim().length > MAX_VALUE) errors.push(required(`${at}.valueExpression`, `must not exceed ${MAX_VALUE} bytes in length`));
    if (annotations.findIndex((other) => other.key === key) < i) errors.push(duplicate(`${at}.key`, key));
  });
  return [...errors, ...expressionErrors(spec, old)];
}

function validateValidation(at: string, { expression, message = "", messageExpression = "", reason }: Obj): FieldError[] {
  const errors = isBlank(expression) ? [required(`${at}.expression`, "expression is not specified")] : [];
  if (messageExpression && isBlank(messageExpression)) errors.push(invalidValue(`${at}.messageExpression`, messageExpression, "must be non-empty if specified"));
  if (message && isBlank(message)) errors.push(invalidValue(`${at}.message`, message, "message must be non-empty if specified"));
  else if (/[\n\r]/.test(message.trim())) errors.push(invalidValue(`${at}.message`, message, "message must not contain line breaks"));
  return [...errors, ...supported(`${at}.reason`, reason, reasons)];
}

export const validateValidatingPolicyStatus = ({ status = {} }: Obj): FieldError[] => [
  ...items(status.typeChecking, "expressionWarnings").flatMap((warning, i) => ["warning", "fieldRef"].filter((name) => isBlank(warning[name]))
    .map((name) => required(`status.typeChecking.expressionWarnings[${i}].${name}`))),
  ...validateConditions("status.conditions", items(status, "conditions")),
];

const mutable = ["*", "CONNECT", "CREATE", "UPDATE"];

/** What is deleted is not changed before. */
const validateMutable = (at: string, match: unknown): FieldError[] => (isObject(match) ? items(match, "resourceRules") : []).flatMap((rule) =>
  ((rule.operations ?? []) as string[]).flatMap((operation) => supported(`${at}.resourceRules.operations`, operation, mutable)));

export function validateMutatingPolicy({ spec = {} }: Obj, old?: Obj): FieldError[] {
  const mutations = items(spec, "mutations");
  return [
    ...validateSpec(spec), ...validateMutable("spec.matchConstraints", spec.matchConstraints),
    ...(mutations.length === 0 ? [required("spec.mutations", "mutations must contain at least one item")] : []),
    ...mutations.flatMap((mutation, i) => validateMutation(`spec.mutations[${i}]`, mutation)),
    ...supportedAndThere("spec.reinvocationPolicy", spec.reinvocationPolicy, ["Never", "IfNeeded"]), ...expressionErrors(spec, old),
  ];
}

const patchFields: Readonly<Record<string, string>> = { ApplyConfiguration: "applyConfiguration", JSONPatch: "jsonPatch" };

function validateMutation(at: string, mutation: Obj): FieldError[] {
  const { patchType } = mutation;
  if (!patchType) return [required(`${at}.patchType`)];
  const own = patchFields[patchType];
  if (!own) return [notSupported(`${at}.patchType`, patchType, Object.keys(patchFields))];
  const errors: FieldError[] = [];
  if (!isObject(mutation[own])) errors.push(required(`${at}.${own}`, `must be specified when patchType is ${patchType}`));
  else if (isBlank(mutation[own].expression)) errors.push(required(`${at}.${own}.expression`));
  const others = Object.values(patchFields).filter((field) => field !== own && isObject(mutation[field]));
  return [...errors, ...others.map((field) => invalidValue(`${at}.${field}`, `{${field}}`, `must not be specified when patchType is ${patchType}`))];
}

function validateBinding({ spec = {} }: Obj): FieldError[] {
  return [
    ...(spec.policyName ? invalidAll("spec.policyName", spec.policyName, dns1123Subdomain(spec.policyName)) : [required("spec.policyName")]),
    ...(isObject(spec.paramRef) ? validateParamRef("spec.paramRef", spec.paramRef) : []), ...validateMatch("spec.matchResources", spec.matchResources),
  ];
}

const ONE_OF = "name and selector are mutually exclusive";

function validateParamRef(at: string, { name, selector, parameterNotFoundAction: action }: Obj): FieldError[] {
  const isBoth = Boolean(name) && isObject(selector);
  return [
    ...(name ? invalidAll(`${at}.name`, name, pathSegment(name)) : []), ...(isBoth ? [forbidden(`${at}.name`, ONE_OF)] : []),
    ...validateLabelSelector(`${at}.selector`, selector), ...(isBoth ? [forbidden(`${at}.selector`, ONE_OF)] : []),
    ...(name || isObject(selector) ? [] : [required(at, "one of name or selector must be specified")]),
    ...(action ? supported(`${at}.parameterNotFoundAction`, action, ["Deny", "Allow"]) : [required(`${at}.parameterNotFoundAction`)]),
  ];
}

export const validateMutatingBinding = (binding: Obj): FieldError[] =>
  [...validateBinding(binding), ...validateMutable("spec.matchResources", binding.spec?.matchResources)];

const validationActions = ["Audit", "Deny", "Warn"];

export function validateValidatingBinding(binding: Obj): FieldError[] {
  const field = "spec.validationActions";
  const actions: string[] = binding.spec?.validationActions ?? [];
  const errors = validateBinding(binding);
  actions.forEach((action, i) => {
    errors.push(...supported(`${field}[${i}]`, action, validationActions), ...(actions.indexOf(action) < i ? [duplicate(`${field}[${i}]`, action)] : []));
  });
  if (actions.includes("Deny") && actions.includes("Warn")) {
    errors.push(invalidValue(field, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"));
  }
  return actions.length > 0 ? errors : [...errors, required(field, "at least one validation action is required")];
}
