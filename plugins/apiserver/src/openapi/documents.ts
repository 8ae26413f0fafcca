/** The OpenAPI documents, v2 (one for all) and v3 (one a group and version), from definitions and operations. */
import type { ResourceDef } from "../resources/types.ts";
import { generalPaths } from "./general.ts";
import type { Schema } from "./generated.ts";
import { definitionName, kindDefinition } from "./names.ts";
import { groupTag, mediaTypes, type Operation, operationsOf } from "./operations.ts";

export type Definitions = Readonly<Record<string, Schema>>;

export const info = { title: "Kubernetes", version: "v1.36.0" };
const patchTypes = [
  "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml",
];
/** kubectl reads from here how it may patch. */
const patchTypesOf = ({ isCustom }: Operation): readonly string[] => (isCustom ? patchTypes.filter((type) => !type.includes("strategic")) : patchTypes);

/** `schemaOf` gives the OpenAPI v3 schema of rows that are not built in. */
export type SchemaOf = (def: ResourceDef) => object | undefined;

export function documentV2(builtin: Definitions, defs: readonly ResourceDef[], schemaOf: SchemaOf): object {
  const definitions: Record<string, object> = {
    ...builtin, ...everywhere(builtin, defs), ...customDefinitions(builtin, defs, schemaOf, kindToV2, "#/definitions/"),
  };
  const known = (name: string | undefined) => (name && definitions[name] ? { $ref: `#/definitions/${name}` } : undefined);
  return {
    swagger: "2.0", info,
    paths: { ...generalPaths(defs), ...pathsOf(defs, (operation) => operationV2(operation, known)) },
    definitions,
    securityDefinitions: { BearerToken: { description: "Bearer Token authentication", type: "apiKey", name: "authorization", in: "header" } },
    security: [{ BearerToken: [] }],
  };
}

export function documentV3(builtin: Definitions, defs: readonly ResourceDef[], schemaOf: SchemaOf): object {
  const schemas = convertRefs({ ...builtin, ...customDefinitions(builtin, defs, schemaOf, (schema) => schema, "#/definitions/") });
  const used = new Set<string>();
  const known = (name: string | undefined) => {
    if (!name || !schemas[name]) return undefined;
    collect(schemas, name, used);
    return { $ref: `#/components/schemas/${name}` };
  };
  const paths = pathsOf(defs, (operation) => operationV3(operation, known));
  return {
    openapi: "3.0.0", info, paths,
    components: {
      schemas: Object.fromEntries([...used].sort().map((name) => [name, schemas[name]])),
      securitySchemes: { BearerToken: { description: "Bearer Token authentication", type: "apiKey", name: "authorization", in: "header" } },
    },
  };
}

function pathsOf(defs: readonly ResourceDef[], render: (operation: Operation) => object): Record<string, object> {
  const paths: Record<string, Record<string, object>> = {};
  for (const operation of defs.flatMap((def) => operationsOf(def))) {
    (paths[operation.path] ??= {})[operation.method] ??= render(operation);
  }
  return Object.fromEntries(Object.entries(paths).sort(([a], [b]) => (a < b ? -1 : 1)));
}

type Known = (name: string | undefined) => object | undefined;

const tagOf = ({ path }: Operation): string => {
  const [, root, first = "", second = ""] = path.split("/");
  return root === "api" ? `core_${first}` : `${groupTag(first)}_${second}`;
};

const consumedBy = (operation: Operation): readonly string[] =>
  operation.method === "patch" && !operation.isStream ? patchTypesOf(operation) : ["*/*"];
/** Connections speak what the two ends speak; lists are also watched. */
function producedBy({ action, isStream }: Operation): readonly string[] {
  if (action === "connect") return ["*/*"];
  if (isStream) return ["text/plain", ...mediaTypes];
  return action === "list" ? [...mediaTypes, "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"] : mediaTypes;
}

const marks = ({ action, kind }: Operation) => ({ "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind });

function operationV2(operation: Operation, known: Known): object {
  const { method, id, summary, query, pathParameters, codes } = operation;
  const body = known(operation.body);
  const response = operation.isStream ? { type: "string" } : known(operation.response);
  return {
    description: summary, operationId: id, tags: [tagOf(operation)], schemes: ["https"],
    consumes: consumedBy(operation), produces: producedBy(operation),
    parameters: [
      ...pathParameters.map((name) => ({ name, in: "path", required: true, type: "string", uniqueItems: true })),
      ...(body ? [{ name: "body", in: "body", required: method !== "delete", schema: body }] : []),
      ...query.map(({ name, type }) => ({ name, in: "query", type, uniqueItems: true })),
    ],
    responses: {
      ...Object.fromEntries(codes.map((code) => [code, { description: reasons[code]!, ...(response && { schema: response }) }])),
      401: { description: "Unauthorized" },
    },
    ...marks(operation),
  };
}

const reasons: Readonly<Record<number, string>> = { 200: "OK", 201: "Created", 202: "Accepted" };

function operationV3(operation: Operation, known: Known): object {
  const { id, summary, query, pathParameters, codes } = operation;
  const body = known(operation.body);
  const response = operation.isStream ? { type: "string" } : known(operation.response);
  const contentOf = (types: readonly string[], schema: object) => Object.fromEntries(types.map((type) => [type, { schema }]));
  return {
    description: summary, operationId: id, tags: [tagOf(operation)],
    parameters: [
      ...pathParameters.map((name) => ({ name, in: "path", required: true, schema: { type: "string", uniqueItems: true } })),
      ...query.map(({ name, type }) => ({ name, in: "query", schema: { type, uniqueItems: true } })),
    ],
    ...(body && { requestBody: { content: contentOf(consumedBy(operation), body) } }),
    responses: {
      ...Object.fromEntries(codes.map((code) => [code, { description: reasons[code]!, ...(response && { content: contentOf(producedBy(operation), response) }) }])),
      401: { description: "Unauthorized" },
    },
    ...marks(operation),
  };
}

/** Kinds that belong to every group and version. */
function everywhere(builtin: Definitions, defs: readonly ResourceDef[]): Record<string, object> {
  const versions = [...new Set(defs.map(({ group, version }) => `${group}/${version}`))].sort().map((text) => text.split("/"));
  return Object.fromEntries(["DeleteOptions", "WatchEvent"].map((kind) => [
    definitionName(`meta/v1.${kind}`),
    { ...builtin[definitionName(`meta/v1.${kind}`)], "x-kubernetes-group-version-kind": versions.map(([group, version]) => ({ group, version, kind })) },
  ]));
}

/** Definitions of the kinds that are not built in, and of their lists. */
function customDefinitions(
  builtin: Definitions, defs: readonly ResourceDef[], schemaOf: SchemaOf, convert: (schema: Schema) => Schema | undefined, prefix: string,
): Record<string, Schema> {
  const result: Record<string, Schema> = {};
  const { apiVersion, kind: kindField, metadata } = standardFields(builtin);
  const typeMeta = { apiVersion, kind: kindField };
  const meta = (type: string) => ({ $ref: `${prefix}${definitionName(`meta/v1.${type}`)}` });
  for (const def of defs) {
    const { group, version, kind } = def;
    const name = kindDefinition(group, version, kind);
    if (builtin[name]) continue;
    const schema = convert((schemaOf(def) ?? { type: "object", "x-kubernetes-preserve-unknown-fields": true }) as Schema);
    result[name] = {
      ...schema, type: "object",
      ...(schema && { properties: { ...(schema["properties"] as object), ...typeMeta, metadata } }),
      "x-kubernetes-group-version-kind": [{ group, version, kind }],
    };
    result[`${name}List`] = {
      type: "object", description: `${kind}List is a list of ${kind}`, required: ["items"],
      properties: {
        ...typeMeta, metadata: meta("ListMeta"),
        items: { type: "array", description: `List of ${def.plural}.`, items: { $ref: `${prefix}${name}` } },
      },
      "x-kubernetes-group-version-kind": [{ group, version, kind: `${kind}List` }],
    };
  }
  return result;
}

/** What every kind has; `kubectl explain` shows the same words for custom kinds as for built-in ones. */
const standardFields = (builtin: Definitions): Readonly<Record<string, Schema>> =>
  builtin[definitionName("core/v1.ConfigMap")]!["properties"] as Record<string, Schema>;

/** Clients of v2 take no unknown field where there are known ones: a kind that keeps any says nothing. */
const kindToV2 = (schema: Schema): Schema | undefined => (schema["x-kubernetes-preserve-unknown-fields"] === true ? undefined : toV2(schema));

/** v2 cannot say everything that v3 can: what it cannot say becomes free. */
function toV2(schema: Schema): Schema {
  const { oneOf: _1, anyOf: _2, allOf: _3, not: _4, nullable: _5, properties, items, additionalProperties, ...rest } = schema;
  if (rest["x-kubernetes-preserve-unknown-fields"] === true || rest["x-kubernetes-int-or-string"] === true) {
    const { type: _6, ...free } = rest;
    return free;
  }
  const isSchema = (value: unknown): value is Schema => typeof value === "object" && value !== null;
  return {
    ...rest,
    ...(isSchema(properties) && { properties: Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, toV2(value as Schema)])) }),
    ...(isSchema(items) && { items: toV2(items) }),
    ...(additionalProperties !== undefined && { additionalProperties: isSchema(additionalProperties) ? toV2(additionalProperties) : additionalProperties }),
  };
}

const oneOf: Readonly<Record<string, Schema>> = {
  "io.k8s.apimachinery.pkg.util.intstr.IntOrString": { format: "int-or-string", oneOf: [{ type: "integer" }, { type: "string" }] },
  "io.k8s.apimachinery.pkg.api.resource.Quantity": { oneOf: [{ type: "string" }, { type: "number" }] },
};

/** v2 references to v3: a reference with a description must stand in an `allOf`. */
export function convertRefs(definitions: Definitions): Record<string, Schema> {
  const convert = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(convert);
    if (typeof value !== "object" || value === null) return value;
    const { $ref, ...rest } = value as { $ref?: unknown };
    if (typeof $ref !== "string") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, convert(item)]));
    const ref = { $ref: $ref.replace("#/definitions/", "#/components/schemas/") };
    return Object.keys(rest).length === 0 ? ref : { allOf: [ref], default: {}, ...rest };
  };
  return Object.fromEntries(Object.entries(definitions).map(([name, schema]) => {
    const { type: _, format: __, ...rest } = schema;
    return [name, (oneOf[name] ? { ...rest, ...oneOf[name] } : convert(schema)) as Schema];
  }));
}

const refPattern = /"#\/components\/schemas\/([^"]+)"/g;

/** Adds a schema and all that it refers to. */
function collect(schemas: Readonly<Record<string, Schema>>, name: string, into: Set<string>): void {
  if (into.has(name) || !schemas[name]) return;
  into.add(name);
  for (const [, next] of JSON.stringify(schemas[name]).matchAll(refPattern)) collect(schemas, next!, into);
}
