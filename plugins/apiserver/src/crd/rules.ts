/** CEL rules of schemas (`x-kubernetes-validations`): checked when the definition is written, compiled when first needed. */
import type { FieldError, FieldErrorType } from "@k3s-p/plugin-api/kube";
import { type Budget, newBudget, OUT_OF_BUDGET, OVER_LIMIT } from "../cel/cost.ts";
import { optional } from "../cel/engine.ts";
import { celEnvironment, compile, type Environment, type Program } from "../cel/environment.ts";
import { isMistake } from "../cel/problems.ts";
import { schemaTypes, type TypedSchema } from "../cel/schema-types.ts";
import { invalidValue, notSupported, required } from "../resources/validate/field.ts";
import { sameJson } from "../verbs/update.ts";
import { escape, toCel } from "./rule-values.ts";
import { isRecord, type Node, type RuleProps, type SchemaProps } from "./schema.ts";
import { oldItems } from "./values.ts";

interface Rule {
  readonly props: RuleProps;
  readonly program: Program | Error;
  readonly message: Program | undefined;
  readonly usesOld: boolean;
}

let shared: Environment | undefined;
const environment = (): Environment => (shared ??= celEnvironment({ self: "dyn", oldSelf: "dyn" }));
const compiled = new WeakMap<Node, readonly Rule[]>();

export function validateRules(root: Node, object: object, old?: object): FieldError[] {
  const run: Run = { errors: [], budget: newBudget(), isOver: false };
  walk(root, object, "", run, old && { value: old }, true);
  return run.errors;
}

/** All rules of an object share one budget. */
interface Run {
  readonly errors: FieldError[];
  readonly budget: Budget;
  isOver: boolean;
}

type Before = { readonly value: unknown } | undefined;

function walk(node: Node, value: unknown, path: string, run: Run, before: Before, isRoot = false): void {
  if (!node.hasRules || value === null || value === undefined || run.isOver) return;
  if (node.rules.length > 0) runRules(node, value, path, run, before, isRoot);
  if (Array.isArray(value)) {
    const { items } = node;
    if (!items?.hasRules) return;
    const old = oldItems(before, node.listType, node.listKeys);
    value.forEach((item, i) => walk(items, item, `${path}[${i}]`, run, old?.(item)));
  } else if (isRecord(value)) {
    const previous = before && isRecord(before.value) ? before.value : undefined;
    for (const key of Object.keys(value)) {
      const field = node.fields?.get(key);
      const place = field ? (path ? `${path}.${key}` : key) : `${path}[${key}]`;
      const inner = field ?? (node.values === true ? undefined : node.values);
      const has = previous && Object.hasOwn(previous, key);
      if (inner) walk(inner, value[key], place, run, has ? { value: previous[key] } : undefined);
    }
  }
}

function runRules(node: Node, value: unknown, path: string, run: Run, before: Before, isRoot: boolean): void {
  const { errors, budget } = run;
  let variables: Record<string, unknown> | undefined;
  const isSame = before !== undefined && sameJson(before.value, value);
  for (const rule of rulesOf(node)) {
    const { props, program, usesOld } = rule;
    if (usesOld && before === undefined && !props.optionalOldSelf) continue;
    if (program instanceof Error) {
      errors.push(finding(node, path, undefined, `rule compile error: ${program.message}`));
      continue;
    }
    variables ??= { self: toCel(node, value, isRoot), oldSelf: before && toCel(node, before.value, isRoot) };
    const given = props.optionalOldSelf ? { ...variables, oldSelf: optional(variables["oldSelf"]) } : variables;
    const problem = evaluate(rule, program, given, budget);
    // What has not changed was good enough before the rule came.
    if (problem === undefined || (isSame && !usesOld)) continue;
    run.errors.push(finding(node, path, problem.failed ? props : undefined, problem.text));
    run.isOver = problem.isLast === true;
    if (run.isOver) return;
  }
}

interface Problem {
  /** The rule was evaluated, and does not hold. */
  readonly failed: boolean;
  readonly text: string;
  readonly isLast?: boolean;
}

/** Undefined when the rule holds. */
function evaluate({ props, message }: Rule, program: Program, variables: Readonly<Record<string, unknown>>, budget: Budget): Problem | undefined {
  const name = props.message?.trim() || props.rule.trim();
  try {
    if (program.evaluate(variables, budget) === true) return undefined;
  } catch (error) {
    return { failed: false, ...failureOf((error as Error).message, name) };
  }
  return { failed: true, text: ownMessage(message, variables) ?? (props.message?.trim() || `failed rule: ${name}`) };
}

/** Upstream's words. After a rule that is too dear none is evaluated any more. */
function failureOf(why: string, rule: string): { readonly text: string; readonly isLast?: boolean } {
  if (why === OUT_OF_BUDGET) return { text: why, isLast: true };
  if (why === OVER_LIMIT) return { text: `'${why}': no further validation rules will be run due to call cost exceeds limit for rule: ${rule}`, isLast: true };
  if (why.startsWith("no such overload")) return { text: `'${why}': call arguments did not match a supported operator, function or macro signature for rule: ${rule}` };
  return { text: `${why} evaluating rule: ${rule}` };
}

function ownMessage(program: Program | undefined, variables: Readonly<Record<string, unknown>>): string | undefined {
  try {
    const text = program?.evaluate(variables);
    return typeof text === "string" && text.trim() && !text.includes("\n") ? text.trim() : undefined;
  } catch {
    return undefined;
  }
}

const titles: Readonly<Record<string, (type: string) => string>> = {
  FieldValueInvalid: (type) => `Invalid value: ${JSON.stringify(type)}`,
  FieldValueDuplicate: (type) => `Duplicate value: ${JSON.stringify(type)}`,
  FieldValueForbidden: () => "Forbidden",
  FieldValueRequired: () => "Required value",
};

function finding({ types }: Node, path: string, props: RuleProps | undefined, text: string): FieldError {
  const type = props?.reason && titles[props.reason] ? props.reason : "FieldValueInvalid";
  const inner = props?.fieldPath?.replace(/^\./, "");
  const field = inner ? (path ? `${path}.${inner}` : inner) : path || "<nil>";
  return { type: type as FieldErrorType, field, message: `${titles[type]!(types.join(","))}: ${text}` };
}

function rulesOf(node: Node): readonly Rule[] {
  let rules = compiled.get(node);
  if (!rules) compiled.set(node, (rules = node.rules.map(compileRule)));
  return rules;
}

function compileRule(props: RuleProps): Rule {
  const attempt = (text: string): Program | Error => {
    try {
      return compile(environment(), text);
    } catch (error) {
      return error as Error;
    }
  };
  const program = attempt(props.rule);
  const message = props.messageExpression ? attempt(props.messageExpression) : undefined;
  return { props, program, message: message instanceof Error ? undefined : message, usesOld: !(program instanceof Error) && program.uses("oldSelf") };
}

/** Findings on the rules of a schema that is valid otherwise. */
export function ruleProblems(schema: SchemaProps, at: string): FieldError[] {
  let typed: TypedRules | undefined;
  return problemsBelow(schema, at, (below) => (typed ??= typedRules(schema))(below));
}

function problemsBelow(schema: SchemaProps, at: string, typed: TypedRules, uncorrelated?: string): FieldError[] {
  const own = (schema["x-kubernetes-validations"] ?? []).flatMap((rule, i) => problemsOf(rule, `${at}.x-kubernetes-validations[${i}]`, uncorrelated, () => typed(schema)(rule)));
  const atomic = schema["x-kubernetes-map-type"] === "atomic" ? at : uncorrelated;
  const fields = Object.entries(schema.properties ?? {}).flatMap(([name, field]) => problemsBelow(field, `${at}.properties[${name}]`, typed, atomic));
  const { additionalProperties: extra, items } = schema;
  return [
    ...own, ...fields,
    ...(isRecord(extra) ? problemsBelow(extra as SchemaProps, `${at}.additionalProperties`, typed, uncorrelated) : []),
    ...(items ? problemsBelow(items, `${at}.items`, typed, schema["x-kubernetes-list-type"] === "map" ? uncorrelated : uncorrelated ?? at) : []),
  ];
}

function problemsOf(props: RuleProps, at: string, uncorrelated: string | undefined, mistakeOf: () => Error | undefined): FieldError[] {
  if (!props.rule?.trim()) return [required(`${at}.rule`, "rule is not specified")];
  const errors: FieldError[] = [];
  if (props.message !== undefined) {
    if (!props.message.trim()) errors.push(invalidValue(`${at}.message`, props.message, "message must be non-empty if specified"));
    else if (/[\r\n]/.test(props.message.trim())) errors.push(invalidValue(`${at}.message`, props.message, "message must not contain line breaks"));
  }
  if (props.reason && !titles[props.reason]) errors.push(notSupported(`${at}.reason`, props.reason, Object.keys(titles).sort()));
  const { program, usesOld } = compileRule(props);
  const mistake = program instanceof Error ? undefined : mistakeOf();
  if (program instanceof Error) errors.push(invalidValue(`${at}.rule`, props.rule, `compilation failed: ${program.message}`));
  else if (mistake) errors.push(invalidValue(`${at}.rule`, props.rule, `compilation failed: ${mistake.message}`));
  else if (program.type !== "bool" && program.type !== "dyn") errors.push(invalidValue(`${at}.rule`, props.rule, "cel expression must evaluate to a bool"));
  if (usesOld && uncorrelated) {
    errors.push(invalidValue(`${at}.rule`, props.rule, `oldSelf cannot be used on the uncorrelatable portion of the schema within ${uncorrelated}`));
  }
  if (props.messageExpression) {
    try {
      compile(environment(), props.messageExpression);
    } catch (error) {
      errors.push(invalidValue(`${at}.messageExpression`, props.messageExpression, `messageExpression compilation failed: ${(error as Error).message}`));
    }
  }
  return errors;
}

/** By schema: what is wrong with a rule of it, given the types of the fields; undefined when nothing is. */
type TypedRules = (schema: SchemaProps) => (rule: RuleProps) => Error | undefined;

/** All schemas with rules become types of one environment, of which each rule then gets a copy with its own `self`. */
function typedRules(root: SchemaProps): TypedRules {
  const base = celEnvironment({});
  const types = schemaTypes({ environment: base, fieldName: escape });
  const names = new Map<SchemaProps, string>();
  const visit = (schema: SchemaProps): void => {
    if (schema["x-kubernetes-validations"]?.length) names.set(schema, types.typeOf((schema === root ? asResource(schema) : schema) as TypedSchema));
    for (const inner of [...Object.values(schema.properties ?? {}), schema.items, schema.additionalProperties]) if (isRecord(inner)) visit(inner as SchemaProps);
  };
  visit(root);
  const environments = new Map<string, Environment>();
  const environmentOf = (type: string): Environment => {
    const known = environments.get(type);
    if (known) return known;
    const made = base.clone().registerVariable("self", type).registerVariable("oldSelf", "dyn");
    environments.set(type, made);
    return made;
  };
  return (schema) => ({ rule }) => {
    try {
      compile(environmentOf(names.get(schema) ?? "dyn"), rule);
      return undefined;
    } catch (error) {
      return isMistake(error) ? (error as Error) : undefined;
    }
  };
}

const nameFields: TypedSchema = { type: "object", properties: { name: { type: "string" }, generateName: { type: "string" } } };

/** Of the metadata rules see the name and nothing else. */
const asResource = (schema: SchemaProps): object =>
  ({ ...schema, properties: { ...schema.properties, apiVersion: { type: "string" }, kind: { type: "string" }, metadata: nameFields } });
