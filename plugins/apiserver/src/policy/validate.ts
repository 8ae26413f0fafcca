/** Validation of the expressions of policies and webhooks: they have to compile, to the type that their place needs. */
import { items } from "../resources/fields.ts";
import type { Obj } from "../resources/types.ts";
import { duplicate, type FieldError, invalidAll, invalidValue, required } from "../resources/validate/field.ts";
import { qualifiedName } from "../resources/validate/names.ts";
import { compiled } from "../webhook/conditions.ts";
import { requestEnvironment } from "../webhook/evaluation.ts";
import type { Environment } from "../cel/environment.ts";
import { withoutConstructors } from "./construct.ts";
import { policyEnvironment } from "./policies.ts";

const MAX_CONDITIONS = 64;

let shared: Environment | undefined;

export function webhookConditionErrors(at: string, conditions: readonly Obj[]): FieldError[] {
  if (conditions.length === 0) return [];
  return conditionErrors(at, conditions, (shared ??= requestEnvironment()));
}

export function policyExpressionErrors({ spec = {} }: Obj): FieldError[] {
  const environment = policyEnvironment();
  const one = (at: string, text: unknown, type?: string): FieldError[] => expressionErrors(environment, at, text, type);
  return [
    ...conditionErrors("spec.matchConditions", items(spec, "matchConditions"), environment),
    ...items(spec, "variables").flatMap(({ name, expression }, i) => [
      ...variableNameErrors(`spec.variables[${i}].name`, name ?? ""),
      ...(isBlank(expression) ? [required(`spec.variables[${i}].expression`, "expression is not specified")] : one(`spec.variables[${i}].expression`, expression)),
    ]),
    ...items(spec, "validations").flatMap(({ expression, messageExpression }, i) => [
      ...one(`spec.validations[${i}].expression`, expression, "bool"), ...(messageExpression ? one(`spec.validations[${i}].messageExpression`, messageExpression, "string") : []),
    ]),
    ...items(spec, "auditAnnotations").flatMap(({ valueExpression }, i) => one(`spec.auditAnnotations[${i}].valueExpression`, valueExpression)),
    ...items(spec, "mutations").flatMap(({ applyConfiguration, jsonPatch }, i) => [
      ...one(`spec.mutations[${i}].applyConfiguration.expression`, applyConfiguration?.expression), ...one(`spec.mutations[${i}].jsonPatch.expression`, jsonPatch?.expression),
    ]),
  ];
}

const reserved = new Set([
  "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return",
  "var", "void", "while",
]);

function variableNameErrors(field: string, name: string): FieldError[] {
  if (isBlank(name)) return [required(field, "name is not specified")];
  return /^[A-Za-z_]\w*$/.test(name) && !reserved.has(name) ? [] : [invalidValue(field, name, "name is not a valid CEL identifier")];
}

const isBlank = (text: unknown): boolean => typeof text !== "string" || text.trim() === "";

function conditionErrors(at: string, conditions: readonly Obj[], environment: Environment): FieldError[] {
  const errors = conditions.flatMap(({ name, expression }, i) => [
    ...(isBlank(expression) ? [required(`${at}[${i}].expression`)] : expressionErrors(environment, `${at}[${i}].expression`, expression, "bool")),
    ...(name ? invalidAll(`${at}[${i}].name`, name, qualifiedName(name)) : [required(`${at}[${i}].name`)]),
    ...(name && conditions.findIndex((other) => other["name"] === name) < i ? [duplicate(`${at}[${i}].name`, name)] : []),
  ]);
  if (conditions.length <= MAX_CONDITIONS) return errors;
  return [...errors, { type: "FieldValueTooMany", field: at, message: `Too many: ${conditions.length}: must have at most ${MAX_CONDITIONS} items` }];
}

function expressionErrors(environment: Environment, at: string, text: unknown, type?: string): FieldError[] {
  if (typeof text !== "string" || isBlank(text)) return [];
  const program = compiled(environment, withoutConstructors(text));
  if (program instanceof Error) return [invalidValue(at, text, `compilation failed: ${program.message}`)];
  if (!type || program.type === type || program.type === "dyn") return [];
  return [invalidValue(at, text, `must evaluate to ${type}`)];
}
