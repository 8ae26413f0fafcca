/** Small value helpers: semantic equality, stable hashes, percentages, batches of growing size. */

type Json = unknown;

/** Fields where the API makes no difference between an empty object and an absent one. */
const emptyIsAbsent: ReadonlySet<string> = new Set([
  "resources",
  "limits",
  "requests",
  "labels",
  "annotations",
  "nodeSelector",
  "metadata",
  "securityContext",
  "data",
  "status",
]);

const isAbsent = (value: Json, key: string): boolean =>
  value === undefined || value === null || (Array.isArray(value) && value.length === 0) ||
  (typeof value === "object" && emptyIsAbsent.has(key) && Object.keys(value).every((k) => isAbsent((value as any)[k], k)));

/** Equality of two API values, where absent, null and empty lists are the same. */
export function semanticEqual(a: Json, b: Json, key = ""): boolean {
  if (Object.is(a, b)) return true;
  if (isAbsent(a, key) || isAbsent(b, key)) return isAbsent(a, key) && isAbsent(b, key);
  if (typeof a !== "object" || typeof b !== "object" || Array.isArray(a) !== Array.isArray(b)) return false;
  if (Array.isArray(a)) {
    return a.length === (b as Json[]).length && a.every((item, i) => semanticEqual(item, (b as Json[])[i]));
  }
  const keys = new Set([...Object.keys(a as object), ...Object.keys(b as object)]);
  return [...keys].every((k) => semanticEqual((a as any)[k], (b as any)[k], k));
}

/** JSON with sorted keys and without absent values: equal objects give equal text. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const fields = Object.keys(value).sort().filter((key) => !isAbsent((value as any)[key], key));
  return `{${fields.map((key) => `${JSON.stringify(key)}:${canonicalJson((value as any)[key])}`).join(",")}}`;
}

/** A copy with the keys of every object in the order in which Go writes them. */
export function sortedKeys(value: Json): Json {
  if (Array.isArray(value)) return value.map(sortedKeys);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sortedKeys((value as any)[key])]));
}

const alphabet = "bcdfghjklmnpqrstvwxz2456789";

/** FNV-1a of the text as a name suffix in the alphabet of generated names. */
export function hashSuffix(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return safeEncode(String(hash));
}

const safeEncode = (text: string): string =>
  [...text].map((char) => alphabet[char.charCodeAt(0) % alphabet.length]).join("");

/** A count, or a percentage of `total`. */
export function resolveIntOrPercent(value: number | string | undefined, total: number, round: "up" | "down"): number {
  if (value === undefined) return 0;
  if (typeof value === "number") return value;
  const percent = /^(\d+)%$/.exec(value);
  if (!percent) return Number(value) || 0;
  const exact = (Number(percent[1]) * total) / 100;
  return round === "up" ? Math.ceil(exact) : Math.floor(exact);
}

/** How many were done, and the first error. */
export interface BatchResult {
  readonly done: number;
  readonly error: unknown;
}

export function batchResult(results: readonly PromiseSettledResult<unknown>[]): BatchResult {
  const failed = results.find((result) => result.status === "rejected");
  return { done: results.filter((result) => result.status === "fulfilled").length, error: failed?.reason };
}

/**
 * Runs `fn` for 0..count-1 in batches of 1, 2, 4, ..., and stops after the first batch with an error, so that a
 * request that the server refuses (quota) is not repeated hundreds of times.
 */
export async function slowStart(count: number, fn: (index: number) => Promise<void>): Promise<BatchResult> {
  let done = 0;
  for (let size = 1, next = 0; next < count; size *= 2) {
    const batch = Math.min(size, count - next);
    const result = batchResult(await Promise.allSettled(Array.from({ length: batch }, (_, i) => fn(next + i))));
    next += batch;
    done += result.done;
    if (result.done < batch) return { done, error: result.error };
  }
  return { done, error: undefined };
}
