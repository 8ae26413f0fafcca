/** All admission plugins as one chain: mutators in order, then validators in order, on flat arrays. */
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Concern, SelectivePlugin } from "../admission/common.ts";
import type { Obj } from "../resources/types.ts";
import type { AdmissionChain } from "../verbs/engine.ts";

export interface DynamicAdmission extends AdmissionChain {
  /** Replaces the plugins; the built-in ones come first. */
  set(plugins: readonly AdmissionPlugin[]): void;
}

/** The plugins that a kind of request concerns. */
interface Concerned {
  readonly mutators: readonly SelectivePlugin[];
  readonly validators: readonly AdmissionPlugin[];
}

export function createAdmission(): DynamicAdmission {
  let all: readonly SelectivePlugin[] = [];
  const known = new Map<string, Concerned>();
  const concernedBy = (request: Concern): Concerned => {
    const key = `${request.operation} ${request.group}/${request.resource}/${request.subresource}`;
    let found = known.get(key);
    if (!found) {
      const plugins = all.filter(({ concerns }) => concerns?.(request) ?? true);
      known.set(key, (found = { mutators: plugins.filter((plugin) => plugin.mutate), validators: plugins.filter((plugin) => plugin.validate) }));
    }
    return found;
  };
  return {
    set(plugins) {
      all = plugins;
      known.clear();
    },
    mutate(request) {
      const { mutators } = concernedBy(request);
      return mutators.length === 0 ? (request.object as Obj) : runMutators(mutators, request);
    },
    changesNothing(request) {
      return concernedBy(request).mutators.every((plugin) => plugin.changesNothing?.() === true);
    },
    validate(request) {
      const { validators } = concernedBy(request);
      if (validators.length > 0) return runValidators(validators, request);
    },
  };
}

async function runMutators(mutators: readonly AdmissionPlugin[], request: AdmissionRequest): Promise<Obj> {
  let current = request;
  for (const plugin of mutators) {
    const answer = plugin.mutate!(current);
    const object = answer instanceof Promise ? await answer : answer;
    if (object && object !== current.object) current = { ...current, object };
  }
  return current.object as Obj;
}

async function runValidators(validators: readonly AdmissionPlugin[], request: AdmissionRequest): Promise<void> {
  for (const plugin of validators) {
    const answer = plugin.validate!(request);
    if (answer instanceof Promise) await answer;
  }
}
