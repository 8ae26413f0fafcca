/** One request as the variables of CEL: made when first named, shared by all expressions over the same form of the request. */
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Authorizer } from "../auth/rbac.ts";
import { celEnvironment, type Environment, type Program } from "../cel/environment.ts";
import { type Budget, newBudget } from "../cel/cost.ts";
import { isPlainObject } from "../verbs/engine.ts";
import { authorizerValue, registerAuthorizer } from "./authorizer.ts";
import type { Form, Kind } from "./forms.ts";
import { requestFields } from "./review.ts";

export type Variables = Readonly<Record<string, unknown>>;

export interface Evaluation {
  readonly variables: Variables;
  /** Throws an Error that says why there is no result. */
  run(program: Program, variables?: Variables): unknown;
}

export interface EvaluationInput {
  readonly request: AdmissionRequest;
  readonly form: Form;
  readonly requestKind: Kind;
  readonly authorizer: Authorizer;
}

/** `variables` may be shared by evaluations; each has a budget of its own. */
export function createEvaluation(variables: Variables, budget: Budget = newBudget()): Evaluation {
  return { variables, run: (program, own = variables) => program.evaluate(own, budget) };
}

export function requestVariables({ request, form, requestKind, authorizer }: EvaluationInput): Variables {
  const { group, resource, subresource, namespace, name, user } = request;
  return lazy({
    object: () => toCel(form.object ?? null),
    oldObject: () => toCel(form.oldObject ?? null),
    request: () => toCel(requestFields(request, form, requestKind)),
    authorizer: () => authorizerValue(authorizer, user, { group, resource, subresource, namespace, name }),
  });
}

/** An object whose members are computed on first access; `base` stays visible through it. */
export function lazy(members: Readonly<Record<string, () => unknown>>, base?: Variables): Variables {
  const object: Record<string, unknown> = {};
  for (const key of Object.keys(base ?? {})) Object.defineProperty(object, key, { enumerable: true, get: () => base![key] });
  for (const [key, make] of Object.entries(members)) {
    Object.defineProperty(object, key, {
      enumerable: true, configurable: true,
      get() {
        const value = make();
        Object.defineProperty(object, key, { enumerable: true, value });
        return value;
      },
    });
  }
  return object;
}

/** JSON as CEL has it: whole numbers are integers. */
export function toCel(value: unknown): unknown {
  if (typeof value === "number") return Number.isInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(toCel);
  if (!isPlainObject(value)) return value ?? null;
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(value)) if (value[key] !== undefined) result[key] = toCel(value[key]);
  return result;
}

/** The environment of expressions about a request, with more variables, and without those that somebody declares himself. */
export function requestEnvironment(more: Readonly<Record<string, string>> = {}, without: readonly string[] = []): Environment {
  const variables = Object.entries({ object: "dyn", oldObject: "dyn", request: "dyn", ...more }).filter(([name]) => !without.includes(name));
  const environment = celEnvironment(Object.fromEntries(variables));
  registerAuthorizer(environment);
  return environment;
}
