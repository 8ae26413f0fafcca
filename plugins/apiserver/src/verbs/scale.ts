/** The `scale` subresource: a Scale object over the paths that the resource's row names. */
import { badRequest, invalid, notFound } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef, ScaleDef } from "../resources/types.ts";
import { formatSelector } from "@k3s-p/plugin-api/kube";
import type { Entry } from "../store/entry.ts";
import { checkType } from "./create.ts";
import { type Call, checkBody, clone, collectionOf, type Engine, present, unstored } from "./engine.ts";
import { patched, type PatchInput } from "./patch.ts";
import { checkPatched } from "./undecodable.ts";
import { modify } from "./update.ts";

/** The row under which a Scale is answered, whatever it scales. */
const scaleRow = { group: "autoscaling", version: "v1", kind: "Scale" } as const;

export async function getScale(engine: Engine, call: Call): Promise<Entry> {
  const stored = collectionOf(engine, call.def).get(call.name, call.namespace);
  if (!stored) throw notFound(call.def, call.name);
  if (call.def.prepareRead) await call.def.prepareRead([stored]);
  return scaleEntry(call.def, present(engine, call.def, stored));
}

export async function updateScale(engine: Engine, call: Call, object: Obj): Promise<Entry> {
  return writeScale(engine, call, () => checked(engine, call, object));
}

export async function patchScale(engine: Engine, call: Call, input: PatchInput): Promise<Entry> {
  const merged: PatchInput = input.type === "apply" ? { ...input, type: "merge" } : input;
  return writeScale(engine, call, (current) =>
    checkPatched(merged, patched({ def: scaleDef(call.def) }, current, merged), (scale) => checked(engine, call, scale)));
}

const scaleDef = (def: ResourceDef): ResourceDef => ({ ...def, ...scaleRow, custom: false });

/** A Scale by its type, and of what the path names. */
function checked(engine: Engine, call: Call, scale: Obj): Obj {
  const def = scaleDef(call.def);
  checkType({ def }, scale);
  checkBody(engine, { ...call, def }, scale);
  const name = scale.metadata?.name ?? "";
  if (name && name !== call.name) throw badRequest(`the name of the object (${name}) does not match the name on the URL (${call.name})`);
  return scale;
}

async function writeScale(engine: Engine, call: Call, wanted: (current: Obj) => Obj): Promise<Entry> {
  const { def } = call;
  const result = await modify(engine, { ...call, subresource: "scale" }, {
    next(old) {
      const scale = wanted(scaleObject(def, old));
      const replicas = scale.spec?.replicas ?? 0;
      if (replicas < 0) {
        throw invalid(scaleRow.group, scaleRow.kind, call.name, [{
          type: "FieldValueInvalid", field: "spec.replicas", message: `Invalid value: ${replicas}: must be greater than or equal to 0`,
        }]);
      }
      const next = withReplicas(def, old, replicas);
      const { resourceVersion, uid } = scale.metadata ?? {};
      delete next.metadata!.resourceVersion;
      if (resourceVersion) next.metadata!.resourceVersion = resourceVersion;
      if (uid) next.metadata!.uid = uid;
      return next;
    },
  });
  return scaleEntry(def, result.entry);
}

const scaleEntry = (def: ResourceDef, entry: Entry): Entry => unstored(scaleObject(def, entry.object), entry.revision);

/** What the subresource shows of an object. */
export function scaleObject(def: ResourceDef, object: Obj): Obj {
  const { specReplicas, statusReplicas, selector } = def.scale as ScaleDef;
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata!;
  const found = selector ? getPath(object, selector) : undefined;
  const text = typeof found === "string" ? found : found && formatSelector(isMapSelector(found) ? { matchLabels: found } : found);
  return {
    apiVersion: "autoscaling/v1", kind: "Scale",
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp } as NonNullable<Obj["metadata"]>,
    spec: { replicas: getPath(object, specReplicas) ?? 0 },
    status: { replicas: getPath(object, statusReplicas) ?? 0, ...(text && { selector: text }) },
  };
}

/** The object with another number of replicas. */
export function withReplicas(def: ResourceDef, object: Obj, replicas: number): Obj {
  const next = clone(object);
  setPath(next, def.scale!.specReplicas, replicas);
  return next;
}

/** ReplicationControllers select by a plain map. */
const isMapSelector = (value: Obj): boolean => !("matchLabels" in value) && !("matchExpressions" in value);

const steps = (path: string): string[] => path.split(".").filter(Boolean);
const getPath = (object: Obj, path: string): any => steps(path).reduce<any>((at, key) => at?.[key], object);

function setPath(object: Obj, path: string, value: unknown): void {
  const keys = steps(path);
  const last = keys.pop()!;
  let at: Record<string, any> = object;
  for (const key of keys) at = at[key] ??= {};
  at[last] = value;
}
