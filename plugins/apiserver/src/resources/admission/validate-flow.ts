/** Validation of flow control. */
import { mandatory } from "../../flowcontrol/defaults.ts";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain } from "../validate/names.ts";

const MAX_PRECEDENCE = 10_000;
const EXEMPT = "exempt";
const verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const methods = ["ByNamespace", "ByUser"];

/** Those that every cluster has are what they are. */
function isFixed({ metadata, spec }: Obj, fixed: readonly Obj[]): FieldError[] {
  const own = fixed.find((object) => object.metadata?.name === metadata?.name);
  return own && !same(own.spec, spec) ? [invalidValue("spec", spec, `spec of '${metadata?.name}' must equal the fixed value`)] : [];
}

export function validateFlowSchema(schema: Obj): FieldError[] {
  const { matchingPrecedence: precedence, distinguisherMethod: method, priorityLevelConfiguration: level } = schema.spec;
  const errors: FieldError[] = [];
  if (precedence <= 0) errors.push(invalidValue("spec.matchingPrecedence", precedence, "must be a positive value"));
  if (precedence > MAX_PRECEDENCE) errors.push(invalidValue("spec.matchingPrecedence", precedence, `must not be greater than ${MAX_PRECEDENCE}`));
  if (precedence === 1 && schema.metadata?.name !== EXEMPT) {
    errors.push(invalidValue("spec.matchingPrecedence", precedence, "only the schema named 'exempt' may have matchingPrecedence 1"));
  }
  if (isObject(method) && !methods.includes(method.type)) errors.push(notSupported("spec.distinguisherMethod.type", method, methods));
  const field = "spec.priorityLevelConfiguration.name";
  errors.push(...(level?.name ? invalidAll(field, level.name, dns1123Subdomain(level.name)) : [required(field, "must reference a priority level")]));
  items(schema.spec, "rules").forEach((rule, i) => errors.push(...validateRule(`spec.rules[${i}]`, rule)));
  return [...errors, ...isFixed(schema, mandatory.schemas)];
}

function validateRule(at: string, rule: Obj): FieldError[] {
  const [subjects, resources, others] = [items(rule, "subjects"), items(rule, "resourceRules"), items(rule, "nonResourceRules")];
  return [
    ...(subjects.length === 0 ? [required(`${at}.subjects`, "subjects must contain at least one value")] : []),
    ...subjects.flatMap((subject, i) => validateSubject(`${at}.subjects[${i}]`, subject)),
    ...(resources.length + others.length === 0 ? [required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")] : []),
    ...resources.flatMap((resource, i) => validateResourceRule(`${at}.resourceRules[${i}]`, resource)),
    ...others.flatMap((other, i) => [
      ...validateVerbs(`${at}.nonResourceRules[${i}].verbs`, other.verbs ?? []), ...validateUrls(`${at}.nonResourceRules[${i}].nonResourceURLs`, other.nonResourceURLs ?? []),
    ]),
  ];
}

const subjectFields: Readonly<Record<string, string>> = { Group: "group", ServiceAccount: "serviceAccount", User: "user" };

function validateSubject(at: string, subject: Obj): FieldError[] {
  const own = subjectFields[subject.kind as string];
  if (!own) return [notSupported(`${at}.kind`, subject.kind ?? "", Object.keys(subjectFields))];
  const others = Object.entries(subjectFields).filter(([, field]) => field !== own && isObject(subject[field]))
    .map(([kind, field]) => forbidden(`${at}.${field}`, `${field} is forbidden when subject kind is not '${kind}'`));
  if (!isObject(subject[own])) return [required(`${at}.${own}`, `${own} is required when subject kind is '${subject.kind}'`), ...others];
  const { name, namespace } = subject[own] as Obj;
  const errors = name ? [] : [required(`${at}.${own}.name`)];
  if (own !== "serviceAccount") return [...errors, ...others];
  if (name && name !== "*") errors.push(...invalidAll(`${at}.${own}.name`, name, dns1123Subdomain(name)));
  errors.push(...(namespace ? invalidAll(`${at}.${own}.namespace`, namespace, dns1123Label(namespace)) : [required(`${at}.${own}.namespace`, "must specify namespace for service account")]));
  return [...errors, ...others];
}

function wildcardAlone(field: string, list: readonly string[], others: string): FieldError[] {
  return list.length > 1 && list.includes("*") ? [invalidValue(field, list, `if '*' is present, must not specify other ${others}`)] : [];
}

function validateVerbs(field: string, list: readonly string[]): FieldError[] {
  if (list.length === 0) return [required(field, "verbs must contain at least one value")];
  if (list.includes("*")) return wildcardAlone(field, list, "verbs");
  return list.every((verb) => verbs.includes(verb)) ? [] : [notSupported(field, list, verbs)];
}

function validateResourceRule(at: string, { verbs: given = [], apiGroups = [], resources = [], namespaces = [], clusterScope }: Obj): FieldError[] {
  const errors = validateVerbs(`${at}.verbs`, given);
  errors.push(...(apiGroups.length > 0 ? wildcardAlone(`${at}.apiGroups`, apiGroups, "api groups") : [required(`${at}.apiGroups`, "resource rules must supply at least one api group")]));
  errors.push(...(resources.length > 0 ? wildcardAlone(`${at}.resources`, resources, "resources") : [required(`${at}.resources`, "resource rules must supply at least one resource")]));
  const field = `${at}.namespaces`;
  if (namespaces.length === 0 && !clusterScope) return [...errors, required(field, "resource rules that are not cluster scoped must supply at least one namespace")];
  if (namespaces.includes("*")) return [...errors, ...wildcardAlone(field, namespaces, "namespaces")];
  return [...errors, ...(namespaces as string[]).flatMap((namespace, i) =>
    dns1123Label(namespace).map((why) => invalidValue(`${field}[${i}]`, namespace, `each member of this list must be '*' or a DNS-1123 label; ${why}`)))];
}

function validateUrls(field: string, urls: readonly string[]): FieldError[] {
  if (urls.length === 0) return [required(field, "nonResourceURLs must contain at least one value")];
  if (urls.includes("*")) return wildcardAlone(field, urls, "non-resource URLs");
  return urls.flatMap((url, i) => {
    const problem = urlProblem(url);
    return problem ? [invalidValue(`${field}[${i}]`, url, problem)] : [];
  });
}

function urlProblem(url: string): string | undefined {
  if (url === "") return "must not be empty";
  if (url === "/") return undefined;
  if (!url.startsWith("/")) return "must start with slash";
  if (url.includes(" ")) return "must not contain white-space";
  if (url.includes("//")) return "must not contain double slash";
  return /\*./.test(url) || (url.endsWith("*") && !url.endsWith("/*")) ? "wildcard can only do suffix matching" : undefined;
}

export function validatePriorityLevel(level: Obj): FieldError[] {
  const { metadata, spec } = level;
  const errors: FieldError[] = [];
  if ((metadata?.name === EXEMPT) !== (spec.type === "Exempt")) errors.push(invalidValue("spec.type", spec.type ?? "", "must be 'Exempt' if and only if `name` is 'exempt'"));
  if (spec.type === "Exempt") return [...errors, ...validateExempt(spec)];
  if (spec.type !== "Limited") return [...errors, notSupported("spec.type", spec.type ?? "", ["Exempt", "Limited"])];
  if (spec.exempt) errors.push(forbidden("spec.exempt", "must be nil if the type is Limited"));
  return [...errors, ...(isObject(spec.limited) ? validateLimited(spec.limited) : [required("spec.limited", "must not be empty when type is Limited")]), ...isFixed(level, mandatory.levels)];
}

function validateExempt({ limited, exempt }: Obj): FieldError[] {
  const errors = limited ? [forbidden("spec.limited", "must be nil if the type is not Limited")] : [];
  return [...errors, ...(isObject(exempt) ? validateShares("spec.exempt", exempt) : [required("spec.exempt", "must not be empty when type is Exempt")])];
}

function validateShares(at: string, { nominalConcurrencyShares: shares, lendablePercent: lendable }: Obj): FieldError[] {
  return [
    ...(shares < 0 ? [invalidValue(`${at}.nominalConcurrencyShares`, shares, "must be a non-negative integer")] : []),
    ...(lendable < 0 || lendable > 100 ? [invalidValue(`${at}.lendablePercent`, lendable, "must be between 0 and 100, inclusive")] : []),
  ];
}

function validateLimited(limited: Obj): FieldError[] {
  const { borrowingLimitPercent: borrowing, limitResponse = {} } = limited;
  return [
    ...validateShares("spec.limited", limited),
    ...(borrowing < 0 ? [invalidValue("spec.limited.borrowingLimitPercent", borrowing, "if specified, must be a non-negative integer")] : []),
    ...validateLimitResponse("spec.limited.limitResponse", limitResponse),
  ];
}

const MAX_QUEUES = 10_000_000;
const MAX_ENTROPY = 60;

function validateLimitResponse(at: string, { type, queuing }: Obj): FieldError[] {
  if (type === "Reject") return queuing ? [forbidden(`${at}.queuing`, "must be nil if limited.limitResponse.type is not Limited")] : [];
  if (type !== "Queue") return [notSupported(`${at}.type`, type ?? "", ["Queue", "Reject"])];
  if (!isObject(queuing)) return [required(`${at}.queuing`, "must not be empty if limited.limitResponse.type is Limited")];
  const { queueLengthLimit, queues, handSize } = queuing;
  const problems = {
    queueLengthLimit: queueLengthLimit > 0 ? undefined : "must be positive",
    queues: !(queues > 0) ? "must be positive" : queues > MAX_QUEUES ? `must not be greater than ${MAX_QUEUES}` : undefined,
    handSize: handSizeProblem(queues, handSize),
  };
  return Object.entries(problems).flatMap(([name, problem]) => (problem ? [invalidValue(`${at}.queuing.${name}`, queuing[name] ?? 0, problem)] : []));
}

/** A hand of queues is dealt from the bits of a hash, of which there are so many. */
function handSizeProblem(queues: number, handSize: number): string | undefined {
  if (!(handSize > 0)) return "must be positive";
  if (handSize > queues) return `should not be greater than queues (${queues})`;
  return Math.ceil(Math.log2(queues) * handSize) > MAX_ENTROPY
    ? `required entropy bits of deckSize ${queues} and handSize ${handSize} should not be greater than ${MAX_ENTROPY}` : undefined;
}

export function validateFlowStatus({ status }: Obj): FieldError[] {
  const types = items(status, "conditions").map(({ type = "" }) => type as string);
  return types.flatMap((type, i) => [
    ...(types.indexOf(type) < i ? [duplicate(`status.conditions[${i}].type`, type)] : []), ...(type ? [] : [required(`status.conditions[${i}].type`, "must not be empty")]),
  ]);
}
