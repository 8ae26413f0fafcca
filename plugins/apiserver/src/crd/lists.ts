/** Uniqueness in lists of type `set` and `map`, and the type fields of embedded resources. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { isRecord, type Node } from "./schema.ts";

export function validateLists(node: Node, value: unknown, path = ""): FieldError[] {
  if (!node.hasLists) return [];
  if (Array.isArray(value)) {
    const { items } = node;
    const own = node.listType === "set" ? duplicates(value, value, path) : node.listType === "map" ? mapDuplicates(node.listKeys, value, path) : [];
    return items?.hasLists ? [...own, ...value.flatMap((item, i) => validateLists(items, item, `${path}[${i}]`))] : own;
  }
  if (!isRecord(value)) return [];
  return Object.keys(value).flatMap((key) => {
    const field = node.fields?.get(key);
    if (field) return validateLists(field, value[key], path ? `${path}.${key}` : key);
    return node.values && node.values !== true ? validateLists(node.values, value[key], `${path}[${key}]`) : [];
  });
}

function mapDuplicates(keys: readonly string[], value: readonly unknown[], path: string): FieldError[] {
  const bad = value.findIndex((item) => item !== null && !isRecord(item));
  if (bad >= 0) {
    return [{
      type: "FieldValueInvalid", field: `${path}[${bad}]`,
      message: `Invalid value: ${JSON.stringify(value[bad])}: must be an object for an array of list-type map`,
    }];
  }
  const identities = value.map((item) => Object.fromEntries(keys.filter((key) => isRecord(item) && item[key] !== undefined).map((key) => [key, (item as Record<string, unknown>)[key]])));
  return duplicates(identities, identities, path);
}

/** Each value that comes again is reported once, at its second place. */
function duplicates(identities: readonly unknown[], shown: readonly unknown[], path: string): FieldError[] {
  const seen = new Map<string, number>();
  const errors: FieldError[] = [];
  identities.forEach((identity, i) => {
    const text = JSON.stringify(canonical(identity));
    const times = seen.get(text) ?? 0;
    seen.set(text, times + 1);
    if (times === 1) errors.push({ type: "FieldValueDuplicate", field: `${path}[${i}]`, message: `Duplicate value: ${JSON.stringify(shown[i])}` });
  });
  return errors;
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, canonical(value[key])]));
}

/** Embedded resources must say what they are. */
export function validateEmbedded(node: Node, value: unknown, path = ""): FieldError[] {
  if (!node.hasEmbedded) return [];
  if (Array.isArray(value)) return node.items ? value.flatMap((item, i) => validateEmbedded(node.items!, item, `${path}[${i}]`)) : [];
  if (!isRecord(value)) return [];
  const missing = node.embedded && path
    ? ["apiVersion", "kind"].filter((key) => !value[key]).map((key): FieldError =>
      ({ type: "FieldValueRequired", field: `${path}.${key}`, message: "Required value: must not be empty" }))
    : [];
  return [...missing, ...Object.keys(value).flatMap((key) => {
    const field = node.fields?.get(key) ?? (node.values === true ? undefined : node.values);
    return field ? validateEmbedded(field, value[key], path ? `${path}.${key}` : key) : [];
  })];
}
