/** A request under the policies: which of them it concerns, and what their expressions see. */
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { AdmissionMetrics } from "../admission/metrics.ts";
import type { Authorizer } from "../auth/rbac.ts";
import type { Obj } from "../resources/types.ts";
import type { Engine } from "../verbs/engine.ts";
import type { Outcome } from "../webhook/conditions.ts";
import { OUT_OF_BUDGET } from "../cel/cost.ts";
import { createEvaluation, type Evaluation, lazy, requestVariables, toCel, type Variables } from "../webhook/evaluation.ts";
import { type Form, formOf, kindOf, matchPlace } from "../webhook/forms.ts";
import { type Place, ruleMatches, selectorsMatch } from "../webhook/rules.ts";
import { paramsOf } from "./params.ts";
import type { Binding, Expression, Match, Policy } from "./policies.ts";

export interface PolicyDeps {
  readonly engine: Pick<Engine, "registry" | "store" | "checkFields" | "fields">;
  readonly authorizer: Authorizer;
  readonly metrics: Pick<AdmissionMetrics, "policy">;
}

/** A policy put to work on a request by a binding, once for each of its parameters. */
export interface Target {
  readonly policy: Policy;
  readonly binding: Binding;
  readonly place: Place;
  readonly params: Obj | undefined;
  /** Why there is nothing to evaluate: the configuration is wrong. */
  readonly error?: string;
}

/** A target with what its expressions see of one state of the object. */
export interface Case extends Target {
  readonly form: Form;
  readonly variables: Variables;
  readonly evaluation: Evaluation;
}

/** Variables that all policies share, by the form of the request. */
export type Shared = Map<string, Variables>;

export function targetsOf(deps: PolicyDeps, policy: Policy, request: AdmissionRequest): Target[] {
  const place = policyPlace(policy.match, request, deps);
  if (!place) return [];
  return policy.bindings.filter(({ match }) => !match || bindingMatches(match, request, deps)).flatMap((binding): Target[] => {
    try {
      return paramsOf(deps.engine, policy, binding, request).map((params) => ({ policy, binding, place, params }));
    } catch (error) {
      return [{ policy, binding, place, params: undefined, error: (error as Error).message }];
    }
  });
}

export function caseOf(deps: PolicyDeps, target: Target, request: AdmissionRequest, shared: Shared): Case {
  const { registry, store } = deps.engine;
  const { place, policy, params } = target;
  const form = formOf(request, place, registry);
  const base = shareable(`${place.group}/${place.version}/${place.resource}`, shared, () => {
    const own = { group: request.group, version: request.version, resource: request.resource };
    const variables = requestVariables({ request, form, requestKind: kindOf(request, own, registry), authorizer: deps.authorizer });
    const name = request.namespace || (request.group === "" && request.resource === "namespaces" ? request.name : "");
    return lazy({ namespaceObject: () => toCel((name && store.get("", "namespaces", name)) || null) }, variables);
  });
  const evaluation = createEvaluation(base);
  return { ...target, form, evaluation, variables: withVariables(policy, evaluation, lazy({ params: () => toCel(params ?? null) }, base)) };
}

/** Whether the case is one: its configuration is right, and its conditions hold. */
export function testCase({ policy, error, evaluation, variables }: Case): Outcome {
  if (error) return policy.isFailClosed ? { matches: false, error } : { matches: false };
  return policy.conditions?.test(evaluation, variables) ?? { matches: true };
}

function shareable(key: string, shared: Shared, make: () => Variables): Variables {
  const known = shared.get(key);
  if (known) return known;
  const made = make();
  shared.set(key, made);
  return made;
}

function policyPlace(match: Match, request: AdmissionRequest, { engine }: PolicyDeps) {
  if (!selectorsMatch(match, request, engine.store) || isExcluded(match, request, engine)) return undefined;
  return matchPlace(match, request, engine.registry);
}

function bindingMatches(match: Match, request: AdmissionRequest, { engine }: PolicyDeps): boolean {
  if (!selectorsMatch(match, request, engine.store) || isExcluded(match, request, engine)) return false;
  return match.rules.length === 0 || matchPlace(match, request, engine.registry) !== undefined;
}

function isExcluded({ exclude, matchPolicy }: Match, request: AdmissionRequest, { registry }: PolicyDeps["engine"]): boolean {
  if (exclude.length === 0) return false;
  const { group, version, resource } = request;
  return exclude.some((rule) => ruleMatches(rule, request, { group, version, resource })) ||
    matchPlace({ rules: exclude, ...(matchPolicy && { matchPolicy }) }, request, registry) !== undefined;
}

/** `variables.x`: each computed at most once, when first named; it may name those before it. */
function withVariables(policy: Policy, evaluation: Evaluation, base: Variables): Variables {
  const all: Variables = lazy({
    variables: () => lazy(Object.fromEntries(policy.variables.map(({ name, expression }) => [name, () => run(expression, evaluation, all)]))),
  }, base);
  return all;
}

/** Throws an Error that names the expression. */
export function run({ text, program }: Expression, evaluation: Evaluation, variables: Variables): unknown {
  try {
    const runnable = program();
    if (runnable instanceof Error) throw runnable;
    return evaluation.run(runnable, variables);
  } catch (error) {
    if ((error as Error).message === OUT_OF_BUDGET) throw error;
    throw new Error(`expression '${text.trim()}' resulted in error: ${(error as Error).message}`, { cause: error });
  }
}
