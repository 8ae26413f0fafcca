/**
 * Field sets as they are kept: frozen, with sorted elements, one object for all that are equal, together with its text.
 * Thousands of objects of one workload have the same sets, which are as large as the objects themselves.
 */
import { elementKey, type FieldSet, isLeaf } from "./fieldset.ts";
import type { Shape } from "./shape.ts";

/** Sets that are found again by their text; the oldest go first. */
const MAX_KNOWN = 1000;
const known = new Map<string, FieldSet>();
const texts = new WeakMap<FieldSet, string>();

/** The one kept form of a set. */
export const intern = (set: FieldSet): FieldSet => (texts.has(set) ? set : keep(JSON.stringify(sorted(set))));

/** As `intern`, for a set that has just been parsed from stored text: its order is taken as it is. */
export const internParsed = (set: FieldSet): FieldSet => keep(JSON.stringify(set));

function keep(text: string): FieldSet {
  const found = known.get(text);
  if (found) return found;
  if (known.size >= MAX_KNOWN) {
    const [oldest, set] = known.entries().next().value!;
    known.delete(oldest);
    texts.delete(set);
  }
  const set = frozen(JSON.parse(text) as FieldSet);
  known.set(text, set);
  texts.set(set, text);
  return set;
}

function sorted(set: FieldSet): FieldSet {
  const copy: Record<string, FieldSet> = {};
  for (const key of Object.keys(set).sort()) copy[key] = sorted(set[key]!);
  return copy;
}

function frozen(set: FieldSet): FieldSet {
  for (const key in set) frozen(set[key]!);
  return Object.freeze(set);
}

/** A set as JSON. */
export const textOf = (set: FieldSet): string => texts.get(set) ?? JSON.stringify(set);

/** What is known by the fields that an object has, whatever their values. */
export interface ByFields<T> {
  get(value: object, shape: Shape, make: () => T): T;
}

const MAX_SIGNATURES = 500;

/** Remembers the last few hundred results for objects that have the same fields. */
export function byFields<T>(): ByFields<T> {
  const results = new WeakMap<Shape, Map<string, T>>();
  return {
    get(value, shape, make) {
      let of = results.get(shape);
      if (!of) results.set(shape, (of = new Map()));
      const key = signature(value, shape);
      const found = of.get(key);
      if (found !== undefined) return found;
      if (of.size >= MAX_SIGNATURES) of.delete(of.keys().next().value!);
      const made = make();
      of.set(key, made);
      return made;
    },
  };
}

/** A text that two values share only when their fields are the same; names go with their lengths, so nothing can be forged. */
function signature(value: unknown, shape: Shape): string {
  let text = "";
  if (Array.isArray(value)) {
    const inner = shape.item();
    for (const item of value) text += part(elementKey(item, shape), item, inner);
  } else {
    const map = value as Record<string, unknown>;
    for (const key in map) if (map[key] !== undefined) text += part(key, map[key], shape.field(key));
  }
  return text;
}

function part(key: string, value: unknown, shape: Shape): string {
  const name = `${key.length}:${key}`;
  if (!isLeaf(value, shape)) return `${name}{${signature(value, shape)}}`;
  return typeof value === "object" && value !== null ? `${name};` : `${name},`;
}
