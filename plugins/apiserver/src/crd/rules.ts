/** CEL rules of schemas (`x-kubernetes-validations`) at work on objects: compiled when first needed. */
import type { FieldError, FieldErrorType } from "@k3s-p/plugin-api/kube";
import { type Budget, newBudget, OUT_OF_BUDGET, OVER_LIMIT } from "../cel/cost.ts";
import { optional } from "../cel/engine.ts";
import { celEnvironment, compile, type Environment, type Program } from "../cel/environment.ts";
import { sameJson } from "../verbs/update.ts";
import { toCel } from "./rule-values.ts";
import { isRecord, type Node, type RuleProps } from "./schema.ts";
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

/** Titles of findings by the reason that a rule may state. */
export const titles: Readonly<Record<string, (type: string) => string>> = {
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
