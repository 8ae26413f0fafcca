/** CREATE: system fields, defaults, admission, strategy, validation, and the write. */
import { alreadyExists, apiError, badRequest, invalid } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import type { Entry } from "../store/entry.ts";
import { admissionRequest, apiVersion, type Call, collectionOf, currentTime, type Engine, present, privateCopy, strategyContext, toStored, unstored } from "./engine.ts";
import { validateNewMetadata } from "./metadata.ts";

/** Tries of a generated name before the collision is the client's. */
const NAME_TRIES = 8;
const MAX_GENERATED_PREFIX = 58;

/** `object` is private to this call and is changed. */
export async function create(engine: Engine, call: Call, object: Obj): Promise<Entry> {
  checkType(call, object);
  const generated = !object.metadata?.name && Boolean(object.metadata?.generateName);
  for (let attempt = 1; ; attempt++) {
    const copy = generated ? privateCopy(object) : object;
    const entry = await tryCreate(engine, call, copy);
    if (entry) {
      if (call.def.prepareRead) await call.def.prepareRead([entry]);
      return present(engine, call.def, entry);
    }
    if (!generated || attempt === NAME_TRIES) throw alreadyExists(call.def, copy.metadata!.name!);
  }
}

/** Undefined when the name is taken. */
async function tryCreate(engine: Engine, call: Call, object: Obj): Promise<Entry | undefined> {
  const { def } = call;
  fillSystemFields(engine, call, object);
  def.defaults?.(object);
  const context = strategyContext(engine, call);
  trackFields(engine, call, undefined, object, context.now);
  const admitted = await engine.admission.mutate(admissionRequest(call, "CREATE", object, undefined));
  if (admitted !== object) def.defaults?.(admitted);
  const next = admitted;
  def.prepareCreate?.(next, context);
  if (def.generationOf) next.metadata!.generation = 1;
  else delete next.metadata!.generation;
  const errors = [...validateNewMetadata(next, def), ...(def.validate?.(next, context) ?? [])];
  if (errors.length > 0) throw invalid(def.group, def.kind, next.metadata!.name ?? "", errors);
  call.warn?.(def.warnings?.(next) ?? []);
  await engine.admission.validate(admissionRequest(call, "CREATE", next, undefined));

  const { name = "", namespace = "" } = next.metadata!;
  const collection = collectionOf(engine, def);
  if (call.dryRun) return collection.get(name, namespace) ? undefined : unstored(next);
  const stored = engine.registry.stored(def);
  if (def.prepareWrite) await def.prepareWrite(next);
  const result = await engine.store.put(stored, namespace, name, toStored(def, next), undefined);
  return result.ok ? result.entry : undefined;
}

/** The body must be of the kind that the path names. */
export function checkType(call: Pick<Call, "def">, object: Obj): void {
  const expected = apiVersion(call.def);
  object.apiVersion ||= expected;
  object.kind ||= call.def.kind;
  if (object.apiVersion !== expected) {
    throw badRequest(`the API version in the data (${object.apiVersion}) does not match the expected API version (${expected})`);
  }
  if (object.kind !== call.def.kind) {
    throw badRequest(`${object.kind} in version ${JSON.stringify(call.def.version)} cannot be handled as a ${call.def.kind}: ` +
      `converting (${object.apiVersion}.${object.kind}) to (${expected}.${call.def.kind}): unknown conversion`);
  }
}

function fillSystemFields(engine: Engine, call: Call, object: Obj): void {
  const meta = (object.metadata ??= {});
  if (meta.resourceVersion) throw apiError(500, "", "resourceVersion should not be set on objects to be created");
  if (call.def.namespaced) {
    if (meta.namespace && meta.namespace !== call.namespace) {
      throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
    }
    meta.namespace = call.namespace;
  } else if (meta.namespace === "") delete meta.namespace;
  if (call.name && meta.name && meta.name !== call.name) {
    throw badRequest(`the name of the object (${meta.name}) does not match the name on the URL (${call.name})`);
  }
  if (call.name) meta.name = call.name;
  if (!meta.name && meta.generateName) meta.name = meta.generateName.slice(0, MAX_GENERATED_PREFIX) + engine.suffix();
  meta.uid = engine.newUid();
  meta.creationTimestamp = currentTime(engine);
  delete meta.deletionTimestamp;
  delete meta.deletionGracePeriodSeconds;
  delete meta.selfLink;
  delete meta.resourceVersion;
}

/**
 * Records who owns which fields: what the client stated, before admission and the strategy add theirs. Kinds that are
 * written behind (Events, Leases) have one writer and are left out: the record would be larger than they are.
 */
export function trackFields(engine: Engine, call: Call, live: Obj | undefined, next: Obj, now: string): void {
  const { group, version, kind, tier, subresources } = call.def;
  const ignoreStatus = !call.subresource && subresources?.includes("status");
  const fields = tier === "lazy" ? undefined : engine.fields?.track({
    live, next, manager: call.manager, operation: "Update", group, version, kind, subresource: call.subresource, now,
    ...(ignoreStatus && { ignoreStatus }),
  });
  if (fields && fields.length > 0) next.metadata!.managedFields = fields as NonNullable<Obj["metadata"]>["managedFields"];
  else delete next.metadata!.managedFields;
}
