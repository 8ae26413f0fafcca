/**
 * Derives the published schemas from the models of `@kubernetes/client-node` and the table of merge semantics:
 * `generated/definitions.json` (OpenAPI v2 definitions with descriptions) and `generated/fields.json` (types alone).
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { definitionName } from "../src/openapi/names.ts";
import { packageOf, typeRule } from "../src/patch/shape.ts";
import type { FieldRule } from "../src/patch/shape.ts";
import { type Message, protobufSchema } from "../src/protobuf/schema.ts";
import { builtinResources } from "../src/resources/index.ts";
import { describeField } from "./descriptions.ts";
import { enums } from "./enums.ts";
import { type Model, type ModelField, type Models, openModels } from "./models.ts";
import {
  anyDefinition, classNamesOf, fieldMarks, INT_OR_STRING, isQuantity, leafDefinitions, MICRO_TIME, packageOfModel,
  QUANTITY, TIME, typeNameOf, unions,
} from "./types.ts";

interface Kind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

/** Kinds that requests and answers carry beside the resources' own. */
const otherKinds: readonly Kind[] = [
  { group: "autoscaling", version: "v1", kind: "Scale" }, { group: "policy", version: "v1", kind: "Eviction" },
  { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" },
];
const metaKinds: readonly Kind[] = ["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "DeleteOptions", "Status", "WatchEvent"]
  .map((kind) => ({ group: "", version: "v1", kind }));

export interface Generated {
  readonly definitions: Readonly<Record<string, object>>;
  /** By `core/v1.PodSpec`: field name -> code of its type, see `src/openapi/fields.ts`. */
  readonly fields: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export function generate(models: Models = openModels()): Generated {
  const kinds = [...builtinResources, ...otherKinds];
  const lists = builtinResources.filter((def) => def.verbs.includes("list")).map((def) => ({ ...def, kind: `${def.kind}List` }));
  const roots = new Map<string, Kind>();
  for (const kind of [...kinds, ...lists]) {
    const className = classNamesOf(`${packageOf(kind.group)}/${kind.version}`, kind.kind).find((name) => models.get(name));
    if (className) roots.set(className, kind);
  }
  for (const kind of metaKinds) roots.set(`V1${kind.kind}`, kind);
  roots.set(VERSION_INFO, { group: "", version: "v1", kind: "Info" });
  const types = nameTypes(models, roots);
  const definitions: Record<string, object> = { ...leafDefinitions };
  const fields: Record<string, Record<string, string>> = {};
  for (const [className, type] of types) {
    const model = models.get(className)!;
    definitions[definitionOf(className, type)] = definition(model, type, types, className === VERSION_INFO ? undefined : roots.get(className), models);
    const isKept = keptWhenEmpty(type);
    fields[type] = Object.fromEntries(model.fields.map((field) => {
      const letters = code(field, typeNameOf(className), types);
      return [field.name, isKept(field, letters) ? letters : `-${letters}`];
    }));
  }
  return { definitions: sorted(definitions), fields: sorted(fields) };
}

const VERSION_INFO = "VersionInfo";
const definitionOf = (className: string, type: string): string =>
  className === VERSION_INFO ? "io.k8s.apimachinery.pkg.version.Info" : definitionName(type);

const modelNames = /\b((?:[A-Z][a-z]+)?V\d+(?:(?:alpha|beta)\d+)?[A-Z]\w*)\b/g;

/** Every model that the roots reach, with its name `package/version.Type`. */
function nameTypes(models: Models, roots: ReadonlyMap<string, Kind>): Map<string, string> {
  const reachedBy = new Map<string, Set<string>>();
  const walk = (className: string, pkg: string): void => {
    const known = reachedBy.get(className);
    if (known?.has(pkg) || !models.get(className)) return;
    if (known) known.add(pkg);
    else reachedBy.set(className, new Set([pkg]));
    for (const field of models.get(className)!.fields) {
      for (const [, name] of field.type.matchAll(modelNames)) walk(name!, pkg);
    }
  };
  for (const [className, { group, version }] of roots) walk(className, `${packageOf(group)}/${version}`);
  return new Map([...reachedBy].map(([className, pkgs]) => [className, `${packageOfModel(className, pkgs)}.${typeNameOf(className)}`]));
}

function definition(model: Model, type: string, types: ReadonlyMap<string, string>, kind: Kind | undefined, models: Models): object {
  const rule = typeRule(type);
  const typeName = type.slice(type.lastIndexOf(".") + 1);
  const isList = kind?.kind.endsWith("List") ?? false;
  const properties = Object.fromEntries(model.fields.map((field) => {
    const description = field.description || describeField(field.name) || models.get(field.type)?.description;
    const values = enums.get(`${type}.${field.name}`);
    const keeps = isList && field.name === "items";
    return [field.name, {
      ...(description && { description }),
      ...schemaOf(field.type, field.format, typeName, field.name, types),
      ...(!keeps && extensions(rule?.fields.get(field.name), field.type)),
      ...fieldMarks[`${type}.${field.name}`],
      ...(values && { enum: values }),
    }];
  }));
  const required = model.fields.filter((field) => field.required).map((field) => field.name);
  return {
    ...(model.description && { description: model.description }),
    type: "object", properties,
    ...(required.length > 0 && { required }),
    ...(rule?.atomic && { "x-kubernetes-map-type": "atomic" }),
    ...(unions[type] && { "x-kubernetes-unions": [unions[type]] }),
    ...(kind && { "x-kubernetes-group-version-kind": [{ group: kind.group, version: kind.version, kind: kind.kind }] }),
  };
}

function schemaOf(type: string, format: string, typeName: string, field: string, types: ReadonlyMap<string, string>): object {
  const array = /^Array<(.+)>$/.exec(type);
  if (array) return { type: "array", items: schemaOf(array[1]!, format, typeName, field, types) };
  const map = /^\{ \[key: string\]: (.+); \}$/.exec(type);
  if (map) return { type: "object", additionalProperties: schemaOf(map[1]!, format, typeName, field, types) };
  const target = types.get(type);
  if (target) return ref(definitionName(target));
  switch (type) {
    case "V1MicroTime": return ref(MICRO_TIME);
    case "Date": return ref(TIME);
    case "IntOrString": return ref(INT_OR_STRING);
    case "any": case "object": return ref(anyDefinition(typeName, field));
    case "boolean": return { type: "boolean" };
    case "number": return format === "double" ? { type: "number", format } : { type: "integer", format: format || "int32" };
    default: return isQuantity(typeName, field) ? ref(QUANTITY) : { type: "string", ...(format && { format }) };
  }
}

const ref = (name: string) => ({ $ref: `#/definitions/${name}` });

function extensions(rule: FieldRule | undefined, type: string): object {
  const isList = type.startsWith("Array<");
  const patch = [...(rule?.patch ? [rule.patch] : []), ...(rule?.retainKeys ? ["retainKeys"] : [])].join(",");
  return {
    ...(isList && { "x-kubernetes-list-type": rule?.list ?? "atomic" }),
    ...(rule?.keys && { "x-kubernetes-list-map-keys": rule.keys }),
    ...(patch && { "x-kubernetes-patch-strategy": patch }),
    ...(rule?.mergeKey && { "x-kubernetes-patch-merge-key": rule.mergeKey }),
    ...(rule?.atomic && { "x-kubernetes-map-type": "atomic" }),
  };
}

/** The codes of `src/openapi/fields.ts`: one letter for a scalar, `[` and `{` before the type of items and values, `@` before a struct. */
function code({ type, format, name }: ModelField, typeName: string, types: ReadonlyMap<string, string>): string {
  const inner = /^(Array<|\{ \[key: string\]: )(.+?)(?:; \}|>)$/.exec(type);
  if (inner) return (inner[1] === "Array<" ? "[" : "{") + code({ type: inner[2]!, format, name, required: false, description: "" }, typeName, types);
  const target = types.get(type);
  if (target) return `@${target}`;
  switch (type) {
    case "V1MicroTime": case "Date": return "t";
    case "IntOrString": return "o";
    case "boolean": return "b";
    case "number": return format === "double" ? "d" : format === "int64" ? "l" : "i";
    case "string": return isQuantity(typeName, name) ? "q" : format === "byte" ? "y" : "s";
    default: return "*";
  }
}

/** Lists that are not required and yet keep their emptiness. */
const keptLists = new Set([
  "autoscaling/v2.HorizontalPodAutoscalerStatus.currentMetrics", "discovery/v1.EndpointSlice.endpoints", "discovery/v1.EndpointSlice.ports",
  "rbac/v1.ClusterRole.rules", "rbac/v1.Role.rules",
]);

/** Whether an empty list or map, or a zero, says something else than an absent field. */
function keptWhenEmpty(type: string): (field: ModelField, letters: string) => boolean {
  const message = protobufSchema().find(type.replace("/", "."));
  const zeros = new Map(message && scalarsOf(message).map(({ json, keepZero }) => [json, keepZero]));
  return ({ name, required }, letters) => {
    if ("[{y".includes(letters[0]!)) return required || keptLists.has(`${type}.${name}`);
    return "sbild".includes(letters[0]!) ? (zeros.get(name) ?? true) : true;
  };
}

const scalarsOf = (message: Message): Message["fields"][number][] =>
  message.fields.flatMap((field) => (field.inline ? scalarsOf(field.message()) : [field]));

const sorted = <T>(record: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Writes the files whole, so that a reader never sees half of one. */
export function writeGenerated(folder: string, generated: Generated): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, value] of Object.entries(generated)) {
    const file = join(folder, `${name}.json`);
    writeFileSync(`${file}.new`, JSON.stringify(value));
    renameSync(`${file}.new`, file);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeGenerated(fileURLToPath(new URL("../generated", import.meta.url)), generate());
}
