/**
 * Sets of fields in the form of `FieldsV1`: a trie of `f:<name>`, `k:<keys>` and `v:<value>`, in which a node belongs to
 * the set when it is empty or holds `"."`. The functions never change their arguments.
 */
import type { Shape } from "./shape.ts";

export interface FieldSet {
  readonly [element: string]: FieldSet;
}

type Draft = { [element: string]: Draft };
type Json = Record<string, unknown>;

const SELF = ".";
const leaf: FieldSet = Object.freeze({});

const isMember = (node: FieldSet): boolean => {
  for (const key in node) {
    if (key === SELF) return true;
    return node[SELF] !== undefined;
  }
  return true;
};

export function isEmptySet(set: FieldSet): boolean {
  for (const _ in set) return false;
  return true;
}

/** A node from its parts; undefined when it holds nothing. */
function nodeOf(member: boolean, children: Draft): FieldSet | undefined {
  if (isEmptySet(children)) return member ? leaf : undefined;
  if (member) children[SELF] = {};
  return children;
}

/** `a` itself when `b` adds nothing. */
export function union(a: FieldSet, b: FieldSet): FieldSet {
  if (a === b) return a;
  let result: Draft | undefined;
  for (const key in b) {
    const [x, y] = [a[key], b[key]!];
    const both = x === undefined || key === SELF ? (x ?? y) : joined(x, y);
    if (both !== x) (result ??= { ...(a as Draft) })[key] = both as Draft;
  }
  return result ?? a;
}

function joined(a: FieldSet, b: FieldSet): FieldSet {
  if (a === b) return a;
  const member = isMember(a) || isMember(b);
  const { [SELF]: _a, ...left } = a;
  const { [SELF]: _b, ...right } = b;
  const both = union(left, right);
  if (both === left && member === isMember(a)) return a;
  return nodeOf(member, both as Draft) ?? leaf;
}

/** `a` itself when `b` takes nothing away. */
export const difference = (a: FieldSet, b: FieldSet): FieldSet => (overlaps(a, b) ? combine(a, b, (x, y) => x && !y, true) : a);
export const intersection = (a: FieldSet, b: FieldSet): FieldSet => (overlaps(a, b) ? combine(a, b, (x, y) => x && y, false) : leaf);

/** Whether any field belongs to both. */
export function overlaps(a: FieldSet, b: FieldSet): boolean {
  for (const key in b) {
    if (key === SELF) continue;
    const [x, y] = [a[key], b[key]!];
    if (x !== undefined && ((isMember(x) && isMember(y)) || overlaps(x, y))) return true;
  }
  return false;
}

function combine(a: FieldSet, b: FieldSet, rule: (x: boolean, y: boolean) => boolean, keepAlone: boolean): FieldSet {
  const result: Draft = {};
  for (const key in a) {
    if (key === SELF) continue;
    const [x, y] = [a[key]!, b[key]];
    if (y === undefined) {
      if (keepAlone) result[key] = x as Draft;
      continue;
    }
    const node = nodeOf(rule(isMember(x), isMember(y)), combine(x, y, rule, keepAlone) as Draft);
    if (node) result[key] = node as Draft;
  }
  return result;
}

/** Every path of the set, in the notation of upstream's messages: `.spec.containers[name="c"].image`. */
export function* paths(set: FieldSet, prefix = ""): Generator<string> {
  for (const key of Object.keys(set).sort()) {
    if (key === SELF) continue;
    const path = prefix + elementText(key);
    if (isMember(set[key]!)) yield path;
    yield* paths(set[key]!, path);
  }
}

/** Of one element, such as `[name="c"]`. */
export function elementText(key: string): string {
  const rest = key.slice(2);
  if (key.startsWith("f:")) return `.${rest}`;
  if (key.startsWith("v:")) return `[=${rest}]`;
  const keys = JSON.parse(rest) as Json;
  return `[${Object.entries(keys).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(",")}]`;
}

const isMap = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** Owned as one: scalars, nulls, atomic structs and lists, and what is empty. */
export function isLeaf(value: unknown, shape: Shape): boolean {
  if (typeof value !== "object" || value === null || shape.atomic) return true;
  if (Array.isArray(value)) return value.length === 0 || (shape.list ?? "atomic") === "atomic";
  for (const _ in value) return false;
  return true;
}

/** The element of a list's item; lists of the kind `map` are keyed, `set` are their values. */
export function elementOf(item: unknown, shape: Shape): string {
  if (shape.list !== "map" || !isMap(item)) return `v:${JSON.stringify(item)}`;
  const keys = [...shape.keys!].sort();
  const pairs = keys.map((key) => [key, item[key] ?? shape.keyDefaults?.[key]] as const).filter(([, value]) => value !== undefined);
  return `k:${JSON.stringify(Object.fromEntries(pairs))}`;
}

/** As `elementOf`, only quicker to make. */
export function elementKey(item: unknown, shape: Shape): string {
  if (shape.list !== "map" || !isMap(item)) return JSON.stringify(item);
  if (shape.keys!.length === 1) {
    const value = item[shape.keys![0]!];
    if (typeof value === "string") return `=${value}`;
  }
  return elementOf(item, shape);
}

/** What an applied configuration states. */
export function fieldsOf(value: unknown, shape: Shape): FieldSet {
  const result: Draft = {};
  if (Array.isArray(value)) {
    for (const item of value) {
      const below = isLeaf(item, shape.item()) ? {} : (fieldsOf(item, shape.item()) as Draft);
      result[elementOf(item, shape)] = (nodeOf(true, below) ?? leaf) as Draft;
    }
  } else if (isMap(value)) {
    for (const key in value) {
      const inner = shape.field(key);
      result[`f:${key}`] = (isLeaf(value[key], inner) ? leaf : fieldsOf(value[key], inner)) as Draft;
    }
  }
  return result;
}

export interface Comparison {
  /** Added or modified. */
  readonly changed: FieldSet;
  readonly removed: FieldSet;
}

/** How `next` differs from `live`. A container that comes or goes belongs to the set together with what it holds. */
export function compare(live: unknown, next: unknown, shape: Shape): Comparison {
  const changed: Draft = {};
  const removed: Draft = {};
  compareInto(live, next, shape, changed, removed);
  return { changed, removed };
}

function compareInto(live: unknown, next: unknown, shape: Shape, changed: Draft, removed: Draft): void {
  const [before, after] = [childrenOf(live, shape), childrenOf(next, shape)];
  for (const [element, child] of after) {
    const old = before.get(element);
    if (old === undefined) changed[element] = whole(child.value, child.shape) as Draft;
    else compareChild(element, old.value, child.value, child.shape, changed, removed);
  }
  for (const [element, child] of before) if (!after.has(element)) removed[element] = whole(child.value, child.shape) as Draft;
}

function compareChild(element: string, old: unknown, value: unknown, shape: Shape, changed: Draft, removed: Draft): void {
  // Most of an object does not change: equal parts are not taken apart.
  if (equal(old, value)) return;
  if (isLeaf(old, shape) && isLeaf(value, shape)) {
    changed[element] = {};
    return;
  }
  if (isLeaf(old, shape) !== isLeaf(value, shape)) {
    // An empty map that is filled is not a change of the map; a scalar that becomes a map is.
    const filled = isContainer(old) && isContainer(value);
    if (isLeaf(value, shape)) {
      removed[element] = fieldsOrSelf(old, shape, !filled) as Draft;
      changed[element] = {};
    } else changed[element] = fieldsOrSelf(value, shape, !filled) as Draft;
    return;
  }
  const [below, gone]: [Draft, Draft] = [{}, {}];
  compareInto(old, value, shape, below, gone);
  if (!isEmptySet(below)) changed[element] = below;
  if (!isEmptySet(gone)) removed[element] = gone;
}

const isContainer = (value: unknown): boolean => typeof value === "object" && value !== null;

const fieldsOrSelf = (value: unknown, shape: Shape, self: boolean): FieldSet =>
  nodeOf(self, { ...(wholeBelow(value, shape) as Draft) }) ?? leaf;

/** A value with everything in it, containers included. */
const whole = (value: unknown, shape: Shape): FieldSet =>
  (isLeaf(value, shape) ? leaf : (nodeOf(true, wholeBelow(value, shape)) ?? leaf));

function wholeBelow(value: unknown, shape: Shape): Draft {
  const result: Draft = {};
  if (Array.isArray(value)) for (const item of value) result[elementOf(item, shape)] = whole(item, shape.item()) as Draft;
  else {
    const map = value as Json;
    for (const key in map) if (map[key] !== undefined) result[`f:${key}`] = whole(map[key], shape.field(key)) as Draft;
  }
  return result;
}

interface Child {
  readonly value: unknown;
  readonly shape: Shape;
}

function childrenOf(value: unknown, shape: Shape): Map<string, Child> {
  const result = new Map<string, Child>();
  if (Array.isArray(value)) for (const item of value) result.set(elementOf(item, shape), { value: item, shape: shape.item() });
  else if (isMap(value)) {
    for (const key in value) if (value[key] !== undefined) result.set(`f:${key}`, { value: value[key], shape: shape.field(key) });
  }
  return result;
}

/** Deep equality of JSON data, without allocating; members that are undefined do not count. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!equal(a[i], b[i])) return false;
    return true;
  }
  if (Array.isArray(b)) return false;
  for (const key in a) if (!equal((a as Json)[key], (b as Json)[key])) return false;
  for (const key in b) if ((a as Json)[key] === undefined && (b as Json)[key] !== undefined) return false;
  return true;
}

/** The live value with the applied configuration laid over it. */
export function mergeApplied(live: unknown, applied: unknown, shape: Shape): unknown {
  if (live === undefined || live === null || isLeaf(applied, shape)) {
    return isMap(applied) && isMap(live) && !shape.atomic ? live : applied;
  }
  if (Array.isArray(applied)) return Array.isArray(live) ? mergeItems(live, applied, shape) : applied;
  if (!isMap(live)) return applied;
  const result: Json = { ...live };
  for (const [key, value] of Object.entries(applied as Json)) result[key] = mergeApplied(live[key], value, shape.field(key));
  return result;
}

/** The applied order; an item that only the live list has comes as early as its live neighbours that are shared allow. */
function mergeItems(live: readonly unknown[], applied: readonly unknown[], shape: Shape): unknown[] {
  const [have, want] = [live, applied].map((list) => list.map((item) => elementOf(item, shape))) as [string[], string[]];
  const place = new Map(have.map((element, index) => [element, index]));
  const wanted = new Set(want);
  const shared = want.filter((element) => place.has(element));
  const done = new Set<string>();
  const result: unknown[] = [];
  const take = (index: number): void => {
    const element = want[index]!;
    const at = place.get(element);
    if (element === shared[0]) shared.shift();
    done.add(element);
    result.push(at === undefined ? applied[index] : mergeApplied(live[at], applied[index], shape.item()));
  };
  for (let l = 0, r = 0; l < have.length || r < want.length; ) {
    const element = have[l];
    if (element !== undefined && element !== want[r]) {
      if (!wanted.has(element)) {
        result.push(live[l++]);
        continue;
      }
      // Its turn comes later, or has been.
      if (r < want.length && shared.length > 0 && element !== shared[0]) {
        l++;
        continue;
      }
      if (done.has(element)) l++;
    } else if (element !== undefined) l++;
    if (r < want.length) take(r++);
  }
  return result;
}

/**
 * The value without the fields of `gone` that nobody in `owned` has. A container goes when none of its fields is owned;
 * of an item that stays, the keys stay.
 */
export function prune(value: unknown, gone: FieldSet, owned: FieldSet, shape: Shape): unknown {
  if (Array.isArray(value)) {
    return value.flatMap((item) => {
      const element = elementOf(item, shape);
      const kept = pruneChild(item, gone[element], owned[element], shape.item(), shape.keys ?? []);
      return kept === undefined ? [] : [kept];
    });
  }
  if (!isMap(value)) return value;
  const result: Json = { ...value };
  for (const key in value) {
    const element = `f:${key}`;
    const kept = pruneChild(value[key], gone[element], owned[element], shape.field(key), []);
    if (kept === undefined) delete result[key];
    else result[key] = kept;
  }
  return result;
}

function pruneChild(value: unknown, gone: FieldSet | undefined, owned: FieldSet | undefined, shape: Shape, keys: readonly string[]): unknown {
  if (gone === undefined) return value;
  if (owned === undefined) return undefined;
  if (isLeaf(value, shape)) return value;
  const pruned = prune(value, gone, owned, shape);
  if (!isMap(pruned) || !isMap(value)) return pruned;
  return { ...Object.fromEntries(keys.filter((key) => key in value).map((key) => [key, value[key]])), ...pruned };
}
