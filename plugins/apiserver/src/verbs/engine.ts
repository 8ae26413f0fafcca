/** What every verb works with: the server's parts, and who asks for what. */
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { ClusterSettings, UserInfo } from "@k3s-p/plugin-api/slots";
import { timestamp, type KubeObject } from "@k3s-p/plugin-api/kube";
import type { Obj, ResourceDef, StrategyContext } from "../resources/types.ts";
import type { Duplicates } from "../server/duplicates.ts";
import type { Registry } from "../server/registry.ts";
import { canonicalize, type Canonical, Entry, toEntry } from "../store/entry.ts";
import type { Collection, Store } from "../store/store.ts";
import { strictError } from "./undecodable.ts";

/** The admission plugins as one. `mutate` returns the object to go on with. */
export interface AdmissionChain {
  /** Whether `mutate` would leave the object alone: then it may share parts with another one. */
  changesNothing(request: AdmissionRequest): boolean;
  mutate(request: AdmissionRequest): Obj | Promise<Obj>;
  validate(request: AdmissionRequest): void | Promise<void>;
}

/**
 * Drops what the kind does not have (and nulls) from a body in place; returns a warning for each unknown field. Throws
 * `Undecodable` for values of a wrong type, and for unknown fields when the mode is `Strict`. `keepEmpty` for what is not
 * an object yet, such as an applied configuration.
 */
export type FieldCheck = (def: ResourceDef, body: Obj, mode: FieldValidation, keepEmpty?: boolean) => readonly string[];
export type FieldValidation = "Ignore" | "Warn" | "Strict";

/** Server-side apply and the bookkeeping of field managers. */
export interface FieldManagement {
  apply(input: ApplyInput): Obj;
  track(input: TrackInput): readonly object[] | undefined;
}
export interface ApplyInput {
  readonly live: Obj | undefined;
  readonly applied: Obj;
  readonly manager: string;
  readonly force: boolean;
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly subresource: string;
  readonly now: string;
  /** What does not fit the kind, by fields such as `spec.containers[0].foo`. */
  readonly problems?: readonly { readonly path: string; readonly why: string }[];
}
export interface TrackInput {
  readonly live: Obj | undefined;
  readonly next: Obj;
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly subresource: string;
  readonly now: string;
  /** The kind has a subresource for its status: a write on the object itself says nothing about it. */
  readonly ignoreStatus?: boolean;
}

export interface Engine {
  readonly registry: Registry;
  readonly store: Store;
  readonly cluster: ClusterSettings;
  readonly now: () => Date;
  readonly newUid: () => string;
  /** Random end of a `generateName`. */
  readonly suffix: () => string;
  readonly admission: AdmissionChain;
  readonly fields?: FieldManagement;
  readonly checkFields?: FieldCheck;
  /** For what has nobody to answer to: an informer's handler that throws. */
  readonly onError: (error: unknown) => void;
}

export interface Call {
  readonly user: UserInfo;
  readonly def: ResourceDef;
  readonly subresource: string;
  /** "" for cluster-scoped resources and lists over all namespaces. */
  readonly namespace: string;
  readonly name: string;
  readonly dryRun: boolean;
  /** Who owns the fields of this write, as upstream derives it from the query or the user agent. */
  readonly manager: string;
  /** What to do about unknown fields; default: drop them silently. */
  readonly fieldValidation?: FieldValidation;
  /** Keys that the body has twice; absent when it has none, or nobody has to know. */
  readonly duplicates?: Duplicates;
  readonly warn?: (warnings: readonly string[]) => void;
  /** Adds to the audit log's record of the request. */
  readonly annotate?: (key: string, value: string) => void;
  /** Verb of the request, when it came as one. */
  readonly verb?: string;
}

/** Checks a body, or the result of a patch, against the kind's schema, and for keys that are there twice. */
export function checkBody(engine: Engine, call: Pick<Call, "def" | "fieldValidation" | "warn" | "duplicates">, body: Obj): void {
  const { def, fieldValidation = "Ignore", duplicates } = call;
  const unknown = engine.checkFields?.(def, body, duplicates && fieldValidation === "Strict" ? "Warn" : fieldValidation) ?? [];
  if (duplicates && fieldValidation === "Strict") throw strictError(def, duplicates.strict(unknown, def.custom === true));
  const warnings = duplicates ? duplicates.warnings(unknown, def.custom === true) : unknown;
  if (warnings.length > 0) call.warn?.(warnings);
}

/** A cached object in the form of the row that was asked for. */
export function present(engine: Pick<Engine, "registry">, def: ResourceDef, entry: Entry): Entry {
  if (!def.storedAs || !def.fromStored) return entry;
  const known = converted.get(entry)?.get(def);
  if (known) return known;
  const shown = def.isCurrent?.(entry.object) ? entry
    : entryOf(entry.namespace, entry.name, entry.revision, def.fromStored(clone(entry.object)));
  const forms = converted.get(entry) ?? new Map<ResourceDef, Entry>();
  converted.set(entry, forms.set(def, shown));
  return shown;
}

const converted = new WeakMap<Entry, Map<ResourceDef, Entry>>();

/** The form in which an object of `def` is kept. */
export const storedForm = (def: ResourceDef, object: Obj): Obj => (def.storedAs && def.toStored ? def.toStored(object) : object);
export const toStored = (def: ResourceDef, object: Obj): Canonical => canonicalize(storedForm(def, object));

export const collectionOf = (engine: Pick<Engine, "registry" | "store">, def: ResourceDef): Collection =>
  engine.store.collection(def.storedAs ?? def);

export function strategyContext(engine: Engine, call: Call): StrategyContext {
  const { user, dryRun, subresource } = call;
  return { now: currentTime(engine), user, dryRun, subresource, view: engine.store, cluster: engine.cluster };
}

let second = 0;
let secondText = "";

/** Now as a timestamp of the API; its text is made once a second. */
export function currentTime({ now }: Pick<Engine, "now">): string {
  const date = now();
  const seconds = Math.floor(date.getTime() / 1000);
  if (seconds !== second) {
    second = seconds;
    secondText = timestamp(date);
  }
  return secondText;
}

export function admissionRequest(
  call: Call, operation: AdmissionRequest["operation"], object: Obj | undefined, oldObject: Obj | undefined, options?: object,
): AdmissionRequest {
  const { group, version, plural } = call.def;
  const { user, subresource, namespace, name, dryRun, warn, annotate } = call;
  return {
    operation, user, group, version, resource: plural, subresource, namespace, name: object?.metadata?.name ?? name,
    object, oldObject, dryRun, ...(warn && { warn }), ...(annotate && { annotate }),
    options: optionsOf(call, operation, options),
  };
}

const optionKinds = { CREATE: "CreateOptions", UPDATE: "UpdateOptions", DELETE: "DeleteOptions", CONNECT: "" } as const;

function optionsOf(call: Call, operation: AdmissionRequest["operation"], options?: object): Record<string, unknown> {
  const { manager, fieldValidation, dryRun, verb } = call;
  const kind = verb === "patch" && operation !== "DELETE" ? "PatchOptions" : optionKinds[operation];
  return {
    kind, apiVersion: "meta.k8s.io/v1", ...options, ...(dryRun && { dryRun: ["All"] }),
    ...(operation !== "DELETE" && { ...(manager && { fieldManager: manager }), ...(fieldValidation && { fieldValidation }) }),
  };
}

export const apiVersion = (def: Pick<ResourceDef, "group" | "version">): string =>
  def.group ? `${def.group}/${def.version}` : def.version;

/** An entry that was never stored, for dry runs and computed answers. */
export function unstored(object: Obj, revision = 0): Entry {
  const { namespace = "", name = "" } = object.metadata ?? {};
  return entryOf(namespace, name, revision, object);
}

/** Revision 0 is that of what never was in the store: it has no resourceVersion. */
function entryOf(namespace: string, name: string, revision: number, object: Obj): Entry {
  const canonical = canonicalize(object);
  return revision === 0 ? new Entry(namespace, name, 0, canonical.raw, canonical.object) : toEntry(namespace, name, revision, canonical);
}

/** A private, plain copy of JSON data; `undefined` members are dropped. */
export function clone<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(clone) as T;
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const item = (value as Record<string, unknown>)[key];
    if (item !== undefined) copy[key] = typeof item === "object" && item !== null ? clone(item) : item;
  }
  return copy as T;
}

/** A private copy of an object, except for the record of its field managers, which is replaced and never changed. */
export function privateCopy(object: Obj): Obj {
  const { metadata } = object;
  if (!metadata?.managedFields) return clone(object);
  const { managedFields, ...rest } = metadata;
  const copy = clone({ ...object, metadata: rest }) as Obj;
  copy.metadata!.managedFields = managedFields;
  return copy;
}

export const isPlainObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export type { KubeObject };
