/**
 * Strategic merge patch: a merge patch whose lists merge by key where upstream's types say so, with the directives
 * `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/<field>` and `$setElementOrder/<field>`.
 */
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";
import { type Shape, shapeOf } from "./shape.ts";

type Json = Record<string, unknown>;

const DIRECTIVE = "$patch";
const RETAIN_KEYS = "$retainKeys";
const DELETE_FROM = "$deleteFromPrimitiveList/";
const ORDER = "$setElementOrder/";

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A new document that shares the untouched parts with the given one; neither argument is changed. */
export function applyStrategicPatch<T extends object>(
  doc: T, patch: unknown, group: string, version: string, kind: string,
): T {
  if (!isObject(patch)) throw badRequest("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}");
  return mergeObject(doc as Json, patch, shapeOf(group, version, kind)) as T;
}

function mergeObject(target: Json, patch: Json, shape: Shape): Json {
  const directive = patch[DIRECTIVE];
  if (directive !== undefined) {
    if (directive === "replace") return cleanObject(without(patch, DIRECTIVE));
    if (directive === "delete") return {};
    if (directive !== "merge") throw badDirective(directive, patch);
  }
  const result = patch[RETAIN_KEYS] === undefined ? { ...target } : retained(target, patch);
  for (const [key, value] of Object.entries(patch)) {
    if (key === DIRECTIVE || key === RETAIN_KEYS || key.startsWith(ORDER)) continue;
    if (key.startsWith(DELETE_FROM)) {
      const field = key.slice(DELETE_FROM.length);
      const list = result[field];
      // What this very patch adds to the list is decided by the merge of the field itself.
      if (Array.isArray(list) && !(field in patch)) result[field] = deleteFrom(list, value);
    } else if (value === null) delete result[key];
    else result[key] = mergeValue(result[key], value, patch, key, shape.field(key));
  }
  for (const key of Object.keys(patch)) {
    if (key.startsWith(ORDER)) orderField(result, target, patch, key, shape);
  }
  return result;
}

function mergeValue(current: unknown, value: unknown, patch: Json, key: string, shape: Shape): unknown {
  if (isObject(value)) {
    if (shape.patch === "replace") return cleanObject(without(value, DIRECTIVE));
    return mergeObject(isObject(current) ? current : {}, value, shape);
  }
  if (!Array.isArray(value)) return value;
  if (shape.patch !== "merge") return value.map(cleanItem);
  const before = Array.isArray(current) ? current : [];
  if (shape.mergeKey) return mergeList(before, value, shape);
  return mergePrimitives(before, value, patch[DELETE_FROM + key]);
}

/** A union of scalars: what is deleted goes first, then what is new takes the patch's order. */
function mergePrimitives(before: readonly unknown[], added: readonly unknown[], deleted: unknown): unknown[] {
  const kept = deleted === undefined ? before : deleteFrom(before, deleted);
  return inOrder([...new Set([...kept, ...added])], added, before, (item) => item);
}

function deleteFrom(list: readonly unknown[], deleted: unknown): unknown[] {
  if (!Array.isArray(deleted)) throw badRequest("invalid patch format of primitive list");
  return list.filter((item) => !deleted.includes(item));
}

function mergeList(before: readonly unknown[], patch: readonly unknown[], shape: Shape): unknown[] {
  const mergeKey = shape.mergeKey!;
  if (patch.some((item) => isObject(item) && item[DIRECTIVE] === "replace")) {
    return patch.filter((item) => !(isObject(item) && item[DIRECTIVE] === "replace")).map(cleanItem);
  }
  const idOf = keyReader(mergeKey);
  let result: unknown[] = [...before];
  for (const item of patch) {
    const id = idOf(item);
    if (!isObject(item) || id === undefined) {
      throw apiError(500, "InternalError", `map: ${JSON.stringify(item)} does not contain declared merge key: ${mergeKey}`);
    }
    if (item[DIRECTIVE] === "delete") {
      result = result.filter((other) => idOf(other) !== id);
      continue;
    }
    const at = result.findIndex((other) => idOf(other) === id);
    if (at < 0) result.push(mergeObject({}, item, shape.item()));
    else result[at] = mergeObject(result[at] as Json, item, shape.item());
  }
  return inOrder(result, patch, before, idOf);
}

const keyReader = (key: string | undefined) => (item: unknown) => (key && isObject(item) ? item[key] : item);

/**
 * Upstream's order of a merged list: the items that `order` names follow it, the others keep the server's order, and
 * between the two kinds the server's order decides; an item that is new to the server goes first.
 */
function inOrder(
  merged: readonly unknown[], order: readonly unknown[], server: readonly unknown[], idOf: (item: unknown) => unknown,
): unknown[] {
  const wanted = new Map(order.map((item, index) => [idOf(item), index]));
  const place = new Map(server.map((item, index) => [idOf(item), index]));
  const named = merged.filter((item) => wanted.has(idOf(item)));
  const others = merged.filter((item) => !wanted.has(idOf(item)));
  named.sort((a, b) => wanted.get(idOf(a))! - wanted.get(idOf(b))!);
  const result: unknown[] = [];
  let next = 0;
  for (const item of others) {
    const at = place.get(idOf(item));
    while (next < named.length) {
      const other = place.get(idOf(named[next]));
      if (at !== undefined && other !== undefined && at < other) break;
      result.push(named[next++]);
    }
    result.push(item);
  }
  return [...result, ...named.slice(next)];
}

/** Fields that the patch does not name in `$retainKeys` go. */
function retained(target: Json, patch: Json): Json {
  const keep = patch[RETAIN_KEYS];
  if (!Array.isArray(keep)) throw badRequest("invalid patch format of retainKeys");
  for (const key of Object.keys(patch)) {
    const present = key === RETAIN_KEYS || key === DIRECTIVE || keep.includes(key) || patch[key] === null;
    if (!present && !key.startsWith("$")) {
      throw badRequest("invalid patch format of retainKeys");
    }
  }
  return Object.fromEntries(Object.entries(target).filter(([key]) => keep.includes(key)));
}

function orderField(result: Json, target: Json, patch: Json, directive: string, shape: Shape): void {
  const field = directive.slice(ORDER.length);
  const order = patch[directive];
  const list = result[field];
  if (!Array.isArray(order)) throw badRequest("invalid patch format of setElementOrder list");
  if (!Array.isArray(list)) return;
  const before = target[field];
  result[field] = inOrder(list, order, Array.isArray(before) ? before : [], keyReader(shape.field(field).mergeKey));
}

/** A new object from a patch: directives have done their work, and nulls stand for nothing. */
function cleanObject(patch: Json): Json {
  const result: Json = {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null || key === RETAIN_KEYS || key.startsWith(ORDER) || key.startsWith(DELETE_FROM)) continue;
    result[key] = isObject(value) ? cleanObject(without(value, DIRECTIVE))
      : Array.isArray(value) ? value.map(cleanItem) : value;
  }
  return result;
}

const cleanItem = (item: unknown): unknown => (isObject(item) ? cleanObject(item) : item);

function without(object: Json, key: string): Json {
  if (!(key in object)) return object;
  const { [key]: _, ...rest } = object;
  return rest;
}

const badDirective = (directive: unknown, patch: Json) =>
  badRequest(`unknown patch type: ${String(directive)} in map: ${JSON.stringify(patch)}`);
