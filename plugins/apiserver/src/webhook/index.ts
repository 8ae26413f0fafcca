/** The admission plugins MutatingAdmissionWebhook and ValidatingAdmissionWebhook. */
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { SelectivePlugin } from "../admission/common.ts";
import type { Obj } from "../resources/types.ts";
import { ask, concernedBy, type DispatchDeps, patched } from "./dispatch.ts";
import { followHooks, type Hook, type Hooks } from "./hooks.ts";
import { isExempt } from "./rules.ts";

export interface WebhookDeps extends DispatchDeps {
  /** Mutators of the server itself and of plugins: they run again over what webhooks changed. */
  readonly mutators: () => readonly AdmissionPlugin[];
}

/** Without configurations a request costs one look at an empty list. */
export function mutatingWebhooks(deps: WebhookDeps): SelectivePlugin {
  const hooks = followHooks(deps.engine.store, "mutatingwebhookconfigurations");
  return {
    name: "MutatingAdmissionWebhook",
    changesNothing: () => hooks.list().length === 0,
    mutate: (request) => (concerns(hooks, request) ? runMutating(deps, hooks.list(), request) : request.object),
  };
}

export function validatingWebhooks(deps: DispatchDeps): AdmissionPlugin {
  const hooks = followHooks(deps.engine.store, "validatingwebhookconfigurations");
  return {
    name: "ValidatingAdmissionWebhook",
    validate: (request) => (concerns(hooks, request) ? runValidating(deps, hooks.list(), request) : undefined),
  };
}

const concerns = (hooks: Hooks, request: AdmissionRequest): boolean => hooks.list().length > 0 && !isExempt(request);

/** One after the other, each on what those before made of the object; then once more those that want to see later changes. */
async function runMutating(deps: WebhookDeps, hooks: readonly Hook[], request: AdmissionRequest): Promise<AdmissionRequest["object"]> {
  const called = new Set<Hook>();
  const outdated = new Set<Hook>();
  let current = request;
  const run = async (hook: Hook): Promise<void> => {
    const next = await callMutating(deps, hook, current);
    if (!next) return;
    if (next !== current.object) {
      current = { ...current, object: next };
      for (const earlier of called) outdated.add(earlier);
    }
    outdated.delete(hook);
    if (hook.isReinvoked) called.add(hook);
  };
  for (const hook of hooks) await run(hook);
  if (current.object === request.object) return current.object;

  const before = JSON.stringify(current.object);
  current = { ...current, object: await runMutators(deps.mutators(), current) };
  const again = JSON.stringify(current.object) === before ? [...outdated] : [...called];
  for (const hook of hooks) if (again.includes(hook)) await run(hook);
  return current.object;
}

/** Undefined when the webhook was not asked; what has no object to change (DELETE) comes back as the old one. */
async function callMutating(deps: DispatchDeps, hook: Hook, request: AdmissionRequest): Promise<Obj | undefined> {
  const concerned = concernedBy(deps, hook, request);
  if (!concerned) return undefined;
  const verdict = await ask(deps, concerned, true);
  if (!verdict) return undefined;
  return verdict.patch === undefined || !request.object ? (request.object as Obj | undefined) : patched(deps, concerned, verdict.patch);
}

async function runMutators(mutators: readonly AdmissionPlugin[], request: AdmissionRequest): Promise<AdmissionRequest["object"]> {
  let current = request;
  for (const plugin of mutators) {
    const object = await plugin.mutate?.(current);
    if (object && object !== current.object) current = { ...current, object };
  }
  return current.object;
}

/** All at once; of several refusals the first in order is told. */
async function runValidating(deps: DispatchDeps, hooks: readonly Hook[], request: AdmissionRequest): Promise<void> {
  const concerned = hooks.map((hook) => concernedBy(deps, hook, request)).filter((one) => one !== undefined);
  const results = await Promise.allSettled(concerned.map((one) => ask(deps, one, false)));
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}
