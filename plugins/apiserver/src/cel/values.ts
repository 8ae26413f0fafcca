/** Equality and order of CEL values. */

type Value = any;

/** Handles of Kubernetes' types compare by what they stand for. */
export interface Comparable {
  equals(other: unknown): boolean;
}

export const compare = (a: Value, b: Value): number => (a < b ? -1 : a > b ? 1 : 0);

export function equal(a: Value, b: Value): boolean {
  if (a === b || ((typeof a === "bigint" || typeof a === "number") && (typeof b === "bigint" || typeof b === "number") && a == b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (typeof a.equals === "function") return (a as Comparable).equals(b);
  if (a instanceof Date || b instanceof Date || typeof a.addDuration === "function") return Number(a) === Number(b);
  const keys = Object.keys(a);
  return Array.isArray(a) === Array.isArray(b) && keys.length === Object.keys(b).length && keys.every((key) => equal(a[key], b[key]));
}
