/** Small tools to read and fill fields of plain JSON objects; bodies of the wrong shape pass through untouched. */
import { canonicalQuantity, parseNano } from "@k3s-p/plugin-api/kube";
import type { Obj } from "./types.ts";

export const isObject = (value: unknown): value is Obj =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The object at `key`, made when absent; a detached one when the field holds something else. */
export function ensure(object: Obj, key: string): Obj {
  if (object[key] == null) object[key] = {};
  return isObject(object[key]) ? object[key] : {};
}

/** The items at `key` that are objects. */
export const items = (object: Obj | undefined | null, key: string): Obj[] => {
  const list = object?.[key];
  return Array.isArray(list) ? list.filter(isObject) : [];
};

/** Fills the fields that are absent. */
export function fill(object: Obj, values: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(values)) if (object[key] == null) object[key] = value;
}

/** Fills the fields that are absent or "". */
export function fillEmpty(object: Obj, values: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(values)) if (object[key] == null || object[key] === "") object[key] = value;
}

/** Brings the quantities of a resource list into canonical form; what is no quantity stays for validation. */
export function canonicalResources(list: unknown): void {
  if (!isObject(list)) return;
  for (const [name, value] of Object.entries(list)) {
    const isQuantity = (typeof value === "string" || typeof value === "number") && parseNano(value) !== undefined;
    if (isQuantity) list[name] = canonicalQuantity(value);
  }
}

/** Equality of JSON values; absent, null, empty lists and empty objects count as the same, as in Go. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b || (isEmpty(a) && isEmpty(b))) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => same(item, b[i]));
  }
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => same((a as Obj)[key], (b as Obj)[key]));
}

function isEmpty(value: unknown): boolean {
  if (value == null) return true;
  return typeof value === "object" && (Array.isArray(value) ? value.length === 0 : Object.keys(value).length === 0);
}
