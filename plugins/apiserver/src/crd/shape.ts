/** The merge semantics that a structural schema states, for server-side apply and field managers. */
import { plainShape, type Shape, shapeOf } from "../patch/shape.ts";
import type { Node } from "./schema.ts";

const metadata = shapeOf("", "", "").field("metadata");

export function shapeOfNode(node: Node | undefined, isRoot = true): Shape {
  if (!node) return plainShape;
  const { listType: list, listKeys: keys, items, fields, values } = node;
  const isList = list === "atomic" || list === "map" || list === "set";
  return {
    ...(node.mapType === "atomic" && { atomic: true }),
    ...(isList && { list }),
    ...(list === "map" && { keys, keyDefaults: keyDefaults(items, keys) }),
    field: (name) => {
      if (name === "metadata" && (isRoot || node.embedded)) return metadata;
      return shapeOfNode(fields?.get(name) ?? (values === true ? undefined : values), false);
    },
    item: () => shapeOfNode(items, false),
  };
}

function keyDefaults(items: Node | undefined, keys: readonly string[]): Record<string, unknown> {
  const found = keys.map((key) => [key, items?.fields?.get(key)?.default?.value] as const);
  return Object.fromEntries(found.filter(([, value]) => value !== undefined));
}
