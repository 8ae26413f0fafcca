/** A version's schema, read once into a tree that pruning, defaulting and validation walk. */
import { goRegExp } from "../cel/regexp.ts";

/** `JSONSchemaProps` of apiextensions.k8s.io/v1, as far as structural schemas use it. */
export interface SchemaProps {
  readonly type?: string;
  readonly format?: string;
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly nullable?: boolean;
  readonly maximum?: number;
  readonly exclusiveMaximum?: boolean;
  readonly minimum?: number;
  readonly exclusiveMinimum?: boolean;
  readonly multipleOf?: number;
  readonly maxLength?: number;
  readonly minLength?: number;
  readonly pattern?: string;
  readonly maxItems?: number;
  readonly minItems?: number;
  readonly uniqueItems?: boolean;
  readonly maxProperties?: number;
  readonly minProperties?: number;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, SchemaProps>>;
  readonly additionalProperties?: SchemaProps | boolean;
  readonly items?: SchemaProps;
  readonly allOf?: readonly SchemaProps[];
  readonly anyOf?: readonly SchemaProps[];
  readonly oneOf?: readonly SchemaProps[];
  readonly not?: SchemaProps;
  readonly externalDocs?: object;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-kubernetes-embedded-resource"?: boolean;
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-list-type"?: string;
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: string;
  readonly "x-kubernetes-validations"?: readonly RuleProps[];
}

/** A CEL rule. */
export interface RuleProps {
  readonly rule: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

export interface Node {
  /** Empty = any type. */
  readonly types: readonly string[];
  readonly format: string | undefined;
  readonly nullable: boolean;
  readonly fields: ReadonlyMap<string, Node> | undefined;
  /** Schema of a map's values; `true` = `additionalProperties: true`. */
  readonly values: Node | true | undefined;
  readonly items: Node | undefined;
  readonly preserve: boolean;
  readonly embedded: boolean;
  readonly intOrString: boolean;
  /** Wrapped, as null may be a default. */
  readonly default: { readonly value: unknown } | undefined;
  readonly mapType: string | undefined;
  readonly listType: string | undefined;
  readonly listKeys: readonly string[];
  readonly bounds: Bounds | undefined;
  readonly required: readonly string[];
  readonly allOf: readonly Node[];
  readonly anyOf: readonly Node[];
  readonly oneOf: readonly Node[];
  readonly not: Node | undefined;
  readonly rules: readonly RuleProps[];
  /** Something below or here has a default, is a set or map list, an embedded resource, or has a rule. */
  readonly hasDefaults: boolean;
  readonly hasLists: boolean;
  readonly hasEmbedded: boolean;
  readonly hasRules: boolean;
}

/** Keywords on the value itself. */
export interface Bounds {
  readonly maximum?: number | undefined;
  readonly exclusiveMaximum: boolean;
  readonly minimum?: number | undefined;
  readonly exclusiveMinimum: boolean;
  readonly multipleOf?: number | undefined;
  readonly maxLength?: number | undefined;
  readonly minLength?: number | undefined;
  readonly pattern?: { readonly source: string; readonly regexp: RegExp } | undefined;
  readonly maxItems?: number | undefined;
  readonly minItems?: number | undefined;
  readonly maxProperties?: number | undefined;
  readonly minProperties?: number | undefined;
  readonly enum?: readonly unknown[] | undefined;
}

export function readSchema(schema: SchemaProps): Node {
  const { properties, additionalProperties: extra, items, default: preset } = schema;
  const fields = properties && new Map(Object.entries(properties).map(([name, field]) => [name, readSchema(field)]));
  const values = extra === true ? true : typeof extra === "object" ? readSchema(extra) : undefined;
  const item = items && readSchema(items);
  const inner = [...(fields?.values() ?? []), ...(values && values !== true ? [values] : []), ...(item ? [item] : [])];
  const listType = schema["x-kubernetes-list-type"];
  const rules = schema["x-kubernetes-validations"] ?? [];
  const embedded = schema["x-kubernetes-embedded-resource"] === true;
  const intOrString = schema["x-kubernetes-int-or-string"] === true;
  return {
    types: intOrString ? ["integer", "string"] : schema.type ? [schema.type] : [],
    format: schema.format, nullable: schema.nullable === true,
    fields, values, items: item,
    preserve: schema["x-kubernetes-preserve-unknown-fields"] === true,
    embedded, intOrString,
    default: preset === undefined ? undefined : { value: preset },
    mapType: schema["x-kubernetes-map-type"],
    listType, listKeys: schema["x-kubernetes-list-map-keys"] ?? [],
    bounds: readBounds(schema),
    required: schema.required ?? [],
    allOf: (schema.allOf ?? []).map(readSchema), anyOf: (schema.anyOf ?? []).map(readSchema),
    oneOf: (schema.oneOf ?? []).map(readSchema), not: schema.not && readSchema(schema.not),
    rules,
    hasDefaults: preset !== undefined || inner.some((node) => node.hasDefaults),
    hasLists: listType === "set" || listType === "map" || inner.some((node) => node.hasLists),
    hasEmbedded: embedded || inner.some((node) => node.hasEmbedded),
    hasRules: rules.length > 0 || inner.some((node) => node.hasRules),
  };
}

const boundNames = [
  "maximum", "minimum", "multipleOf", "maxLength", "minLength", "pattern", "maxItems", "minItems", "maxProperties", "minProperties", "enum",
] as const;

function readBounds(schema: SchemaProps): Bounds | undefined {
  if (boundNames.every((name) => schema[name] === undefined)) return undefined;
  const { maximum, minimum, multipleOf, maxLength, minLength, pattern, maxItems, minItems, maxProperties, minProperties } = schema;
  return {
    maximum, minimum, multipleOf, maxLength, minLength, maxItems, minItems, maxProperties, minProperties, enum: schema.enum,
    exclusiveMaximum: schema.exclusiveMaximum === true, exclusiveMinimum: schema.exclusiveMinimum === true,
    pattern: pattern ? { source: pattern, regexp: goRegExp(pattern) } : undefined,
  };
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Fields that the server itself has for every object, at the root and in embedded resources. */
export const metaFields: ReadonlySet<string> = new Set(["apiVersion", "kind", "metadata"]);
