/** What a structural schema does to an object before it is validated: unknown fields go, nulls and gaps become defaults. */
import { checkFields, unknownFields } from "../openapi/fields.ts";
import type { Obj } from "../resources/types.ts";
import { clone } from "../verbs/engine.ts";
import { isRecord, metaFields, type Node } from "./schema.ts";

const metaType = { group: "meta", version: "v1", kind: "ObjectMeta" } as const;

/** Drops the fields that the schema does not have; returns their paths, such as `spec.list[0].foo`. */
export function prune(root: Node, object: Obj): readonly string[] {
  const unknown: string[] = [];
  pruneObject(root, object, "", true, unknown);
  return unknown;
}

function pruneValue(node: Node | undefined, value: unknown, path: string, unknown: string[]): void {
  if (Array.isArray(value)) {
    if (node?.preserve && !node.items) return;
    value.forEach((entry, i) => pruneValue(node?.items, entry, `${path}[${i}]`, unknown));
  } else if (isRecord(value)) pruneObject(node, value, path, node?.embedded === true, unknown);
}

function pruneObject(node: Node | undefined, value: Record<string, unknown>, path: string, isResource: boolean, unknown: string[]): void {
  for (const key of Object.keys(value)) {
    const at = path ? `${path}.${key}` : key;
    if (isResource && metaFields.has(key)) {
      if (key === "metadata" && isRecord(value[key])) pruneMetadata(value[key], at, unknown);
      continue;
    }
    const field = node?.fields?.get(key) ?? node?.values;
    if (field) pruneValue(field === true ? undefined : field, value[key], at, unknown);
    else if (!node?.preserve) {
      unknown.push(at);
      delete value[key];
    }
  }
}

function pruneMetadata(metadata: Record<string, unknown>, path: string, unknown: string[]): void {
  for (const field of unknownFields(metaType.group, metaType.version, metaType.kind, metadata)) unknown.push(`${path}.${field}`);
  checkFields(metaType, metadata as unknown as Obj, "Ignore");
}

/** Nulls of fields that may not be null go (or become the default); absent fields get their defaults. */
export function fillDefaults(root: Node, object: Obj): void {
  fillObject(root, object);
}

function fillObject(node: Node, value: Record<string, unknown>): void {
  const { fields, values } = node;
  for (const key of Object.keys(value)) {
    const field = fields?.get(key);
    if (value[key] === null && field && !field.nullable) delete value[key];
    else if (!field && values && values !== true) value[key] = filled(values, value[key]);
  }
  for (const [key, field] of fields ?? []) {
    if (value[key] === undefined && field.default) value[key] = clone(field.default.value);
    const now = value[key];
    if (typeof now === "object" && now !== null) fillValue(field, now);
  }
}

function fillValue(node: Node, value: unknown): void {
  if (isRecord(value)) fillObject(node, value);
  else if (Array.isArray(value) && node.items) {
    for (let i = 0; i < value.length; i++) value[i] = filled(node.items, value[i]);
  }
}

/** The value of a list item or map entry. */
function filled(node: Node, value: unknown): unknown {
  const now = value === null && !node.nullable && node.default ? clone(node.default.value) : value;
  fillValue(node, now);
  return now;
}

/** Whether neither pruning nor defaulting would change a stored object. */
export function isComplete(node: Node, value: unknown, isRoot = true): boolean {
  if (Array.isArray(value)) return !node.items || value.every((item) => !(item === null && node.items!.default) && isComplete(node.items!, item, false));
  if (!isRecord(value)) return true;
  for (const key of Object.keys(value)) {
    if ((isRoot || node.embedded) && metaFields.has(key)) continue;
    const field = node.fields?.get(key) ?? node.values;
    if (!field) {
      if (!node.preserve) return false;
    } else if (field !== true && ((value[key] === null && !field.nullable) || !isComplete(field, value[key], false))) return false;
  }
  for (const [key, field] of node.fields ?? []) if (field.default && value[key] === undefined) return false;
  return true;
}
