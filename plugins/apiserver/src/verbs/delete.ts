/** DELETE and DELETECOLLECTION: preconditions, propagation by finalizers, grace periods, and the termination of namespaces. */
import { apiError, conflict, notFound, timestamp, type Status } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { Entry } from "../store/entry.ts";
import { admissionRequest, type Call, clone, collectionOf, type Engine, present, toStored } from "./engine.ts";
import { isReleased } from "./update.ts";

export interface Deletion {
  readonly gracePeriodSeconds?: number | undefined;
  readonly propagationPolicy?: string | undefined;
  readonly orphanDependents?: boolean | undefined;
  readonly preconditions?: { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined } | undefined;
}

export interface Deleted {
  /** The last state, or the state that waits for its end. */
  readonly entry: Entry;
  readonly gone: boolean;
}

const POLICIES = ["Orphan", "Background", "Foreground"];
const FOREGROUND = "foregroundDeletion";
const ORPHAN = "orphan";
const MAX_TRIES = 1000;

/** `keep` is asked again for each state: a collection's delete leaves alone what no longer matches. */
export async function remove(engine: Engine, call: Call, options: Deletion): Promise<Deleted> {
  checkOptions(options);
  const collection = collectionOf(engine, call.def);
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const stored = collection.get(call.name, call.namespace);
    if (!stored) throw notFound(call.def, call.name);
    if (call.def.prepareRead) await call.def.prepareRead([stored]);
    const current = present(engine, call.def, stored);
    checkPreconditions(call.def, current, options);
    const admission = admissionRequest(call, "DELETE", undefined, current.object, options);
    await engine.admission.mutate(admission);
    await engine.admission.validate(admission);
    const next = marked(call.def, current.object, options, engine.now());
    const result = await commit(engine, call, stored, next);
    if (result) return result;
  }
  throw apiError(500, "InternalError", `Internal error occurred: too many conflicting writes of ${call.def.plural} "${call.name}"`);
}

/** Deletes what matches, all at once; returns the states that clients see in the answer. */
export async function removeAll(engine: Engine, call: Call, entries: readonly Entry[], options: Deletion): Promise<Entry[]> {
  checkOptions(options);
  const results = await Promise.all(entries.map(async (entry) => {
    const { resourceVersion: _, ...preconditions } = options.preconditions ?? {};
    const one = { ...call, name: entry.name, namespace: entry.namespace };
    try {
      const uid = entry.object.metadata!.uid;
      return (await remove(engine, one, { ...options, preconditions: { ...preconditions, uid } })).entry;
    } catch (error) {
      const code = (error as { code?: number }).code;
      if (code === 404 || code === 409) return undefined;
      throw error;
    }
  }));
  return results.filter((entry) => entry !== undefined);
}

function checkOptions(options: Deletion): void {
  const { propagationPolicy: policy, orphanDependents } = options;
  const fail = (field: string, why: string): Error =>
    apiError(422, "Invalid", `DeleteOptions.meta.k8s.io "" is invalid: ${field}: ${why}`, { group: "meta.k8s.io", kind: "DeleteOptions" });
  if (policy !== undefined && orphanDependents !== undefined) {
    throw fail("propagationPolicy", `Invalid value: ${JSON.stringify(policy)}: orphanDependents and deletionPropagation cannot be both set`);
  }
  if (policy !== undefined && !POLICIES.includes(policy)) {
    throw fail("propagationPolicy", `Unsupported value: ${JSON.stringify(policy)}: supported values: "Background", "Foreground", "Orphan"`);
  }
}

function checkPreconditions(def: ResourceDef, entry: Entry, options: Deletion): void {
  const { uid, resourceVersion } = options.preconditions ?? {};
  const have = entry.object.metadata!.uid;
  if (uid && uid !== have) {
    throw conflict(def, entry.name, `the UID in the precondition (${uid}) does not match the UID in record (${have}). ` +
      "The object might have been deleted and then recreated");
  }
  if (resourceVersion && resourceVersion !== String(entry.revision)) {
    throw conflict(def, entry.name, `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion ` +
      `in record (${entry.revision}). The object might have been modified`);
  }
}

/** The object with its deletion marks; `undefined` fields of metadata mean that it may go at once. */
function marked(def: ResourceDef, old: Obj, options: Deletion, now: Date): Obj {
  const next = clone(old);
  const meta = next.metadata!;
  setFinalizers(def, next, options);
  const grace = graceOf(def, old, options);
  const before = old.metadata!;
  if (before.deletionTimestamp) {
    const left = before.deletionGracePeriodSeconds ?? 0;
    if (grace >= left) return next;
    const start = Date.parse(before.deletionTimestamp) - left * 1000;
    meta.deletionTimestamp = timestamp(new Date(start + grace * 1000));
  } else {
    meta.deletionTimestamp = timestamp(new Date(now.getTime() + grace * 1000));
    if (def.generationOf) meta.generation = (before.generation ?? 0) + 1;
    def.prepareDelete?.(next, timestamp(now));
  }
  meta.deletionGracePeriodSeconds = grace;
  if (def.deletion === "namespace") next.status = { ...next.status, phase: "Terminating" };
  return next;
}

function setFinalizers(def: ResourceDef, next: Obj, options: Deletion): void {
  const meta = next.metadata!;
  const list = meta.finalizers ?? [];
  const policy = policyOf(def, list, options);
  const rest = list.filter((name) => name !== FOREGROUND && name !== ORPHAN);
  if (policy === "Foreground") rest.push(FOREGROUND);
  if (policy === "Orphan") rest.push(ORPHAN);
  if (rest.length > 0) meta.finalizers = rest;
  else delete meta.finalizers;
}

function policyOf(def: ResourceDef, finalizers: readonly string[], options: Deletion): string {
  if (options.propagationPolicy) return options.propagationPolicy;
  if (options.orphanDependents !== undefined) return options.orphanDependents ? "Orphan" : "Background";
  if (finalizers.includes(ORPHAN)) return "Orphan";
  if (finalizers.includes(FOREGROUND)) return "Foreground";
  return def.defaultPropagation ?? "Background";
}

/** Only pods that may be running wait; a negative period means one second. */
function graceOf(def: ResourceDef, old: Obj, options: Deletion): number {
  if (def.deletion !== "pod") return 0;
  const { gracePeriodSeconds } = options;
  const wanted = gracePeriodSeconds ?? old.spec?.terminationGracePeriodSeconds ?? 30;
  if (!old.spec?.nodeName || old.status?.phase === "Succeeded" || old.status?.phase === "Failed") return 0;
  return wanted < 0 ? 1 : wanted;
}

/** Undefined when another writer was faster. */
async function commit(engine: Engine, call: Call, stored: Entry, next: Obj): Promise<Deleted | undefined> {
  const def = engine.registry.stored(call.def);
  const gone = isReleased(call.def, next);
  if (call.dryRun) return { entry: present(engine, call.def, stored), gone };
  if (gone) {
    const result = await engine.store.remove(def, stored);
    if (result.ok && call.def.prepareRead) await call.def.prepareRead([result.entry]);
    return result.ok ? { entry: present(engine, call.def, result.entry), gone } : undefined;
  }
  if (sameMarks(stored.object, next)) return { entry: present(engine, call.def, stored), gone };
  if (call.def.prepareWrite) await call.def.prepareWrite(next);
  const result = await engine.store.put(def, stored.namespace, stored.name, toStored(call.def, next), stored);
  if (result.ok && call.def.prepareRead) await call.def.prepareRead([result.entry]);
  return result.ok ? { entry: present(engine, call.def, result.entry), gone } : undefined;
}

function sameMarks(a: Obj, b: Obj): boolean {
  const marks = ({ metadata: m }: Obj): string =>
    `${m!.deletionTimestamp} ${m!.deletionGracePeriodSeconds} ${(m!.finalizers ?? []).join()}`;
  return marks(a) === marks(b);
}

/** What still waits for its end is shown as it is. */
export const returnsObject = (def: ResourceDef, deleted: Deleted): boolean => !deleted.gone || def.returnsDeleted === true;

export function deletedStatus(def: ResourceDef, entry: Entry): Status {
  return {
    kind: "Status", apiVersion: "v1", metadata: {}, status: "Success",
    details: { name: entry.name, ...(def.group && { group: def.group }), kind: def.plural, uid: entry.object.metadata!.uid! },
  };
}
