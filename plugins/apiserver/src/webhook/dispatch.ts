/** Asks one webhook about a request: whether it is concerned, what it says, and what its failure means. */
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { type ApiError, apiError, forbidden } from "@k3s-p/plugin-api/kube";
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { AdmissionMetrics } from "../admission/metrics.ts";
import type { Authorizer } from "../auth/rbac.ts";
import { applyJsonPatch } from "../patch/json.ts";
import type { Obj } from "../resources/types.ts";
import { clone, type Engine, isPlainObject } from "../verbs/engine.ts";
import type { WebhookClient } from "./client.ts";
import { createEvaluation, requestVariables } from "./evaluation.ts";
import { type Form, formOf, type Kind, kindOf, matchPlace } from "./forms.ts";
import type { Hook } from "./hooks.ts";
import { denied, internal, readAnswer, requestFields, reviewBody, type Verdict } from "./review.ts";
import { selectorsMatch } from "./rules.ts";

export interface DispatchDeps {
  readonly engine: Pick<Engine, "registry" | "store" | "checkFields">;
  readonly authorizer: Authorizer;
  readonly client: WebhookClient;
  readonly metrics: AdmissionMetrics;
  readonly newUid?: () => string;
}

/** A webhook that is concerned, and the form in which it sees the request. */
export interface Concerned {
  readonly hook: Hook;
  readonly request: AdmissionRequest;
  readonly form: Form;
  readonly requestKind: Kind;
}

/** Throws 403 when the conditions of a fail-closed webhook cannot be evaluated. */
export function concernedBy({ engine, authorizer }: DispatchDeps, hook: Hook, request: AdmissionRequest): Concerned | undefined {
  const { registry, store } = engine;
  const place = matchPlace(hook, request, registry);
  if (!place || !selectorsMatch(hook, request, store)) return undefined;
  const own = { group: request.group, version: request.version, resource: request.resource };
  const concerned: Concerned = { hook, request, form: formOf(request, place, registry), requestKind: kindOf(request, own, registry) };
  if (!hook.conditions) return concerned;
  const { matches, error } = hook.conditions.test(createEvaluation(requestVariables({ ...concerned, authorizer })));
  if (error) throw forbidden({ group: request.group, plural: request.resource }, request.name, error);
  return matches ? concerned : undefined;
}

/** Undefined when the call failed and the failure is to be ignored. Throws the refusal. */
export async function ask(deps: DispatchDeps, concerned: Concerned, mutating: boolean): Promise<Verdict | undefined> {
  const { hook: { name, isFailClosed }, request: { operation } } = concerned;
  const { metrics } = deps;
  const type = mutating ? "admit" : "validating";
  const start = performance.now();
  const measure = (rejected: boolean): void => metrics.webhook({ name, operation, type, rejected }, (performance.now() - start) / 1000);
  try {
    const verdict = await answered(deps, concerned, mutating);
    measure(false);
    return verdict;
  } catch (error) {
    const isDenied = !(error instanceof CallError);
    measure(true);
    if (!isDenied && !isFailClosed) return void metrics.failedOpen({ name, type });
    metrics.refusal({ name, operation, type, error: isDenied ? "no_error" : "calling_webhook_error", code: isDenied ? (error as ApiError).code : 0 });
    throw isDenied ? error : internal(`failed calling webhook ${JSON.stringify(name)}: ${error.message}`);
  }
}

/** The webhook gave no answer that counts. */
class CallError extends Error {}

async function answered({ client, newUid = randomUUID }: DispatchDeps, concerned: Concerned, mutating: boolean): Promise<Verdict> {
  const { hook, request, form, requestKind } = concerned;
  const { name, version, clientConfig, timeoutSeconds } = hook;
  if (request.dryRun && hook.hasSideEffects) throw apiError(400, "BadRequest", `admission webhook ${JSON.stringify(name)} does not support dry run`);
  let verdict: Verdict;
  try {
    if (!version) throw new Error(`webhook does not accept known AdmissionReview versions (v1, v1beta1)`);
    const uid = newUid();
    const body = reviewBody(version, uid, requestFields(request, form, requestKind), form);
    const answer = await client.post(clientConfig, body, timeoutSeconds).catch((error: unknown) => {
      throw new Error(`failed to call webhook: ${(error as Error).message}`, { cause: error });
    });
    verdict = checked(() => readAnswer(answer, version, uid, mutating));
  } catch (error) {
    throw new CallError((error as Error).message, { cause: error });
  }
  for (const [key, value] of Object.entries(verdict.auditAnnotations)) request.annotate?.(`${name}/${key}`, String(value));
  if (verdict.warnings.length > 0) request.warn?.(verdict.warnings);
  if (!verdict.allowed) throw denied(name, verdict.status);
  return verdict;
}

function checked(read: () => Verdict): Verdict {
  try {
    return read();
  } catch (error) {
    throw new Error(`received invalid webhook response: ${(error as Error).message}`, { cause: error });
  }
}

/** The request's object with the patch of a webhook, defaulted; the same object when the patch changes nothing. */
export function patched({ engine }: DispatchDeps, { request, form, hook }: Concerned, patch: unknown): Obj {
  const before = form.object!;
  try {
    const changed = clone(applyJsonPatch(before, patch));
    if (!isPlainObject(changed) || isDeepStrictEqual(changed, before)) return request.object as Obj;
    if (changed.apiVersion !== before.apiVersion || changed.kind !== before.kind) {
      throw new Error(`the patch makes ${before.apiVersion}, Kind=${before.kind} a ${changed.apiVersion}, Kind=${changed.kind}`);
    }
    return completed(engine, request, form, changed);
  } catch (error) {
    throw internal(`the patch of webhook ${JSON.stringify(hook.name)} cannot be applied: ${(error as Error).message}`);
  }
}

/** As if the client had sent the object like this: back in the request's form, without unknown fields, defaulted. */
export function completed(engine: DispatchDeps["engine"], request: AdmissionRequest, form: Form, changed: Obj): Obj {
  if (request.subresource && changed.kind !== (request.object as Obj).kind) return form.back(changed);
  const { registry } = engine;
  const { place } = form;
  const def = registry.get(place.group, place.version, place.resource);
  const isKind = def?.kind === changed.kind;
  if (def && isKind) {
    engine.checkFields?.(def, changed, "Ignore");
    def.defaults?.(changed);
  }
  const object = form.back(changed);
  const own = registry.get(request.group, request.version, request.resource);
  if (own && own !== def && own.kind === object.kind) own.defaults?.(object);
  return object;
}
