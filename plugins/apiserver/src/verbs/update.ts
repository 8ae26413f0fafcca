/** UPDATE, of objects and of their subresources: one read-modify-write that PATCH shares. */
import { apiError, badRequest, conflict, type FieldError, invalid, notFound } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";
import { equal as sameJson } from "../patch/fieldset.ts";
import { canonicalize, type Entry, sameContent } from "../store/entry.ts";
import { checkType, create, trackFields } from "./create.ts";
import { admissionRequest, type Call, clone, collectionOf, type Engine, present, privateCopy, storedForm, strategyContext, unstored } from "./engine.ts";
import { validateMetadataUpdate } from "./metadata.ts";

export interface Modified {
  readonly entry: Entry;
  readonly created: boolean;
}

export interface Modification {
  /** The wanted object, from the current one (frozen), with which it may share what is the same unless `isOwn`. May throw. */
  readonly next: (old: Obj) => Obj | Promise<Obj>;
  /** What `next` gives belongs to the write, which changes it in place. */
  readonly isOwn?: boolean;
  /** The object to create when there is none; undefined = 404. */
  readonly fresh?: () => Obj | Promise<Obj>;
  /** Field managers are already in the object (server-side apply). */
  readonly tracked?: boolean;
}

/** Every lost race means that another writer got through, so this is a bound for bugs, not for contention. */
const MAX_TRIES = 1000;

/** `again` makes the object once more for another try: then `object` itself belongs to the first one. */
export async function update(engine: Engine, call: Call, object: Obj, again?: () => Obj | Promise<Obj>): Promise<Modified> {
  identify(call, object);
  let isUsed = again === undefined;
  const own = async (): Promise<Obj> => {
    if (isUsed) return again ? identify(call, await again()) : privateCopy(object);
    isUsed = true;
    return object;
  };
  const mayCreate = call.def.createOnUpdate && !call.subresource;
  const next = async (): Promise<Obj> => checkVersion(call, await own());
  return modify(engine, call, { next, isOwn: true, ...(mayCreate && { fresh: own }) });
}

/** Upstream names the resource where it otherwise names the kind. */
function checkVersion({ def, name }: Call, object: Obj): Obj {
  const version = object.metadata?.resourceVersion;
  if (!(def.needsVersion || def.custom) || (version && version !== "0")) return object;
  const error: FieldError = { type: "FieldValueInvalid", field: "metadata.resourceVersion", message: "Invalid value: 0: must be specified for an update" };
  throw invalid(def.group, def.plural, name, [error]);
}

function identify(call: Call, object: Obj): Obj {
  checkType(call, object);
  checkIdentity(call, object);
  return object;
}

/** Reads, changes, admits, validates and writes; repeats when another writer was faster and no resourceVersion was given. */
export async function modify(engine: Engine, call: Call, modification: Modification): Promise<Modified> {
  const collection = collectionOf(engine, call.def);
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const stored = collection.get(call.name, call.namespace);
    if (!stored) {
      if (!modification.fresh) throw notFound(call.def, call.name);
      return { entry: await create(engine, call, await modification.fresh()), created: true };
    }
    if (call.def.prepareRead) await call.def.prepareRead([stored]);
    const current = present(engine, call.def, stored);
    const wanted = await modification.next(current.object);
    const pinned = Boolean(wanted.metadata?.resourceVersion);
    checkPreconditions(call.def, wanted, current);
    const next = await admit(engine, call, wanted, current.object, modification);
    const result = await write(engine, call, next, stored);
    if (result) {
      if (call.def.prepareRead) await call.def.prepareRead([result]);
      return { entry: present(engine, call.def, result), created: false };
    }
    if (pinned && stale(wanted, collection.get(call.name, call.namespace))) throw conflict(call.def, call.name);
  }
  throw apiError(500, "InternalError", `Internal error occurred: too many conflicting writes of ${call.def.plural} "${call.name}"`);
}

const stale = (wanted: Obj, now: Entry | undefined): boolean => wanted.metadata!.resourceVersion !== String(now?.revision);

function checkIdentity(call: Call, object: Obj): void {
  const meta = (object.metadata ??= {});
  if (call.def.namespaced) {
    if (meta.namespace && meta.namespace !== call.namespace) {
      throw badRequest(`the namespace of the object (${meta.namespace}) does not match the namespace on the request (${call.namespace})`);
    }
    meta.namespace = call.namespace;
  }
  if (meta.name && meta.name !== call.name) {
    throw badRequest(`the name of the object (${meta.name}) does not match the name on the URL (${call.name})`);
  }
  meta.name = call.name;
}

function checkPreconditions(def: ResourceDef, wanted: Obj, current: Entry): void {
  const { uid, resourceVersion } = wanted.metadata ?? {};
  const have = current.object.metadata?.uid;
  if (uid && uid !== have) {
    throw conflict(def, current.name, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${have}`);
  }
  if (resourceVersion && resourceVersion !== "0" && resourceVersion !== String(current.revision)) throw conflict(def, current.name);
}

/** From the wanted object to the one to store. */
async function admit(engine: Engine, call: Call, wanted: Obj, old: Obj, { tracked, isOwn }: Modification): Promise<Obj> {
  const { def } = call;
  const context = strategyContext(engine, call);
  const sharesSpec = call.subresource === "status" && !def.custom;
  const scoped = sharesSpec ? withStatus(call, wanted, old) : restrict(call, wanted, old, isOwn);
  keepSystemFields(scoped, old);
  if (!sharesSpec) def.defaults?.(scoped);
  if (!tracked) trackFields(engine, call, old, scoped, context.now);
  const request = admissionRequest(call, "UPDATE", scoped, old);
  const mayChange = call.subresource in scopes && !engine.admission.changesNothing(request);
  const mutated = await engine.admission.mutate(mayChange && sharesSpec ? { ...request, object: privateCopy(scoped) } : request);
  const next = mayChange ? confine(call, mutated, old) : mutated;
  if (statusParts.has(call.subresource) && def.prepareStatusUpdate) def.prepareStatusUpdate(next, old, context);
  else if (!call.subresource) def.prepareUpdate?.(next, old, context);
  share(next, old);
  // A pod that was just bound is still at its first generation.
  if (call.subresource !== "binding") bumpGeneration(def, next, old);
  const whole = call.subresource === "" || call.subresource === "scale";
  const validate = whole || specParts.has(call.subresource) ? def.validateUpdate : statusParts.has(call.subresource) ? def.validateStatusUpdate : undefined;
  const errors = [...validateMetadataUpdate(next, old, def), ...(validate?.(next, old, context) ?? [])];
  if (errors.length > 0) throw invalid(def.group, def.kind, call.name, errors);
  if (whole && next.spec !== old.spec) call.warn?.(def.warnings?.(next, old) ?? []);
  await engine.admission.validate(admissionRequest(call, "UPDATE", next, old));
  return next;
}

/** Subresources that write the status, or a part of it. */
const statusParts: ReadonlySet<string> = new Set(["approval", "status"]);

/** Subresources that write a part of the spec. */
const specParts: ReadonlySet<string> = new Set(["ephemeralcontainers", "finalize", "resize"]);

/** What a write on a subresource may change; all the rest comes from the current object. */
const scopes: Readonly<Record<string, (next: Obj, old: Obj) => Obj>> = {
  status: (next, old) => ({ ...old, metadata: freeMetadata(next, old), status: next.status }),
  approval: (next, old) => ({ ...old, metadata: freeMetadata(next, old), status: { ...old.status, conditions: next.status?.conditions } }),
  finalize: (next, old) => ({ ...old, spec: { ...old.spec, finalizers: next.spec?.finalizers } }),
  ephemeralcontainers: (next, old) => ({ ...old, spec: { ...old.spec, ephemeralContainers: next.spec?.ephemeralContainers } }),
  resize: (next, old) => ({ ...old, spec: resizedSpec(next, old) }),
};

/** A private object with what the write may change. */
function restrict(call: Call, next: Obj, old: Obj, isOwn = false): Obj {
  const scope = scopes[call.subresource];
  if (scope) return privateCopy(scope(next, old));
  return isOwn ? next : privateCopy(next);
}

/** What admission has changed beside the subresource's part does not count. */
function confine(call: Call, mutated: Obj, old: Obj): Obj {
  const { managedFields } = mutated.metadata ?? {};
  const next = privateCopy(scopes[call.subresource]!(mutated, old));
  next.metadata = { ...next.metadata, ...(managedFields && { managedFields }) };
  return next;
}

/** For the most frequent write of all: the current object with another status, defaulted. Only metadata and status are private. */
function withStatus({ def }: Call, next: Obj, old: Obj): Obj {
  const { status: _, ...rest } = old;
  const scoped: Obj = { ...rest, metadata: privateCopy({ metadata: freeMetadata(next, old) } as Obj).metadata! };
  if (next.status !== undefined) scoped.status = clone(next.status);
  if (!def.defaults) return scoped;
  // The rest was defaulted when it was written.
  const shell: Obj = { ...scoped, spec: {} };
  def.defaults(shell);
  if (shell.status !== undefined) scoped.status = shell.status;
  return scoped;
}

function freeMetadata(next: Obj, old: Obj): NonNullable<Obj["metadata"]> {
  const { labels, annotations, finalizers, managedFields } = next.metadata ?? {};
  return { ...old.metadata, labels, annotations, finalizers, managedFields } as NonNullable<Obj["metadata"]>;
}

function resizedSpec(next: Obj, old: Obj): Obj {
  const { resources, initContainers } = old.spec;
  return {
    ...old.spec, containers: resized(next, old, "containers"),
    ...(initContainers && { initContainers: resized(next, old, "initContainers") }),
    ...((resources ?? next.spec?.resources) && { resources: next.spec?.resources }),
  };
}

/** Containers as they are but for their resources; those of another name or place stay for validation to refuse. */
function resized(next: Obj, old: Obj, list: "containers" | "initContainers"): Obj[] {
  const wanted: Obj[] = next.spec?.[list] ?? old.spec[list];
  return wanted.map((container) => {
    const { resources, resizePolicy } = container;
    const before = (old.spec[list] as Obj[]).find((c) => c.name === container.name);
    return before ? { ...before, resources, ...(resizePolicy && { resizePolicy }) } : container;
  });
}

const systemFields = ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName"] as const;

function keepSystemFields(next: Obj, old: Obj): void {
  const meta = (next.metadata ??= {}) as Record<string, unknown>;
  const before = old.metadata as Record<string, unknown>;
  for (const key of systemFields) {
    if (before[key] === undefined) delete meta[key];
    else meta[key] = before[key];
  }
  if (meta["managedFields"] === undefined && before["managedFields"]) meta["managedFields"] = before["managedFields"];
  delete meta["selfLink"];
}

/** What is as it was becomes the very same: to compare, freeze and keep it costs nothing from here on. */
function share(next: Obj, old: Obj): void {
  shareMembers(next, old);
  if (next.metadata && old.metadata) shareMembers(next.metadata as Record<string, unknown>, old.metadata as Record<string, unknown>);
}

function shareMembers(next: Record<string, unknown>, old: Record<string, unknown>): void {
  for (const key in next) {
    const value = next[key];
    if (typeof value === "object" && value !== old[key] && key !== "metadata" && sameJson(value, old[key])) next[key] = old[key];
  }
}

function bumpGeneration(def: ResourceDef, next: Obj, old: Obj): void {
  if (!def.generationOf) return;
  const before = old.metadata?.generation ?? 0;
  next.metadata!.generation = sameJson(def.generationOf(next), def.generationOf(old)) ? before : before + 1;
}

export { sameJson };

/** Undefined when another writer was faster. An object whose last finalizer goes away is deleted instead. */
async function write(engine: Engine, call: Call, next: Obj, stored: Entry): Promise<Entry | undefined> {
  const def = engine.registry.stored(call.def);
  if (isReleased(call.def, next)) {
    if (call.dryRun) return unstored(next, stored.revision);
    const gone = await engine.store.remove(def, stored);
    return gone.ok ? unstored(next, gone.entry.revision) : undefined;
  }
  if (call.def.prepareWrite) await call.def.prepareWrite(next);
  const kept = storedForm(call.def, next);
  if (sameContent(stored, kept) && !engine.store.isStale(def, stored)) return stored;
  if (call.dryRun) return unstored(next, stored.revision);
  const result = await engine.store.put(def, stored.namespace, stored.name, canonicalize(kept), stored);
  return result.ok ? result.entry : undefined;
}

/** Being deleted, without a grace period to wait for, and nothing holds it any more. */
export function isReleased(def: ResourceDef, object: Obj): boolean {
  const meta = object.metadata!;
  if (!meta.deletionTimestamp || meta.finalizers?.length) return false;
  if (def.deletion === "namespace" && object.spec?.finalizers?.length) return false;
  return !meta.deletionGracePeriodSeconds;
}
