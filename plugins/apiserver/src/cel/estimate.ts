/**
 * What an expression may cost at most, from its form and the bounds of its schema: upstream's estimate, by which it refuses
 * rules. What nothing bounds is infinite; where the library knows no type, the estimate is in favour of the expression.
 * https://kubernetes.io/docs/reference/using-api/cel/#resource-constraints
 */
import { innerOf, maxSize, type SizedSchema } from "./sizes.ts";

/** A node of the library's tree. */
interface Node {
  readonly op: string;
  readonly args: any;
  readonly checkedType?: { readonly kind: string; readonly type: string };
}

interface Value {
  /** `string`, `list`, `map`, `message`, `dyn`, ... */
  readonly kind: string;
  readonly size: number;
  readonly schema?: SizedSchema | undefined;
  /** One item of a list that was made by the expression. */
  readonly item?: Value | undefined;
}

interface Estimate extends Value {
  readonly cost: number;
}

interface Context {
  readonly scope: ReadonlyMap<string, Value | undefined>;
  readonly fieldName: (name: string) => string;
}

/** Of a checked expression over `self` and `oldSelf`, both of the schema; `fieldName` makes identifiers of field names. */
export function estimateCost(ast: object, schema: SizedSchema, fieldName: (name: string) => string): number {
  const self = valueOf(schema);
  return estimate(ast as Node, { scope: new Map([["self", self], ["oldSelf", self]]), fieldName }).cost;
}

const TRAVERSAL = 0.1;
const REGEXP = 0.25;
const LIST = 10;
const MAP = 30;

const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);
const traversal = (size: number, factor = TRAVERSAL): number => Math.ceil(times(size, factor));
const matching = (text: Value, pattern: Value | undefined): number => times(traversal(text.size + 1), traversal(pattern?.size ?? 0, REGEXP));
const costs = (parts: readonly Estimate[]): number => parts.reduce((sum, { cost }) => sum + cost, 0);
const largest = (parts: readonly Value[]): number => Math.max(1, ...parts.map(({ size }) => size));

const kinds: Readonly<Record<string, string>> = { array: "list", object: "map", integer: "int", number: "double", boolean: "bool", string: "string" };
const sized = new Set(["string", "bytes", "list", "map"]);

const valueOf = (schema: SizedSchema): Value => ({ schema, size: maxSize(schema), kind: kinds[schema.type ?? ""] ?? "dyn" });

/** By type alone: scalars are small, others without bound. */
function valueOfType({ checkedType }: Node): Value {
  const kind = checkedType?.kind === "primitive" ? checkedType.type : checkedType?.kind ?? "dyn";
  return { kind, size: sized.has(kind) ? Infinity : 1 };
}

function estimate(node: Node, context: Context): Estimate {
  const { op, args } = node;
  switch (op) {
    case "value": return { ...valueOfType(node), size: literalSize(args), cost: 0 };
    case "id": return { ...(context.scope.get(args) ?? valueOfType(node)), cost: 1 };
    case ".": case ".?": return select(node, estimate(args[0], context), args[1], context);
    case "[]": case "[?]": return index(node, estimate(args[0], context), args[1], context);
    case "call": return call(node, args[0], undefined, args[1], context);
    case "rcall": return isNamespace(args[1], context) ? call(node, args[0], undefined, args[2], context) : call(node, args[0], args[1], args[2], context);
    case "list": return listOf((args as Node[]).map((item) => estimate(item, context)));
    case "map": return { kind: "map", size: args.length, cost: MAP + costs((args as Node[][]).flat().map((part) => estimate(part, context))) };
    case "?:": return choose((args as Node[]).map((part) => estimate(part, context)) as [Estimate, Estimate, Estimate]);
    default: return operate(node, (Array.isArray(args) ? args : [args]).map((part: Node) => estimate(part, context)));
  }
}

const literalSize = (value: unknown): number =>
  (typeof value === "string" ? Buffer.byteLength(value) : value instanceof Uint8Array ? value.length : 1);

/** `sets` in `sets.contains(a, b)`. */
const isNamespace = ({ op, args, checkedType }: Node, { scope }: Context): boolean => op === "id" && !scope.has(args) && checkedType?.kind !== "dyn";

function select(node: Node, target: Estimate, name: string, { fieldName }: Context): Estimate {
  const { properties } = target.schema ?? {};
  const key = properties && (properties[name] ? name : Object.keys(properties).find((candidate) => fieldName(candidate) === name));
  const schema = key === undefined ? target.schema && innerOf(target.schema) : properties![key];
  return { ...(schema ? valueOf(schema) : valueOfType(node)), cost: target.cost + 1 };
}

function index(node: Node, target: Estimate, at: Node, context: Context): Estimate {
  if (target.kind === "map" && at.op === "value" && target.schema?.properties) return select(node, target, String(at.args), context);
  return { ...(itemOf(target) ?? valueOfType(node)), cost: target.cost + estimate(at, context).cost + 1 };
}

function itemOf({ item, schema }: Value): Value | undefined {
  const inner = schema && innerOf(schema);
  return item ?? (inner && valueOf(inner));
}

const listOf = (items: readonly Estimate[]): Estimate =>
  ({ kind: "list", size: items.length, cost: LIST + costs(items), item: items[0] && { ...items[0], size: largest(items) } });

const choose = ([condition, yes, no]: readonly [Estimate, Estimate, Estimate]): Estimate =>
  ({ ...yes, size: Math.max(yes.size, no.size), cost: condition.cost + Math.max(yes.cost, no.cost) });

function operate(node: Node, parts: readonly Estimate[]): Estimate {
  const [a, b] = parts as [Estimate, Estimate];
  const value = valueOfType(node);
  const { op } = node;
  const sum = costs(parts);
  if (op === "&&" || op === "||") return { ...value, cost: sum };
  if (op === "in") return { ...value, cost: sum + (b.kind === "list" ? b.size : 1) };
  if (op === "==" || op === "!=") return { ...value, cost: sum + traversal(Math.min(a.size, b.size)) };
  const areTexts = [a, b].some((part) => part?.kind === "string" || part?.kind === "bytes");
  if (op === "+" && areTexts) return { ...a, size: a.size + b.size, cost: sum + traversal(a.size + b.size) };
  if (op === "+" && a.kind === "list") return { ...a, size: a.size + b.size, cost: sum + 1 };
  return { ...value, cost: sum + (areTexts ? traversal(Math.min(a.size, b?.size ?? 0)) : 1) };
}

/** What a turn of a loop costs beside its body, and what the loop costs beside its turns; upstream writes them all as folds. */
interface Loop {
  readonly turn: number;
  readonly once: number;
  readonly result: "scalar" | "same" | "mapped";
}

const loops: Readonly<Record<string, Loop>> = {
  all: { turn: 3, once: 1, result: "scalar" },
  exists: { turn: 4, once: 1, result: "scalar" },
  exists_one: { turn: 2, once: 3, result: "scalar" },
  existsOne: { turn: 2, once: 3, result: "scalar" },
  filter: { turn: 13, once: LIST + 1, result: "same" },
  sortBy: { turn: 13, once: LIST + 1, result: "same" },
  map: { turn: 12, once: LIST + 1, result: "mapped" },
  transformList: { turn: 12, once: LIST + 1, result: "mapped" },
  transformMap: { turn: 2, once: MAP + 1, result: "mapped" },
  transformMapEntry: { turn: MAP + 2, once: MAP + 1, result: "mapped" },
};

/** By name: the cost beside those of the arguments, and the size of the result where it differs from that of the largest argument. */
type Cost = (parts: readonly Estimate[]) => { readonly cost: number; readonly size?: number };

const traverses: Cost = ([text]) => ({ cost: traversal(text!.size) });
const matchesText: Cost = ([text, pattern]) => ({ cost: matching(text!, pattern) });
const compares: Cost = ([list]) => ({ cost: list!.kind === "list" ? times(list!.size, 1 + traversal(textSize(itemOf(list!)))) : traversal(list!.size) });
const pairs: Cost = ([a, b]) => ({ cost: times(a!.size, b?.size ?? 1) });
const textSize = (value: Value | undefined): number => (value?.kind === "string" || value?.kind === "bytes" ? value.size : 0);

const functions: Readonly<Record<string, Cost>> = {
  startsWith: ([, part]) => ({ cost: traversal(part?.size ?? 0) }),
  endsWith: ([, part]) => ({ cost: traversal(part?.size ?? 0) }),
  contains: ([text, part]) => ({ cost: times(traversal(text!.size), traversal(part?.size ?? 0)) }),
  matches: matchesText, matchesPattern: matchesText, find: matchesText, findAll: matchesText,
  lowerAscii: traverses, upperAscii: traverses, substring: traverses, trim: traverses, quote: traverses, format: traverses, bytes: traverses,
  url: traverses, isURL: traverses, ip: traverses, isIP: traverses, cidr: traverses, isCIDR: traverses, isCanonical: traverses,
  quantity: traverses, isQuantity: traverses, semver: traverses, isSemver: traverses,
  replace: ([text, old, next]) => ({ cost: traversal(text!.size, 2 * TRAVERSAL), size: text!.size + times(text!.size + 1, Math.max(0, (next?.size ?? 0) - (old?.size ?? 0))) }),
  split: ([text]) => ({ cost: traversal(text!.size, 2 * TRAVERSAL) }),
  join: ([list, separator]) => {
    const size = times(list!.size, itemOf(list!)?.size ?? Infinity) + times(list!.size, separator?.size ?? 0);
    return { cost: traversal(size), size };
  },
  isSorted: compares, sum: compares, min: compares, max: compares, indexOf: compares, lastIndexOf: compares,
};

const setFunctions: Readonly<Record<string, Cost>> = { contains: pairs, equivalent: pairs, intersects: pairs };

function call(node: Node, name: string, receiver: Node | undefined, args: readonly Node[], context: Context): Estimate {
  if (name === "hasField") return { kind: "bool", size: 1, cost: estimate(args[0]!.args[0], context).cost };
  const loop = receiver && args[0]?.op === "id" ? loops[name] : undefined;
  if (loop) return repeat(loop, estimate(receiver!, context), args, context);
  if (name === "bind" || name === "optMap" || name === "optFlatMap") return bind(receiver ?? args[1]!, args[0]!.args, args.at(-1)!, context);
  const isSets = !receiver && node.op === "rcall" && node.args[1].args === "sets";
  const parts = [...(receiver ? [receiver] : []), ...args].map((part) => estimate(part, context));
  const own = parts.length > 0 ? (isSets ? setFunctions : functions)[name]?.(parts) : undefined;
  const value = valueOfType(node);
  const inherits = ["optional", "dyn"].includes(value.kind) || value.kind === parts[0]?.kind;
  return {
    ...value, ...(inherits && parts[0]), kind: inherits && parts[0] ? parts[0].kind : value.kind,
    size: own?.size ?? (sized.has(value.kind) || inherits ? largest(parts) : 1), cost: costs(parts) + (own?.cost ?? 1),
  };
}

/** The body is the last argument; what stands between the variables and the body is a filter. */
function repeat({ turn, once, result }: Loop, range: Estimate, args: readonly Node[], { scope, fieldName }: Context): Estimate {
  const names = args.slice(0, -1).filter(({ op }) => op === "id").map((node) => node.args as string);
  const item = range.kind === "map" && names.length === 1 ? keyOf : itemOf(range);
  const inner = new Map(scope);
  names.forEach((name, i) => inner.set(name, i === 0 && names.length > 1 ? (range.kind === "map" ? keyOf : undefined) : item));
  const bodies = args.slice(names.length).map((body) => estimate(body, { scope: inner, fieldName }));
  const cost = range.cost + times(range.size, costs(bodies) + turn) + once;
  if (result === "scalar") return { kind: "bool", size: 1, cost };
  return { kind: "list", size: range.size, cost, item: result === "same" ? item : bodies.at(-1) };
}

/** Upstream takes the names in a map for short. */
const keyOf: Value = { kind: "string", size: 0 };

function bind(value: Node, name: string, body: Node, { scope, fieldName }: Context): Estimate {
  const bound = estimate(value, { scope, fieldName });
  const result = estimate(body, { scope: new Map(scope).set(name, bound), fieldName });
  return { ...result, cost: bound.cost + result.cost + LIST + 1 };
}
