/**
 * How large values of a schema may be: its own bounds count, and where it has none, what fits into a request.
 */
/** A schema, as far as the size of values goes. */
export interface SizedSchema {
  readonly type?: string;
  readonly format?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly required?: readonly string[];
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly properties?: Readonly<Record<string, SizedSchema>>;
  readonly items?: SizedSchema;
  readonly additionalProperties?: SizedSchema | boolean;
  readonly "x-kubernetes-int-or-string"?: boolean;
}

/** Bytes of a request; all that fits into one bounds what has no bound of its own. */
const REQUEST_SIZE = 3 * 1024 * 1024;

const formatSizes: Readonly<Record<string, { readonly min: number; readonly max: number }>> = {
  duration: { min: 4, max: 32 }, date: { min: 12, max: 12 }, "date-time": { min: 22, max: 32 },
};

/** Items of a list, values of a map. */
export const innerOf = ({ items, additionalProperties: extra }: SizedSchema): SizedSchema | undefined =>
  items ?? (typeof extra === "object" ? extra : undefined);

/** Bytes of the shortest value in JSON. */
export function minSize(schema: SizedSchema): number {
  const { type, format = "", properties = {}, required = [] } = schema;
  if (type === "string") return formatSizes[format]?.min ?? 2;
  if (type === "boolean") return 4;
  if (type === "array") return 2;
  if (type !== "object") return 1;
  const needed = required.filter((name) => properties[name] && properties[name].default === undefined);
  return needed.reduce((sum, name) => sum + name.length + minSize(properties[name]!) + 4, 2);
}

/** How many values of the schema fit into a request. */
export const mostValues = (schema: SizedSchema): number => Math.floor(REQUEST_SIZE / (minSize(schema) + 1));

/** Items of a list, entries of a map, bytes of a string; others have no size. */
export function maxSize(schema: SizedSchema): number {
  const { type, format = "", maxLength, maxItems, maxProperties } = schema;
  if (schema["x-kubernetes-int-or-string"]) return REQUEST_SIZE - 2;
  const inner = innerOf(schema);
  if (type === "array") return maxItems ?? (inner ? Math.floor((REQUEST_SIZE - 2) / (minSize(inner) + 1)) : Infinity);
  if (type === "object" && inner) return maxProperties ?? Math.floor((REQUEST_SIZE - 2) / (minSize(inner) + 6));
  if (type !== "string") return 0;
  if (formatSizes[format]) return formatSizes[format].max;
  if (maxLength !== undefined) return format === "byte" ? maxLength : maxLength * 4;
  if (schema.enum?.length) return Math.max(...schema.enum.map((value) => String(value).length));
  return REQUEST_SIZE - 2;
}
