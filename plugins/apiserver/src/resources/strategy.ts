/** Strategies that many kinds share: who may write status, and what moves the generation. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import type { Behaviour } from "./row.ts";
import type { Obj } from "./types.ts";

export function keepStatus(object: Obj, old: Obj): void {
  if (old.status === undefined) delete object.status;
  else object.status = old.status;
}

/** Kinds with `spec` and `status`: status starts as `initial`, and only the status subresource writes it. */
export const withStatus = (initial: Readonly<Record<string, unknown>> = {}): Behaviour => ({
  prepareCreate: (object) => void (object.status = structuredClone(initial)),
  prepareUpdate: keepStatus,
});

export const specGeneration: Behaviour = { generationOf: (object) => object.spec };

/** The same, and `metadata.generation` moves with `spec`. */
export const withGeneration = (initial?: Readonly<Record<string, unknown>>): Behaviour => ({ ...withStatus(initial), ...specGeneration });

/** For kinds whose updates follow the same rules as their creation. */
export const always = (validate: (object: Obj) => FieldError[]): Behaviour => ({ validate, validateUpdate: validate });
