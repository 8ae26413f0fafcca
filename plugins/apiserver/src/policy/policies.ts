/** The admission policies in force, with their bindings: read again when one changes, compiled when first needed. */
import type { Environment, Program } from "../cel/environment.ts";
import type { Obj } from "../resources/types.ts";
import type { Store } from "../store/store.ts";
import { type Condition, type Conditions, compiled, createConditions } from "../webhook/conditions.ts";
import { requestEnvironment } from "../webhook/evaluation.ts";
import type { Matching } from "../webhook/forms.ts";
import type { Rule, Selectors } from "../webhook/rules.ts";
import { withoutConstructors } from "./construct.ts";

export interface Match extends Matching, Selectors {
  readonly exclude: readonly Rule[];
}

export interface Expression {
  readonly text: string;
  readonly program: () => Program | Error;
}

export interface Validation {
  readonly expression: Expression;
  readonly message: string;
  readonly messageExpression: Expression | undefined;
  readonly reason: string;
}

export interface Mutation {
  readonly patchType: "ApplyConfiguration" | "JSONPatch";
  readonly expression: Expression;
}

export interface Policy {
  readonly name: string;
  readonly match: Match;
  readonly paramKind: { readonly apiVersion: string; readonly kind: string } | undefined;
  readonly isFailClosed: boolean;
  readonly isReinvoked: boolean;
  readonly conditions: Conditions | undefined;
  readonly variables: readonly { readonly name: string; readonly expression: Expression }[];
  readonly validations: readonly Validation[];
  readonly auditAnnotations: readonly { readonly key: string; readonly value: Expression }[];
  readonly mutations: readonly Mutation[];
  readonly bindings: readonly Binding[];
}

export interface ParamRef {
  readonly name?: string;
  readonly namespace?: string;
  readonly selector?: object;
  readonly parameterNotFoundAction?: "Allow" | "Deny";
}

export interface Binding {
  readonly name: string;
  /** Undefined = whatever the policy matches. */
  readonly match: Match | undefined;
  readonly paramRef: ParamRef | undefined;
  readonly actions: readonly string[];
}

export interface Policies {
  /** In the order of their names; only those with a binding. */
  list(): readonly Policy[];
}

export function followPolicies(store: Pick<Store, "collection" | "list">, plural: string): Policies {
  const group = "admissionregistration.k8s.io";
  const bindings = plural.replace(/ies$/, "ybindings");
  let policies: readonly Policy[] | undefined;
  for (const name of [plural, bindings]) store.collection({ group, plural: name }).subscribe(() => (policies = undefined));
  return { list: () => (policies ??= read(store.list(group, plural), store.list(group, bindings))) };
}

const byName = (a: Obj, b: Obj): number => (a.metadata!.name! < b.metadata!.name! ? -1 : 1);

const read = (policies: readonly Obj[], bindings: readonly Obj[]): readonly Policy[] =>
  [...policies].sort(byName).flatMap((policy) => {
    const own = bindings.filter((binding) => binding["spec"]?.policyName === policy.metadata!.name).sort(byName);
    return own.length > 0 ? [policyOf(policy, own.map(bindingOf))] : [];
  });

function policyOf({ metadata, spec }: Obj, bindings: readonly Binding[]): Policy {
  const isFailClosed = spec.failurePolicy !== "Ignore";
  const conditions = spec.matchConditions as readonly Condition[] | undefined;
  return {
    name: metadata!.name!, match: matchOf(spec.matchConstraints), paramKind: spec.paramKind, isFailClosed, bindings,
    isReinvoked: spec.reinvocationPolicy === "IfNeeded",
    conditions: conditions?.length ? createConditions(conditions, isFailClosed, policyEnvironment) : undefined,
    variables: list(spec.variables).map(({ name, expression }) => ({ name, expression: expressionOf(expression) })),
    validations: list(spec.validations).map((validation) => ({
      expression: expressionOf(validation["expression"]), message: validation["message"] ?? "", reason: validation["reason"] ?? "Invalid",
      messageExpression: validation["messageExpression"] ? expressionOf(validation["messageExpression"]) : undefined,
    })),
    auditAnnotations: list(spec.auditAnnotations).map(({ key, valueExpression }) => ({ key, value: expressionOf(valueExpression) })),
    mutations: list(spec.mutations).map((mutation) => ({
      patchType: mutation["patchType"],
      expression: expressionOf(mutation["applyConfiguration"]?.expression ?? mutation["jsonPatch"]?.expression ?? ""),
    })),
  };
}

const list = (value: unknown): readonly Obj[] => (value ?? []) as readonly Obj[];

const matchOf = (match: Obj = {}): Match => ({
  rules: (match["resourceRules"] ?? []) as Rule[], exclude: (match["excludeResourceRules"] ?? []) as Rule[],
  matchPolicy: match["matchPolicy"], namespaceSelector: match["namespaceSelector"], objectSelector: match["objectSelector"],
});

const bindingOf = ({ metadata, spec }: Obj): Binding => ({
  name: metadata!.name!, match: spec.matchResources && matchOf(spec.matchResources), paramRef: spec.paramRef, actions: spec.validationActions ?? [],
});

export function expressionOf(text: string): Expression {
  let program: Program | Error | undefined;
  return { text, program: () => (program ??= compiled(policyEnvironment(), withoutConstructors(text))) };
}

let shared: Environment | undefined;
export function policyEnvironment(): Environment {
  if (!shared) {
    shared = requestEnvironment({ params: "dyn", namespaceObject: "dyn", variables: "dyn" });
    registerJsonPatch(shared);
  }
  return shared;
}

/** The library tells types by their classes. */
class JsonPatchFunctions {
  readonly separator = "/";
}

function registerJsonPatch(environment: Environment): void {
  environment.registerType("JsonPatchFunctions", JsonPatchFunctions as never);
  environment.registerConstant("jsonpatch", "JsonPatchFunctions", new JsonPatchFunctions());
  environment.registerFunction("JsonPatchFunctions.escapeKey(string): string", (_: unknown, key: string) => key.replaceAll("~", "~0").replaceAll("/", "~1"));
}
