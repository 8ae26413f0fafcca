/** PATCH: JSON patch, merge patch, strategic merge patch and server-side apply, on objects and subresources. */
import { apiError, badRequest, type PatchType } from "@k3s-p/plugin-api/kube";
import { applyJsonPatch } from "../patch/json.ts";
import { applyMergePatch } from "../patch/merge.ts";
import { applyStrategicPatch } from "../patch/strategic.ts";
import type { Obj } from "../resources/types.ts";
import type { Duplicates } from "../server/duplicates.ts";
import { apiVersion, type ApplyInput, type Call, checkBody, currentTime, type Engine, isPlainObject, privateCopy } from "./engine.ts";
import { checkType } from "./create.ts";
import { checkPatched, Undecodable } from "./undecodable.ts";
import { modify, type Modified } from "./update.ts";

export interface PatchInput {
  readonly type: PatchType;
  readonly patch: unknown;
  readonly force: boolean;
  /** Keys that the patch has twice. */
  readonly duplicates?: Duplicates | undefined;
}

export const patchTypes: Readonly<Record<string, PatchType>> = {
  "application/json-patch+json": "json",
  "application/merge-patch+json": "merge",
  "application/strategic-merge-patch+json": "strategic",
  "application/apply-patch+yaml": "apply",
  "application/apply-patch+json": "apply",
};

export async function patch(engine: Engine, asked: Call, input: PatchInput): Promise<Modified> {
  const call = input.duplicates ? { ...asked, duplicates: input.duplicates } : asked;
  if (input.type === "apply") return serverSideApply(engine, call, input);
  return modify(engine, call, {
    next(old) {
      return checkPatched(input, patched(call, old, input), (made) => named(call, checked(engine, call, made, old)));
    },
  });
}

/** The result of a patch on any object; what the patch leaves alone is the object's own. */
export function patched(call: Pick<Call, "def">, old: Obj, input: PatchInput): Obj {
  const next = applied(call, old, input);
  // A patch competes with other writers only when it names another resourceVersion than the current one.
  if (!next.metadata || next.metadata.resourceVersion !== old.metadata?.resourceVersion) return next;
  const { resourceVersion: _, ...metadata } = next.metadata;
  return { ...next, metadata };
}

/** Checks what the patch has touched: the rest was checked when it was written. A custom kind may default any of it. */
function checked(engine: Engine, call: Pick<Call, "def" | "fieldValidation" | "warn" | "duplicates">, next: Obj, old: Partial<Obj>): Obj {
  const isTouched = (key: string): boolean => call.def.custom || key === "apiVersion" || key === "kind" || next[key] !== old[key];
  const [touched, rest]: [Obj, Obj] = [{}, {}];
  for (const key in next) (isTouched(key) ? touched : rest)[key] = next[key];
  const checkedPart = privateCopy(touched);
  checkBody(engine, call, checkedPart);
  return { ...checkedPart, ...rest };
}

function applied(call: Pick<Call, "def">, old: Obj, input: PatchInput): Obj {
  const { group, version, kind } = call.def;
  if (input.type === "json") return applyJsonPatch(old, input.patch);
  if (!isPlainObject(input.patch)) throw badRequest("patch body must be a JSON object");
  if (input.type === "merge") return applyMergePatch(old, input.patch);
  return applyStrategicPatch(old, input.patch, group, version, kind);
}

function named(call: Call, object: Obj): Obj {
  checkType(call, object);
  const meta = object.metadata ?? {};
  if (meta.name !== call.name) {
    throw badRequest(`the name of the object (${meta.name ?? ""}) does not match the name on the URL (${call.name})`);
  }
  return object;
}

async function serverSideApply(engine: Engine, call: Call, input: PatchInput): Promise<Modified> {
  const { fields } = engine;
  if (!fields) throw apiError(415, "UnsupportedMediaType", "server-side apply is not available");
  if (!isPlainObject(input.patch)) throw badRequest("patch body must be an object");
  const { group, version, kind } = call.def;
  const applied = input.patch as unknown as Obj;
  checkApplied(call, applied);
  const problems = problemsOf(engine, call, applied);
  const apply = (live: Obj | undefined): Obj => {
    const made = fields.apply({
      live, applied, manager: call.manager, force: input.force, group, version, kind, subresource: call.subresource,
      now: currentTime(engine), problems,
    });
    tellDuplicates(call);
    return made;
  };
  return modify(engine, call, {
    next: (old) => unpinned(checked(engine, { def: call.def }, apply(old), old), applied),
    ...(!call.subresource && { fresh: () => unpinned(checked(engine, { def: call.def }, apply(undefined), {}), applied) }),
    tracked: true,
  });
}

/** What does not fit the kind. Unknown fields are dropped; what is empty is owned all the same, and left out of the result. */
function problemsOf(engine: Engine, { def }: Call, applied: Obj): ApplyInput["problems"] {
  try {
    const warnings = engine.checkFields?.(def, applied, "Warn", true) ?? [];
    return warnings.map((warning) => ({ path: JSON.parse(warning.slice("unknown field ".length)) as string, why: "field not declared in schema" }));
  } catch (error) {
    if (error instanceof Undecodable && error.other.untyped) return [error.other.untyped];
    throw error;
  }
}

/** After conflicts and fields that do not fit, as upstream, which reads what is applied as YAML only. */
function tellDuplicates({ def, duplicates, fieldValidation, warn }: Call): void {
  if (!duplicates) return;
  if (fieldValidation === "Strict") throw badRequest(`error strict decoding YAML: error converting YAML to JSON: ${duplicates.strict([], def.custom === true).join(", ")}`);
  if (fieldValidation === "Warn") warn?.(duplicates.warnings([], def.custom === true));
}

function unpinned(object: Obj, applied: Obj): Obj {
  if (!applied.metadata?.resourceVersion && object.metadata) delete object.metadata.resourceVersion;
  return object;
}

function checkApplied(call: Call, applied: Obj): void {
  if (!call.manager) {
    throw apiError(422, "Invalid", 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch', {
      group: "meta.k8s.io", kind: "PatchOptions",
      causes: [{ reason: "FieldValueRequired", message: "Required value: is required for apply patch", field: "fieldManager" }],
    });
  }
  const expected = apiVersion(call.def);
  if (applied.apiVersion !== expected) {
    throw badRequest(`Incorrect version specified in apply patch. Specified patch version: ${applied.apiVersion ?? ""}, expected: ${expected}`);
  }
  checkType(call, applied);
  const meta = (applied.metadata ??= {});
  if (meta.managedFields) throw badRequest("metadata.managedFields must be nil");
  if (meta.name && meta.name !== call.name) {
    throw badRequest(`the name of the object (${meta.name}) does not match the name on the URL (${call.name})`);
  }
}
