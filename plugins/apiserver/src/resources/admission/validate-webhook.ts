/** Validation of webhook configurations. What an old configuration has wrong of newer rules, an update may leave so. */
import { webhookConditionErrors } from "../../policy/validate.ts";
import { items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { dns1035Label, dns1123Subdomain } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";
import { validateClient } from "./validate-client.ts";
import { failurePolicies, matchPolicies, reinvocationPolicies, supported, validateRule } from "./validate-rule.ts";

interface Strictness {
  readonly conditions: boolean;
  readonly sideEffects: readonly string[];
  readonly knownVersion: boolean;
  readonly uniqueNames: boolean;
}

const harmless = ["None", "NoneOnDryRun"];
const versions = ["v1", "v1beta1"];
const webhooksOf = (configuration: Obj): Obj[] => items(configuration, "webhooks");
const understands = ({ admissionReviewVersions: given = [] }: Obj): boolean => given.some((version: string) => versions.includes(version));

export const validateWebhooks = (configuration: Obj): FieldError[] =>
  validateAll(configuration, { conditions: true, sideEffects: harmless, knownVersion: true, uniqueNames: true });

export function validateWebhooksUpdate(configuration: Obj, old: Obj): FieldError[] {
  const before = webhooksOf(old);
  const conditionsOf = (object: Obj): unknown => webhooksOf(object).map(({ matchConditions = [] }) => matchConditions);
  return validateAll(configuration, {
    conditions: !same(conditionsOf(configuration), conditionsOf(old)),
    sideEffects: before.every(({ sideEffects }) => harmless.includes(sideEffects)) ? harmless : [...harmless, "Some", "Unknown"],
    knownVersion: before.every((webhook) => !webhook.admissionReviewVersions?.length || understands(webhook)),
    uniqueNames: new Set(before.map(({ name }) => name)).size === before.length,
  });
}

function validateAll(configuration: Obj, strictness: Strictness): FieldError[] {
  const webhooks = webhooksOf(configuration);
  const names = webhooks.map(({ name }) => name);
  return webhooks.flatMap((webhook, i) => [
    ...validateWebhook(`webhooks[${i}]`, webhook, strictness), ...validateVersions(`webhooks[${i}].admissionReviewVersions`, webhook, strictness),
    ...(strictness.uniqueNames && webhook.name && names.indexOf(webhook.name) < i ? [duplicate(`webhooks[${i}].name`, webhook.name)] : []),
  ]);
}

function validateWebhook(at: string, webhook: Obj, { sideEffects, conditions }: Strictness): FieldError[] {
  const { timeoutSeconds: timeout } = webhook;
  return [
    ...validateFullName(`${at}.name`, webhook.name),
    ...items(webhook, "rules").flatMap((rule, i) => validateRule(`${at}.rules[${i}]`, rule)),
    ...supported(`${at}.failurePolicy`, webhook.failurePolicy, failurePolicies), ...supported(`${at}.matchPolicy`, webhook.matchPolicy, matchPolicies),
    ...validateSideEffects(`${at}.sideEffects`, webhook.sideEffects, sideEffects),
    ...(timeout != null && (timeout < 1 || timeout > 30) ? [invalidValue(`${at}.timeoutSeconds`, timeout, "the timeout value must be between 1 and 30 seconds")] : []),
    ...["namespaceSelector", "objectSelector"].flatMap((name) => validateLabelSelector(`${at}.${name}`, webhook[name])),
    ...supported(`${at}.reinvocationPolicy`, webhook.reinvocationPolicy, reinvocationPolicies),
    ...validateClient(`${at}.clientConfig`, webhook.clientConfig),
    ...(conditions ? webhookConditionErrors(`${at}.matchConditions`, items(webhook, "matchConditions")) : []),
  ];
}

function validateSideEffects(field: string, value: unknown, allowed: readonly string[]): FieldError[] {
  if (value == null) return [required(field, `must specify one of ${allowed.join(", ")}`)];
  return allowed.includes(value as string) ? [] : [notSupported(field, value, allowed)];
}

function validateFullName(field: string, name: unknown): FieldError[] {
  if (typeof name !== "string" || name === "") return [required(field)];
  const problems = dns1123Subdomain(name);
  if (problems.length > 0) return [invalidValue(field, name, problems.join(","))];
  return name.split(".").length < 3 ? [invalidValue(field, name, "should be a domain with at least three segments separated by dots")] : [];
}

function validateVersions(field: string, webhook: Obj, { knownVersion }: Strictness): FieldError[] {
  const given: string[] = webhook.admissionReviewVersions ?? [];
  if (given.length === 0) return [required(field, `must specify one of ${versions.join(", ")}`)];
  const errors = given.flatMap((version, i) => (given.indexOf(version) < i ? [invalidValue(`${field}[${i}]`, version, "duplicate version")]
    : invalidAll(`${field}[${i}]`, version, dns1035Label(version))));
  return knownVersion && !understands(webhook) ? [...errors, invalidValue(field, given, `must include at least one of ${versions.join(", ")}`)] : errors;
}
