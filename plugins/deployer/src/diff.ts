/**
 * Three-way patch: what changes `current` so that it says what `next` says, and drops what only `last` said.
 * Fields that nobody ever applied stay as they are. Built-in kinds get a strategic merge patch, so that a list of
 * named things is merged and not replaced; other kinds get a JSON merge patch (RFC 7386).
 */
import { isDeepStrictEqual } from "node:util";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

export interface Versions {
  /** The configuration applied last, if known. */
  readonly last: Json | undefined;
  readonly next: Json;
  readonly current: Json;
}

/** Merge keys of the API's lists (`x-kubernetes-patch-merge-key`), by the name of the list field. */
const mergeKeys: Readonly<Record<string, readonly string[]>> = {
  containers: ["name"], initContainers: ["name"], ephemeralContainers: ["name"], volumes: ["name"], env: ["name"],
  volumeMounts: ["mountPath"], volumeDevices: ["devicePath"], imagePullSecrets: ["name"], hostAliases: ["ip"],
  topologySpreadConstraints: ["topologyKey"], conditions: ["type"], webhooks: ["name"], secrets: ["name"],
  ports: ["containerPort", "port"], resourceClaims: ["name"], ownerReferences: ["uid"],
};
/** Lists of plain values that are merged as sets. */
const setLists = new Set(["finalizers"]);

/** Undefined when `current` already agrees. */
export function threeWayPatch(versions: Versions, strategic: boolean): JsonObject | undefined {
  return diffObject(versions.last as JsonObject | undefined, versions.next as JsonObject, versions.current as JsonObject, strategic);
}

const isObject = (value: unknown): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);

function diffObject(last: Json | undefined, next: JsonObject, current: JsonObject, strategic: boolean): JsonObject | undefined {
  const patch: JsonObject = {};
  for (const [key, value] of Object.entries(next)) {
    if (value === null) {
      if (current[key] !== undefined) patch[key] = null;
      continue;
    }
    const change = diffValue(key, isObject(last) ? last[key] : undefined, value, current[key], strategic);
    if (change !== undefined) patch[key] = change;
  }
  for (const key of isObject(last) ? Object.keys(last) : []) {
    if (!Object.hasOwn(next, key) && current[key] !== undefined) patch[key] = null;
  }
  return Object.keys(patch).length ? patch : undefined;
}

function diffValue(key: string, last: Json | undefined, next: Json, current: Json | undefined, strategic: boolean): Json | undefined {
  if (isObject(next)) {
    if (isObject(current)) return diffObject(last, next, current, strategic);
    return Object.keys(next).length || current !== undefined ? next : undefined;
  }
  if (Array.isArray(next) && strategic && Array.isArray(current)) {
    const by = mergeKeyOf(key, next, current);
    if (by) return diffKeyedList(by, Array.isArray(last) ? last : [], next as JsonObject[], current as JsonObject[]);
    if (setLists.has(key)) {
      const missing = next.filter((item) => !current.includes(item));
      return missing.length ? missing : undefined;
    }
  }
  // An empty list is what an absent one reads as.
  if (Array.isArray(next) && next.length === 0 && current === undefined) return undefined;
  if (isDeepStrictEqual(next, current)) return undefined;
  // A list that is replaced as a whole: the defaults that the server filled in are no difference.
  if (Array.isArray(next) && Array.isArray(current) && (last === undefined || isDeepStrictEqual(last, next)) && says(current, next)) return undefined;
  return next;
}

/** Whether `current` holds everything that `wanted` does, in the same order. */
function says(current: Json | undefined, wanted: Json): boolean {
  if (Array.isArray(wanted)) return Array.isArray(current) && current.length === wanted.length && wanted.every((item, i) => says(current[i], item));
  if (isObject(wanted)) return isObject(current) && Object.entries(wanted).every(([key, value]) => says(current[key], value));
  return current === wanted;
}

/** The key under which every element of both lists is found exactly once; without one the list is atomic. */
function mergeKeyOf(field: string, next: Json[], current: Json[]): string | undefined {
  return mergeKeys[field]?.find((key) => [next, current].every((list) => {
    const values = list.map((item) => (isObject(item) ? item[key] : undefined));
    return values.every((value) => value !== undefined) && new Set(values).size === values.length;
  }));
}

function diffKeyedList(by: string, last: Json[], next: JsonObject[], current: JsonObject[]): Json | undefined {
  const find = (list: Json[], value: Json | undefined) => list.find((item): item is JsonObject => isObject(item) && item[by] === value);
  const patch: JsonObject[] = [];
  for (const item of next) {
    const existing = find(current, item[by]);
    const change = existing ? diffObject(find(last, item[by]), item, existing, true) : item;
    if (change) patch.push({ ...change, [by]: item[by]! });
  }
  for (const item of last) {
    if (!isObject(item) || find(next, item[by]) || !find(current, item[by])) continue;
    patch.push({ $patch: "delete", [by]: item[by]! });
  }
  return patch.length ? patch : undefined;
}
