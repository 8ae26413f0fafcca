/**
 * Field managers: which client owns which fields (`metadata.managedFields`), and server-side apply, which lets a client
 * state its part of an object and gives conflicts when another client owns it.
 */
import { ApiError } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import type { ApplyInput, FieldManagement, TrackInput } from "../verbs/engine.ts";
import {
  compare, difference, equal, type FieldSet, fieldsOf, intersection, isEmptySet, mergeApplied, paths, prune, union,
} from "./fieldset.ts";
import { byFields, intern } from "./fieldtext.ts";
import { KUBECTL, lastApplied, syncLastApplied } from "./last-applied.ts";
import { owned } from "./owned.ts";
import { type Shape, shapeOf } from "./shape.ts";
import { checkTyped } from "./typed.ts";

interface Entry {
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly apiVersion: string;
  readonly time?: string;
  readonly fieldsType: "FieldsV1";
  readonly fieldsV1: FieldSet;
  readonly subresource?: string;
}

/** Upstream folds older managers that update into one. */
const MAX_UPDATERS = 10;
const ANCIENT = "ancient-changes";
const BEFORE_FIRST_APPLY = "before-first-apply";

export interface FieldManagementOptions {
  /** Semantics of kinds that are not built in; undefined = look among the built-in ones. */
  readonly shapeOf?: (group: string, version: string, kind: string) => Shape | undefined;
}

export function createFieldManagement(options: FieldManagementOptions = {}): FieldManagement {
  const shapeFor = ({ group, version, kind }: Pick<ApplyInput, "group" | "version" | "kind">): Shape =>
    options.shapeOf?.(group, version, kind) ?? shapeOf(group, version, kind);
  return {
    apply: (input) => apply(input, shapeFor(input)),
    track: (input) => track(input, shapeFor(input)),
  };
}

const apiVersionOf = ({ group, version }: Pick<ApplyInput, "group" | "version">): string => (group ? `${group}/${version}` : version);

function apply(input: ApplyInput, shape: Shape): Obj {
  const { live, manager, force, subresource, now } = input;
  const given = withoutNulls(input.applied) as Obj;
  checkTyped(input, given, shape);
  const applied = scoped(given, subresource);
  const stated = fieldsOf(owned(applied), shape);
  const identity = { manager, operation: "Apply", apiVersion: apiVersionOf(input), ...(subresource && { subresource }) } as const;
  if (!live) return withManagers({ ...applied }, [newEntry(identity, stated, now)]);

  const entries = firstApply(live, shape, apiVersionOf(input), now);
  const own = entries.find((entry) => entry.operation === "Apply" && entry.manager === manager && (entry.subresource ?? "") === subresource);
  const others = entries.filter((entry) => entry !== own);
  const merged = mergeApplied(live, applied, shape) as Obj;
  const everybody = [...others.map((entry) => entry.fieldsV1), stated].reduce(union, {});
  const next = (own ? prune(merged, own.fieldsV1, everybody, shape) : merged) as Obj;

  const { changed, removed } = compare({ ...blank, ...owned(live) }, { ...blank, ...owned(next) }, shape);
  const conflicts = others.filter((entry) => entry.apiVersion === identity.apiVersion)
    .map((entry) => ({ entry, fields: intersection(entry.fieldsV1, changed) })).filter(({ fields }) => !isEmptySet(fields));
  const inherited = manager === KUBECTL && conflicts.length > 0 ? lastApplied(live, identity.apiVersion, shape) : {};
  const open = conflicts.map(({ entry, fields }) => ({ entry, fields: difference(fields, inherited) })).filter(({ fields }) => !isEmptySet(fields));
  if (open.length > 0 && !force) throw conflictError(open);
  if (manager === KUBECTL) syncLastApplied(next, live, input.applied);
  const rest = others.map((entry) => take(entry, identity.apiVersion, union(changed, removed)));
  const mine = own && sameSet(own.fieldsV1, stated) ? own : newEntry(identity, stated, now);
  return withManagers(next, [...rest, mine]);
}

/** What an ordinary write does to the field managers; the list for the new object. */
function track(input: TrackInput, shape: Shape): readonly object[] | undefined {
  const { live, next, manager, operation, subresource, now } = input;
  const given = (next.metadata?.managedFields ?? []) as unknown as Entry[];
  // A create by server-side apply has been recorded just now, by `apply`.
  if (!live && given.length === 1 && given[0]!.operation === "Apply" && given[0]!.manager === manager) return given;
  if (given.length === 1 && Object.keys(given[0]!).length === 0) return undefined;
  if (!live) return created(input, shape);
  const [was, is] = [owned(live, input.ignoreStatus), owned(next, input.ignoreStatus)];
  const known = entriesOf(live);
  const before = given.length === 0 || equal(given, known) ? known : given;
  const { changed, removed } = compare({ ...blank, ...was }, { ...blank, ...is }, shape);
  if (isEmptySet(changed) && isEmptySet(removed)) return before;
  const identity = { manager, operation, apiVersion: apiVersionOf(input), ...(subresource && { subresource }) };
  const isOwn = (entry: Entry) => entry.operation === operation && entry.manager === manager &&
    entry.apiVersion === identity.apiVersion && (entry.subresource ?? "") === subresource;
  const own = before.find(isOwn);
  const touched = union(changed, removed);
  const others = before.filter((entry) => entry !== own).map((entry) => take(entry, identity.apiVersion, touched));
  const fields = union(difference(own?.fieldsV1 ?? {}, removed), changed);
  const mine = own && sameSet(own.fieldsV1, fields) ? own : newEntry(identity, fields, now);
  return tidy([...others, mine], now);
}

/** Who creates an object owns all that it states. */
function created(input: TrackInput, shape: Shape): readonly object[] {
  const { next, manager, operation, subresource, now } = input;
  const stated = owned(next, input.ignoreStatus);
  const fields = whatIsCreated.get(stated, shape, () => intern(compare(blank, stated, shape).changed));
  if (isEmptySet(fields)) return [];
  return [newEntry({ manager, operation, apiVersion: apiVersionOf(input), ...(subresource && { subresource }) }, fields, now)];
}

const whatIsCreated = byFields<FieldSet>();

/** What is there even when it is not stated: upstream's types hold these structs always, so nobody owns them as such. */
const blank: object = Object.freeze({ metadata: {}, spec: {}, status: {} });

const entriesOf = (object: Obj): Entry[] => (object.metadata?.managedFields ?? []) as unknown as Entry[];

/** The entries of the live object; one that was never tracked belongs to whoever came before. */
function firstApply(live: Obj, shape: Shape, apiVersion: string, now: string): Entry[] {
  const entries = entriesOf(live);
  if (entries.length > 0) return entries;
  return [newEntry({ manager: BEFORE_FIRST_APPLY, operation: "Update", apiVersion }, fieldsOf(owned(live), shape), now)];
}

type Identity = Pick<Entry, "manager" | "operation" | "apiVersion" | "subresource">;

const newEntry = ({ subresource, ...identity }: Identity, fieldsV1: FieldSet, time: string): Entry =>
  Object.freeze({ ...identity, time, fieldsType: "FieldsV1", fieldsV1: intern(fieldsV1), ...(subresource && { subresource }) });

/** An entry without the fields that another manager has taken over or that are gone. */
function take(entry: Entry, apiVersion: string, fields: FieldSet): Entry {
  if (entry.apiVersion !== apiVersion) return entry;
  const left = difference(entry.fieldsV1, fields);
  return sameSet(left, entry.fieldsV1) ? entry : Object.freeze({ ...entry, fieldsV1: intern(left) });
}

const sameSet = (a: FieldSet, b: FieldSet): boolean => {
  if (a === b) return true;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => b[key] !== undefined && sameSet(a[key]!, b[key]));
};

/** Upstream's order; entries without fields go, and many updaters become one. */
function tidy(entries: readonly Entry[], now: string): Entry[] {
  const kept = entries.filter((entry) => !isEmptySet(entry.fieldsV1)).sort((a, b) =>
    order(a.operation, b.operation) || order(a.time ?? "", b.time ?? "") || order(a.manager, b.manager) ||
    order(a.apiVersion, b.apiVersion) || order(a.subresource ?? "", b.subresource ?? ""));
  const updaters = kept.filter((entry) => entry.operation === "Update");
  if (updaters.length <= MAX_UPDATERS) return kept;
  const { apiVersion } = updaters.at(-1)!;
  const old = updaters.filter((entry) => entry.apiVersion === apiVersion).slice(0, updaters.length - MAX_UPDATERS + 1);
  const folded = newEntry({ manager: ANCIENT, operation: "Update", apiVersion }, old.map((entry) => entry.fieldsV1).reduce(union, {}), old.at(-1)?.time ?? now);
  const appliers = kept.filter((entry) => entry.operation === "Apply");
  return [...appliers, folded, ...updaters.filter((entry) => !old.includes(entry))];
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function withManagers(object: Obj, entries: readonly Entry[]): Obj {
  const managedFields = tidy(entries, "") as unknown as NonNullable<NonNullable<Obj["metadata"]>["managedFields"]>;
  return { ...object, metadata: { ...object.metadata, managedFields } };
}

/** `status` is stated on its own subresource, and nothing else is stated there. */
function scoped(applied: Obj, subresource: string): Obj {
  if (subresource === "status") {
    const { apiVersion, kind, metadata, status } = applied;
    return { ...(apiVersion && { apiVersion }), ...(kind && { kind }), ...(metadata && { metadata }), ...(status !== undefined && { status }) } as Obj;
  }
  const { status: _, ...rest } = applied;
  return rest as Obj;
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null).map(([key, item]) => [key, withoutNulls(item)]));
}

interface Conflict {
  readonly entry: Entry;
  readonly fields: FieldSet;
}

/** 409 in upstream's words, one cause a field. */
function conflictError(conflicts: readonly Conflict[]): ApiError {
  const found = conflicts.flatMap(({ entry, fields }) => [...paths(fields)].map((path) => ({ manager: describe(entry), path })));
  const causes = found.map(({ manager, path }) => ({ reason: "FieldManagerConflict", message: `conflict with ${manager}`, field: path }));
  const lines = [...Map.groupBy(found, ({ manager }) => manager)].sort(([a], [b]) => order(a, b))
    .flatMap(([manager, list]) => [`conflicts with ${manager}:`, ...list.map(({ path }) => `- ${path}`)]);
  const message = found.length === 1
    ? `Apply failed with 1 conflict: conflict with ${found[0]!.manager}: ${found[0]!.path}`
    : `Apply failed with ${found.length} conflicts: ${lines.join("\n")}`;
  return new ApiError({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason: "Conflict", details: { causes }, code: 409 });
}

function describe({ manager, operation, apiVersion, subresource }: Entry): string {
  const name = JSON.stringify(manager) + (subresource ? ` with subresource ${JSON.stringify(subresource)}` : "");
  return operation === "Update" ? `${name} using ${apiVersion}` : name;
}
