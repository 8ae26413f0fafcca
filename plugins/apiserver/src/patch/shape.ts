/** The merge semantics of an object, field by field: one interface over the built-in table and over OpenAPI schemas. */
import { mergeTable } from "./merge-keys.ts";

/** What patches and server-side apply need to know of one value. */
export interface Shape {
  /** Owned and replaced as one. For lists see `list`. */
  readonly atomic?: boolean;
  readonly list?: "atomic" | "map" | "set";
  /** Key fields of a `map` list, and the values that stand for absent ones. */
  readonly keys?: readonly string[];
  readonly keyDefaults?: Readonly<Record<string, unknown>>;
  /** How strategic patches treat it; absent = lists are replaced, structs and maps are merged. */
  readonly patch?: "merge" | "replace";
  readonly mergeKey?: string;
  readonly retainKeys?: boolean;
  /** Shape of a field of a struct, or of a value of a map. */
  field(name: string): Shape;
  /** Shape of a list's items. */
  item(): Shape;
}

/** Nothing is known: maps merge, lists are atomic. */
export const plainShape: Shape = Object.freeze({ field: () => plainShape, item: () => plainShape });

/** Semantics of a built-in kind; kinds that the table does not name have only the metadata's. */
export function shapeOf(group: string, version: string, kind: string): Shape {
  return typeShape(`${packageOf(group)}/${version}.${kind}`) ?? kindShape;
}

/** Package of upstream's types for an API group: `rbac` for `rbac.authorization.k8s.io`. */
export const packageOf = (group: string): string => (group === "" ? "core" : group.split(".")[0]!);

/** Rule of one field as the table states it, for the published schemas. */
export interface FieldRule {
  readonly type?: string;
  readonly collection?: "list" | "map";
  readonly atomic?: boolean;
  readonly list?: "atomic" | "map" | "set";
  readonly keys?: readonly string[];
  readonly patch?: "merge" | "replace";
  readonly mergeKey?: string;
  readonly retainKeys?: boolean;
}

export interface TypeRule {
  readonly atomic: boolean;
  readonly fields: ReadonlyMap<string, FieldRule>;
}

let rules: Map<string, TypeRule> | undefined;

/** `name` is `core/v1.PodSpec`. */
export function typeRule(name: string): TypeRule | undefined {
  rules ??= parseTable();
  return rules.get(name);
}

function parseTable(): Map<string, TypeRule> {
  const parsed = new Map<string, TypeRule>();
  for (const [pkg, text] of Object.entries(mergeTable)) {
    for (const line of text.replace(/\n {2}/g, " ").split("\n").filter(Boolean)) {
      const [name, ...tokens] = line.split(" ");
      const fields = tokens.filter((token) => token !== "!").map((token) => parseField(pkg, token));
      parsed.set(`${pkg}.${name}`, { atomic: tokens[0] === "!", fields: new Map(fields) });
    }
  }
  return parsed;
}

const fieldPattern = /^([^:=]+)(?::([^=]+))?(?:=(\[\]|\{\})?(?:map\(([^)]*)\)|(set))?(?:([+~*!])([^+]*))?)?$/;

function parseField(pkg: string, token: string): [string, FieldRule] {
  const match = fieldPattern.exec(token);
  if (!match) throw new Error(`bad merge rule: ${token}`);
  const [, name, type, collection, keys, set, sign, key] = match;
  const keyList = keys?.split(",");
  const mergeKey = key || keyList?.[0];
  const merges = sign === "+" || (sign === "~" && collection === "[]");
  return [name!, {
    ...(type && { type: type.includes("/") ? type : `${pkg}.${type}` }),
    ...(collection && { collection: collection === "[]" ? "list" : "map" } as const),
    ...(collection === "[]" && { list: keyList ? "map" : set ? "set" : "atomic" } as const),
    ...(keyList && { keys: keyList }),
    ...(sign === "!" && { atomic: true }),
    ...(merges && { patch: "merge" } as const),
    ...(merges && mergeKey && { mergeKey }),
    ...(sign === "*" && { patch: "replace" } as const),
    ...(sign === "~" && { retainKeys: true }),
  }];
}

const shapes = new Map<string, Shape>();

function typeShape(name: string): Shape | undefined {
  const known = shapes.get(name);
  if (known) return known;
  const rule = typeRule(name);
  if (!rule) return undefined;
  const fields = new Map<string, Shape>();
  const shape: Shape = {
    ...(rule.atomic && { atomic: true }),
    field: (field) => {
      let found = fields.get(field);
      if (!found) fields.set(field, (found = fieldShape(rule.fields.get(field), field)));
      return found;
    },
    item: () => plainShape,
  };
  shapes.set(name, shape);
  return shape;
}

const metaType = "meta/v1.ObjectMeta";
/** Any object with metadata. */
const kindShape: Shape = {
  field: (name) => fieldShape(undefined, name),
  item: () => plainShape,
};

function fieldShape(rule: FieldRule | undefined, name: string): Shape {
  if (!rule) return name === "metadata" ? typeShape(metaType)! : plainShape;
  const inner = rule.type ? (typeShape(rule.type) ?? plainShape) : plainShape;
  const { list, keys, patch, mergeKey, retainKeys } = rule;
  const common = {
    ...(patch && { patch }), ...(mergeKey && { mergeKey }), ...(retainKeys && { retainKeys }),
  };
  if (rule.collection === "list") {
    const keyDefaults = keys?.includes("protocol") ? { protocol: "TCP" } : undefined;
    return {
      ...common, list: list!, ...(keys && { keys }), ...(keyDefaults && { keyDefaults }),
      field: () => plainShape, item: () => inner,
    };
  }
  if (rule.collection === "map") {
    return { ...common, ...(rule.atomic && { atomic: true }), field: () => inner, item: () => plainShape };
  }
  const atomic = rule.atomic || inner.atomic;
  return { ...common, ...(atomic && { atomic: true }), field: inner.field, item: inner.item };
}

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly default?: unknown;
  readonly "x-kubernetes-list-type"?: "atomic" | "map" | "set";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: "atomic" | "granular";
  readonly "x-kubernetes-embedded-resource"?: boolean;
}

/** Semantics that a CustomResourceDefinition's structural schema states. */
export function shapeOfSchema(schema: object | undefined, root = true): Shape {
  if (!schema) return root ? kindShape : plainShape;
  const node = schema as SchemaNode;
  const keys = node["x-kubernetes-list-map-keys"];
  const isObject = root || node["x-kubernetes-embedded-resource"] === true;
  return {
    ...(node["x-kubernetes-map-type"] === "atomic" && { atomic: true }),
    ...(node["x-kubernetes-list-type"] && { list: node["x-kubernetes-list-type"] }),
    ...(keys && { keys, keyDefaults: defaultsOf(node.items, keys) }),
    field: (name) => {
      if (isObject && name === "metadata") return typeShape(metaType)!;
      const values = typeof node.additionalProperties === "object" ? node.additionalProperties : undefined;
      return shapeOfSchema(node.properties?.[name] ?? values, false);
    },
    item: () => shapeOfSchema(node.items, false),
  };
}

function defaultsOf(items: SchemaNode | undefined, keys: readonly string[]): Record<string, unknown> {
  const found = keys.map((key) => [key, items?.properties?.[key]?.default] as const);
  return Object.fromEntries(found.filter(([, value]) => value !== undefined));
}
