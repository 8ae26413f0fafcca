/** The admission plugin MutatingAdmissionPolicy: expressions that say how an object should look. */
import { isDeepStrictEqual } from "node:util";
import { ApiError, forbidden } from "@k3s-p/plugin-api/kube";
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { SelectivePlugin } from "../admission/common.ts";
import { applyJsonPatch } from "../patch/json.ts";
import type { Obj } from "../resources/types.ts";
import { clone, isPlainObject } from "../verbs/engine.ts";
import { completed } from "../webhook/dispatch.ts";
import { isExempt } from "../webhook/rules.ts";
import { caseOf, type PolicyDeps, run, type Target, targetsOf, testCase } from "./evaluate.ts";
import { followPolicies, type Mutation, type Policy } from "./policies.ts";

export function mutatingPolicies(deps: PolicyDeps): SelectivePlugin {
  const policies = followPolicies(deps.engine.store, "mutatingadmissionpolicies");
  return {
    name: "MutatingAdmissionPolicy",
    changesNothing: () => policies.list().length === 0,
    mutate(request) {
      const all = policies.list();
      return all.length > 0 && request.object && !isExempt(request) ? mutate(deps, all, request) : request.object;
    },
  };
}

/** Each policy sees what those before it made; those that want see the object once more when others changed it. */
function mutate(deps: PolicyDeps, policies: readonly Policy[], request: AdmissionRequest): Obj {
  const changedBy = new Set<Policy>();
  let current = request;
  const runAll = (wanted: readonly Policy[]): void => {
    for (const policy of wanted) {
      const next = apply(deps, policy, current);
      if (next === current.object) continue;
      current = { ...current, object: next };
      changedBy.add(policy);
    }
  };
  runAll(policies);
  if (changedBy.size > 0) runAll(policies.filter((policy) => policy.isReinvoked && (changedBy.size > 1 || !changedBy.has(policy))));
  return current.object as Obj;
}

function apply(deps: PolicyDeps, policy: Policy, request: AdmissionRequest): Obj {
  let object = request.object as Obj;
  for (const target of targetsOf(deps, policy, request)) {
    try {
      object = mutated(deps, target, { ...request, object });
    } catch (error) {
      if (policy.isFailClosed) throw refusal(request, target, error as Error);
    }
  }
  return object;
}

/** Every mutation sees what those before it made. */
function mutated(deps: PolicyDeps, target: Target, request: AdmissionRequest): Obj {
  const { engine } = deps;
  let object = request.object as Obj;
  for (const [i, mutation] of target.policy.mutations.entries()) {
    const current = { ...request, object };
    const one = caseOf(deps, target, current, new Map());
    const { matches, error } = i === 0 ? testCase(one) : { matches: true };
    if (error) throw new Error(error);
    if (!matches) return object;
    const before = one.form.object!;
    const changed = clone(patched(engine, mutation, before, fromCel(run(mutation.expression, one.evaluation, one.variables))));
    if (isDeepStrictEqual(changed, clone(before))) continue;
    if (changed.apiVersion !== before.apiVersion || changed.kind !== before.kind) throw new Error("the patch changes the kind of the object");
    object = completed(engine, current, one.form, changed);
  }
  return object;
}

function patched(engine: PolicyDeps["engine"], { patchType }: Mutation, object: Obj, value: unknown): Obj {
  if (patchType === "JSONPatch") return applyJsonPatch(object, value);
  if (!isPlainObject(value)) throw new Error("the expression must evaluate to an Object");
  const { managedFields, ...metadata } = object.metadata ?? {};
  const [group, version] = object.apiVersion!.includes("/") ? object.apiVersion!.split("/") : ["", object.apiVersion!];
  const merged = engine.fields!.apply({
    live: { ...object, metadata }, applied: { ...value, apiVersion: object.apiVersion!, kind: object.kind! }, manager: "admission", force: true,
    group: group!, version: version!, kind: object.kind!, subresource: "", now: "1970-01-01T00:00:00Z",
  });
  const { managedFields: _, ...rest } = merged.metadata ?? {};
  return { ...merged, metadata: { ...rest, ...(managedFields && { managedFields }) } };
}

/** CEL values as JSON; optional values that are absent are left out. */
function fromCel(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(fromCel);
  if (value instanceof Date) return value.toISOString().replace(/\.000Z$/, "Z");
  if (value instanceof Map) return fromCel(Object.fromEntries(value));
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromCel(item)]).filter(([, item]) => item !== undefined));
}

function refusal(request: AdmissionRequest, { policy, binding }: Target, error: Error): ApiError {
  const why = `policy '${policy.name}' with binding '${binding.name}' denied request: ${error.message}`;
  return forbidden({ group: request.group, plural: request.resource }, request.name, why);
}
