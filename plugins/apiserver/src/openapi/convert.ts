/** OpenAPI v2 as v3: for servers that tell no more than v2, and for the paths that are no resources. */
import { convertRefs } from "./documents.ts";
import type { Schema } from "./generated.ts";

export interface Swagger {
  readonly info?: object;
  readonly consumes?: readonly string[];
  readonly produces?: readonly string[];
  readonly paths?: Readonly<Record<string, object>>;
  readonly definitions?: Readonly<Record<string, Schema>>;
  /** Shared ones, by the names that `#/parameters/` refers to. */
  readonly parameters?: Readonly<Record<string, Parameter>>;
}

interface Parameter {
  readonly $ref?: string;
  readonly name: string;
  readonly in: string;
  readonly description?: string;
  readonly required?: boolean;
  /** Of a body. */
  readonly schema?: object;
}

interface Operation {
  readonly consumes?: readonly string[];
  readonly produces?: readonly string[];
  readonly schemes?: readonly string[];
  readonly parameters?: readonly Parameter[];
  readonly responses?: Readonly<Record<string, { readonly description?: string; readonly schema?: object }>>;
}

const anyType = ["*/*"];

export function toV3({ info = { title: "Kubernetes", version: "unversioned" }, paths = {}, definitions = {}, parameters, consumes = anyType, produces = anyType }: Swagger): object {
  const operation = ({ schemes: _, consumes: takes = consumes, produces: gives = produces, parameters: own = [], responses = {}, ...rest }: Operation): object => {
    const body = own.find((parameter) => parameter.in === "body");
    const others = own.filter((parameter) => parameter.in !== "body").map(parameterV3);
    return {
      ...rest, ...(others.length > 0 && { parameters: others }),
      ...(body && { requestBody: { content: contentOf(takes, body.schema), ...(body.required && { required: true }) } }),
      responses: Object.fromEntries(Object.entries(responses).map(([code, { schema, ...response }]) => [code, { ...response, ...(schema && { content: contentOf(gives, schema) }) }])),
    };
  };
  const items = Object.entries(paths).map(([path, item]) => [path, Object.fromEntries(Object.entries(withParameters(item, parameters)).map(([key, value]) =>
    [key, key === "parameters" ? (value as Parameter[]).map(parameterV3) : operation(value as Operation)]))]);
  const { converted } = convertRefs({ converted: Object.fromEntries(items) });
  return { openapi: "3.0.0", info, paths: converted, components: { schemas: convertRefs(definitions) } };
}

const contentOf = (types: readonly string[], schema: object | undefined): object => Object.fromEntries(types.map((type) => [type, { schema }]));

function parameterV3({ name, in: place, description, required, ...schema }: Parameter): object {
  return { name, in: place, ...(description !== undefined && { description }), ...(required !== undefined && { required }), schema };
}

/** A path with its shared parameters written out. */
export function withParameters(item: object, shared: Swagger["parameters"] = {}): object {
  const resolved = (list: readonly Parameter[]): Parameter[] => list.map((parameter) => shared[parameter.$ref?.replace("#/parameters/", "") ?? ""] ?? parameter);
  return Object.fromEntries(Object.entries(item).map(([key, value]: [string, Operation | readonly Parameter[]]) => {
    if (Array.isArray(value)) return [key, resolved(value)];
    const { parameters, ...operation } = value as Operation;
    return [key, parameters ? { ...operation, parameters: resolved(parameters) } : operation];
  }));
}

const refPattern = /"\$ref":"#\/definitions\/([^"]+)"/g;
const refsIn = (value: unknown): string[] => [...JSON.stringify(value).matchAll(refPattern)].map(([, name]) => name!.replaceAll("~1", "/").replaceAll("~0", "~"));

/** The definitions that a part of a document refers to, and those they refer to. */
export function definitionsFor(part: unknown, definitions: Readonly<Record<string, Schema>>): Record<string, Schema> {
  const used = new Set<string>();
  const collect = (value: unknown): void => {
    for (const name of refsIn(value)) {
      if (used.has(name) || !definitions[name]) continue;
      used.add(name);
      collect(definitions[name]);
    }
  };
  collect(part);
  return Object.fromEntries([...used].sort().map((name) => [name, definitions[name]!]));
}
