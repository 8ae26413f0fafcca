/** Validation of webhook configurations, admission policies and flow control. */
import { policyExpressionErrors, webhookConditionErrors } from "../../policy/validate.ts";
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notSupported, oneOf, optionalOneOf, required } from "../validate/field.ts";
import { dns1123Subdomain } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";

const operations = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const scopes = ["*", "Cluster", "Namespaced"];
const failurePolicies = ["Fail", "Ignore"];
const matchPolicies = ["Equivalent", "Exact"];
const SEGMENTS = "should be a domain with at least three segments separated by dots";

export function validateWebhooks(configuration: Obj): FieldError[] {
  const names = new Set<string>();
  return items(configuration, "webhooks").flatMap((webhook, i) => {
    const at = `webhooks[${i}]`;
    const errors = validateWebhook(at, webhook);
    if (webhook.name && names.has(webhook.name)) errors.push(duplicate(`${at}.name`, webhook.name));
    names.add(webhook.name);
    return errors;
  });
}

function validateWebhook(at: string, webhook: Obj): FieldError[] {
  const errors = validateQualifiedDomain(`${at}.name`, webhook.name);
  items(webhook, "rules").forEach((rule, i) => errors.push(...validateRule(`${at}.rules[${i}]`, rule)));
  errors.push(
    ...optionalOneOf(`${at}.failurePolicy`, webhook.failurePolicy, failurePolicies),
    ...optionalOneOf(`${at}.matchPolicy`, webhook.matchPolicy, matchPolicies),
    ...oneOf(`${at}.sideEffects`, webhook.sideEffects, ["None", "NoneOnDryRun"]),
    ...optionalOneOf(`${at}.reinvocationPolicy`, webhook.reinvocationPolicy, ["IfNeeded", "Never"]),
  );
  const timeout = webhook.timeoutSeconds;
  if (timeout != null && (timeout < 1 || timeout > 30)) errors.push(invalidValue(`${at}.timeoutSeconds`, timeout, "the timeout value must be between 1 and 30 seconds"));
  for (const name of ["namespaceSelector", "objectSelector"]) errors.push(...validateLabelSelector(`${at}.${name}`, webhook[name]));
  errors.push(...validateClient(`${at}.clientConfig`, webhook.clientConfig));
  if (!webhook.admissionReviewVersions?.length) {
    errors.push(required(`${at}.admissionReviewVersions`, "must specify one of v1, v1beta1"));
  } else if (!webhook.admissionReviewVersions.some((v: string) => v === "v1" || v === "v1beta1")) {
    errors.push(invalidValue(`${at}.admissionReviewVersions`, webhook.admissionReviewVersions, "must include at least one of v1, v1beta1"));
  }
  return [...errors, ...webhookConditionErrors(`${at}.matchConditions`, items(webhook, "matchConditions"))];
}

function validateQualifiedDomain(field: string, name: unknown): FieldError[] {
  if (typeof name !== "string" || name === "") return [required(field)];
  const errors = invalidAll(field, name, dns1123Subdomain(name));
  return errors.length === 0 && name.split(".").length < 3 ? [invalidValue(field, name, SEGMENTS)] : errors;
}

function validateRule(at: string, rule: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (!rule.operations?.length) errors.push(required(`${at}.operations`));
  ((rule.operations ?? []) as string[]).forEach((operation, i) => {
    if (!operations.includes(operation)) errors.push(notSupported(`${at}.operations[${i}]`, operation, operations));
  });
  for (const name of ["apiGroups", "apiVersions", "resources"]) {
    const list: string[] = rule[name] ?? [];
    if (list.length === 0) errors.push(required(`${at}.${name}`));
    if (list.length > 1 && list.includes("*")) errors.push(invalidValue(`${at}.${name}`, list, "if '*' is present, must not specify other " + wildcardWord(name)));
  }
  return [...errors, ...optionalOneOf(`${at}.scope`, rule.scope, scopes)];
}

const wildcardWord = (list: string): string => ({ apiGroups: "API groups", apiVersions: "API versions" })[list] ?? "resources";

function validateClient(at: string, config: unknown): FieldError[] {
  const { url, service } = isObject(config) ? config : {};
  if (Boolean(url) === isObject(service)) return [required(at, "exactly one of url or service is required")];
  if (url) return validateUrl(`${at}.url`, url);
  const errors = ["namespace", "name"].filter((name) => !service[name]).map((name) => required(`${at}.service.${name}`, `service ${name} is required`));
  const port = service.port;
  if (port != null && (port < 1 || port > 65535)) errors.push(invalidValue(`${at}.service.port`, port, "port is not valid: must be between 1 and 65535, inclusive"));
  if (service.path && !service.path.startsWith("/")) errors.push(invalidValue(`${at}.service.path`, service.path, "must start with a '/'"));
  return errors;
}

function validateUrl(field: string, text: string): FieldError[] {
  const url = URL.parse(text);
  if (!url) return [invalidValue(field, text, "url must be a valid URL: should have the form https://host[:port]/path")];
  if (url.protocol !== "https:") return [invalidValue(field, url.protocol.slice(0, -1), "'https' is the only allowed URL scheme")];
  return url.username || url.password ? [invalidValue(field, url.username, "user information is not permitted in the URL")] : [];
}

export function validatePolicy({ spec = {} }: Obj): FieldError[] {
  const errors = optionalOneOf("spec.failurePolicy", spec.failurePolicy, failurePolicies);
  if (!isObject(spec.matchConstraints)) errors.push(required("spec.matchConstraints"));
  else errors.push(...validateMatch("spec.matchConstraints", spec.matchConstraints, true));
  if (isObject(spec.paramKind)) for (const name of ["apiVersion", "kind"]) if (!spec.paramKind[name]) errors.push(required(`spec.paramKind.${name}`));
  items(spec, "validations").forEach((validation, i) => {
    if (!validation.expression?.trim()) errors.push(required(`spec.validations[${i}].expression`, "expression is not specified"));
  });
  return [...errors, ...policyExpressionErrors({ spec })];
}

export function validateValidatingPolicy(policy: Obj): FieldError[] {
  const errors = validatePolicy(policy);
  if (policy.spec?.validations?.length || policy.spec?.auditAnnotations?.length) return errors;
  return [...errors, required("spec.validations", "validations or auditAnnotations must contain at least one item")];
}

export function validateMutatingPolicy(policy: Obj): FieldError[] {
  const errors = validatePolicy(policy);
  errors.push(...oneOf("spec.reinvocationPolicy", policy.spec?.reinvocationPolicy, ["IfNeeded", "Never"]));
  if (!policy.spec?.mutations?.length) errors.push(required("spec.mutations", "mutations must contain at least one item"));
  return errors;
}

function validateMatch(at: string, match: Obj, needsRules: boolean): FieldError[] {
  const rules = items(match, "resourceRules");
  const errors: FieldError[] = needsRules && rules.length === 0 ? [required(`${at}.resourceRules`)] : [];
  rules.forEach((rule, i) => errors.push(...validateRule(`${at}.resourceRules[${i}]`, rule)));
  for (const name of ["namespaceSelector", "objectSelector"]) errors.push(...validateLabelSelector(`${at}.${name}`, match[name]));
  return [...errors, ...optionalOneOf(`${at}.matchPolicy`, match.matchPolicy, matchPolicies)];
}

export function validatePolicyBinding({ spec = {} }: Obj): FieldError[] {
  const errors: FieldError[] = spec.policyName ? invalidAll("spec.policyName", spec.policyName, dns1123Subdomain(spec.policyName)) : [required("spec.policyName")];
  if (isObject(spec.paramRef)) {
    const { name, selector } = spec.paramRef;
    if (!name === !selector) errors.push(invalidValue("spec.paramRef", spec.paramRef, "one of name or selector must be specified"));
    errors.push(...oneOf("spec.paramRef.parameterNotFoundAction", spec.paramRef.parameterNotFoundAction, ["Allow", "Deny"]));
  }
  if (isObject(spec.matchResources)) errors.push(...validateMatch("spec.matchResources", spec.matchResources, false));
  return errors;
}

export function validateValidatingBinding(binding: Obj): FieldError[] {
  const errors = validatePolicyBinding(binding);
  const actions: string[] = binding.spec?.validationActions ?? [];
  if (actions.length === 0) errors.push(required("spec.validationActions", "at least one validation action is required"));
  actions.forEach((action, i) => {
    if (!["Audit", "Deny", "Warn"].includes(action)) errors.push(notSupported(`spec.validationActions[${i}]`, action, ["Audit", "Deny", "Warn"]));
    if (actions.indexOf(action) < i) errors.push(duplicate(`spec.validationActions[${i}]`, action));
  });
  return errors;
}

export function validateFlowSchema({ spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.matchingPrecedence <= 0) errors.push(invalidValue("spec.matchingPrecedence", spec.matchingPrecedence, "must be a positive value"));
  if (spec.matchingPrecedence > 10_000) errors.push(invalidValue("spec.matchingPrecedence", spec.matchingPrecedence, "must not be greater than 10000"));
  if (spec.distinguisherMethod) errors.push(...oneOf("spec.distinguisherMethod.type", spec.distinguisherMethod.type, ["ByNamespace", "ByUser"]));
  if (!spec.priorityLevelConfiguration?.name) errors.push(required("spec.priorityLevelConfiguration.name", "must reference a priority level"));
  items(spec, "rules").forEach((rule, i) => {
    if (!rule.subjects?.length) errors.push(required(`spec.rules[${i}].subjects`, "subjects must contain at least one value"));
    items(rule, "subjects").forEach((subject, j) => errors.push(...validateFlowSubject(`spec.rules[${i}].subjects[${j}]`, subject)));
    if (!rule.resourceRules?.length && !rule.nonResourceRules?.length) {
      errors.push(required(`spec.rules[${i}]`, "at least one of resourceRules and nonResourceRules has to be non-empty"));
    }
  });
  return errors;
}

const subjectFields: Readonly<Record<string, string>> = { Group: "group", ServiceAccount: "serviceAccount", User: "user" };

function validateFlowSubject(at: string, subject: Obj): FieldError[] {
  const own = subjectFields[subject.kind as string];
  if (!own) return [notSupported(`${at}.kind`, subject.kind ?? "", Object.keys(subjectFields))];
  const others = Object.values(subjectFields).filter((field) => field !== own && isObject(subject[field]))
    .map((field) => forbidden(`${at}.${field}`, `${field} is forbidden when subject kind is not '${field[0]!.toUpperCase()}${field.slice(1)}'`));
  if (!isObject(subject[own])) return [...others, required(`${at}.${own}`, `${own} is required when subject kind is '${subject.kind}'`)];
  return subject[own].name ? others : [...others, required(`${at}.${own}.name`)];
}

const MAX_QUEUES = 10_000_000;

function validateLimitResponse(at: string, { type, queuing }: Obj): FieldError[] {
  if (type === "Reject") return queuing ? [forbidden(`${at}.queuing`, "must be nil if limited.limitResponse.type is not Limited")] : [];
  if (type !== "Queue") return [notSupported(`${at}.type`, type ?? "", ["Queue", "Reject"])];
  if (!isObject(queuing)) return [required(`${at}.queuing`, "must not be empty if limited.limitResponse.type is Limited")];
  const errors = ["queueLengthLimit", "queues", "handSize"].filter((name) => !(queuing[name] > 0))
    .map((name) => invalidValue(`${at}.queuing.${name}`, queuing[name] ?? 0, "must be positive"));
  if (queuing.queues > MAX_QUEUES) errors.push(invalidValue(`${at}.queuing.queues`, queuing.queues, `must not be greater than ${MAX_QUEUES}`));
  if (queuing.handSize > queuing.queues) errors.push(invalidValue(`${at}.queuing.handSize`, queuing.handSize, `should not be greater than queues (${queuing.queues})`));
  return errors;
}

export function validatePriorityLevel({ spec }: Obj): FieldError[] {
  switch (spec.type) {
    case "Exempt":
      return spec.limited ? [forbidden("spec.limited", "must be nil if the type is not Limited")] : [];
    case "Limited": {
      if (!isObject(spec.limited)) return [required("spec.limited", "must not be empty when type is Limited")];
      const errors: FieldError[] = [];
      if (spec.limited.nominalConcurrencyShares < 0) errors.push(invalidValue("spec.limited.nominalConcurrencyShares", spec.limited.nominalConcurrencyShares, "must be a non-negative integer"));
      const lendable = spec.limited.lendablePercent;
      if (lendable != null && (lendable < 0 || lendable > 100)) errors.push(invalidValue("spec.limited.lendablePercent", lendable, "must be between 0 and 100, inclusive"));
      if (spec.limited.borrowingLimitPercent < 0) errors.push(invalidValue("spec.limited.borrowingLimitPercent", spec.limited.borrowingLimitPercent, "if specified, must be a non-negative integer"));
      return [...errors, ...validateLimitResponse("spec.limited.limitResponse", spec.limited.limitResponse ?? {})];
    }
    default:
      return [notSupported("spec.type", spec.type ?? "", ["Exempt", "Limited"])];
  }
}

