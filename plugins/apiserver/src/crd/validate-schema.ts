/** The rules for structural schemas: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import { forbidden, invalidValue, notSupported, required } from "../resources/validate/field.ts";
import { clone } from "../verbs/engine.ts";
import { sameJson } from "../verbs/update.ts";
import { validateLists } from "./lists.ts";
import { fillDefaults, prune } from "./prune.ts";
import { goRegExp } from "../cel/regexp.ts";
import { type PlacedSchema, ruleProblems } from "./rule-check.ts";
import { isRecord, metaFields, readSchema, type SchemaProps } from "./schema.ts";
import { validateValues } from "./values.ts";
import { validateMapList } from "./validate-lists.ts";

type Level = "root" | "items" | "field";

const types = ["string", "number", "integer", "boolean", "array", "object"];
/** What may stand beside `properties` at the root when status is validated on its own. */
const besideStatus = new Set([
  "$ref", "$schema", "description", "title", "type", "properties", "required", "example", "externalDocs", "id", "format",
  "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations", "x-kubernetes-map-type",
]);

export interface VersionSchema extends PlacedSchema {
  readonly hasStatus: boolean;
  /** It has been found good before. */
  readonly isUnchanged?: boolean;
}

/** Rules are checked when the schemas are right otherwise. */
export function validateSchemas(versions: readonly VersionSchema[]): FieldError[] {
  const errors = versions.flatMap(validateStructure);
  return errors.length > 0 ? errors : ruleProblems(versions.filter(({ isUnchanged }) => !isUnchanged));
}

function validateStructure({ schema, at, hasStatus }: VersionSchema): FieldError[] {
  const errors: FieldError[] = [];
  if (hasStatus) {
    if (schema.type !== undefined && schema.type !== "object") {
      errors.push(invalidValue(`${at}.type`, schema.type, 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'));
    }
    const beside = Object.keys(schema).find((key) => !besideStatus.has(key));
    if (beside) errors.push(invalidValue(at, beside, "only description, properties, required, title, type and extensions are allowed at the root of the schema if the status subresource is enabled"));
  }
  if (schema.nullable) errors.push(forbidden(`${at}.nullable`, "nullable cannot be true at the root"));
  checkNode(schema, at, "root", errors);
  return errors;
}

function checkNode(schema: SchemaProps, at: string, level: Level, errors: FieldError[]): void {
  checkType(schema, at, level, errors);
  checkForbidden(schema, at, level, errors);
  checkExtensions(schema, at, errors);
  validateMapList(schema, at, errors);
  checkDefault(schema, at, level, errors);
  if (schema.pattern) {
    try {
      goRegExp(schema.pattern);
    } catch (error) {
      errors.push(invalidValue(`${at}.pattern`, schema.pattern, `must be a valid regular expression, but isn't: ${(error as Error).message}`));
    }
  }
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const place = `${at}.properties[${name}]`;
    if (isResource(schema, level) && metaFields.has(name)) checkMetaField(name, field, place, level, errors);
    else checkNode(field, place, "field", errors);
  }
  if (isRecord(schema.additionalProperties)) checkNode(schema.additionalProperties as SchemaProps, `${at}.additionalProperties`, "field", errors);
  if (schema.items) checkNode(schema.items, `${at}.items`, "items", errors);
  checkJunctors(schema, at, errors, schema);
}

const isResource = (schema: SchemaProps, level: Level): boolean => level === "root" || schema["x-kubernetes-embedded-resource"] === true;

const missingType: Readonly<Record<Level, string>> = {
  root: "must not be empty at the root", items: "must not be empty for specified array items", field: "must not be empty for specified object fields",
};

function checkType(schema: SchemaProps, at: string, level: Level, errors: FieldError[]): void {
  const { type } = schema;
  const isFree = schema["x-kubernetes-int-or-string"] || schema["x-kubernetes-preserve-unknown-fields"];
  if (schema["x-kubernetes-embedded-resource"] && type !== "object") {
    const why = "must be object if x-kubernetes-embedded-resource is true";
    errors.push(type ? invalidValue(`${at}.type`, type, why) : required(`${at}.type`, why));
  } else if (!type && !isFree) errors.push(required(`${at}.type`, missingType[level]));
  if (level === "root" && type && type !== "object") errors.push(invalidValue(`${at}.type`, type, "must be object at the root"));
  if (type && !types.includes(type)) {
    errors.push(type === "null" ? forbidden(`${at}.type`, "type cannot be set to null, use nullable as an alternative")
      : notSupported(`${at}.type`, type, [...types].sort()));
  }
  if (type === "array" && !schema.items) errors.push(required(`${at}.items`, "must be specified"));
}

/** Keywords of JSON Schema that structural schemas do not have. */
const forbiddenKeywords: Readonly<Record<string, string>> = {
  definitions: "definitions is not supported", dependencies: "dependencies is not supported", deprecated: "deprecated is not supported",
  id: "id is not supported", patternProperties: "patternProperties is not supported", $ref: "$ref is not supported",
  additionalItems: "additionalItems is not supported",
};

function checkForbidden(schema: SchemaProps, at: string, level: Level, errors: FieldError[]): void {
  for (const key of Object.keys(schema)) {
    const why = forbiddenKeywords[key];
    const value = (schema as Readonly<Record<string, unknown>>)[key];
    if (why && !(isRecord(value) && Object.keys(value).length === 0)) errors.push(forbidden(`${at}.${key}`, why));
  }
  if (Array.isArray(schema.items)) errors.push(forbidden(`${at}.items`, "items must be a schema object and not an array"));
  if (schema.uniqueItems) errors.push(forbidden(`${at}.uniqueItems`, "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"));
  const { additionalProperties: extra } = schema;
  if (extra !== undefined && extra !== true) {
    if (Object.keys(schema.properties ?? {}).length > 0) errors.push(forbidden(`${at}.additionalProperties`, "additionalProperties and properties are mutual exclusive"));
    else if (extra === false) errors.push(forbidden(`${at}.additionalProperties`, "additionalProperties cannot be set to false"));
  }
  if (extra !== undefined && level === "root") errors.push(forbidden(`${at}.additionalProperties`, "must not be used at the root"));
  if (extra !== undefined && schema["x-kubernetes-embedded-resource"]) {
    errors.push(forbidden(`${at}.additionalProperties`, "must not be used if x-kubernetes-embedded-resource is set"));
  }
}

function checkExtensions(schema: SchemaProps, at: string, errors: FieldError[]): void {
  const { type } = schema;
  const preserve = schema["x-kubernetes-preserve-unknown-fields"];
  const embedded = schema["x-kubernetes-embedded-resource"];
  if (preserve === false) errors.push(invalidValue(`${at}.x-kubernetes-preserve-unknown-fields`, false, "must be true or undefined"));
  if (schema["x-kubernetes-int-or-string"]) {
    const why = "must be false if x-kubernetes-int-or-string is true";
    if (preserve) errors.push(invalidValue(`${at}.x-kubernetes-preserve-unknown-fields`, true, why));
    if (embedded) errors.push(invalidValue(`${at}.x-kubernetes-embedded-resource`, true, why));
    if (type) errors.push(invalidValue(`${at}.type`, type, "must be empty if x-kubernetes-int-or-string is true"));
  }
  if (embedded && !preserve && Object.keys(schema.properties ?? {}).length === 0) {
    errors.push(required(`${at}.properties`, "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"));
  }
  const map = schema["x-kubernetes-map-type"];
  if (map === undefined) return;
  const why = "must be object if x-kubernetes-map-type is specified";
  if (type !== "object") errors.push(type ? invalidValue(`${at}.type`, type, why) : required(`${at}.type`, why));
  if (map !== "atomic" && map !== "granular") errors.push(notSupported(`${at}.x-kubernetes-map-type`, map, ["atomic", "granular"]));
}

/** `apiVersion`, `kind` and `metadata` of a resource are the server's: schemas may restrict names and no more. */
function checkMetaField(name: string, field: SchemaProps, at: string, level: Level, errors: FieldError[]): void {
  if (name !== "metadata") {
    if (field.type !== "string") errors.push(invalidValue(`${at}.type`, field.type, "must be string"));
    return;
  }
  if (field.type !== "object") errors.push(invalidValue(`${at}.type`, field.type, "must be object"));
  if (field.default !== undefined && level === "root") errors.push(forbidden(`${at}.default`, "must not be set in top-level metadata"));
  if (level !== "root") return;
  const { type: _, properties = {}, description: __, ...rest } = field;
  const others = Object.keys(properties).filter((key) => key !== "name" && key !== "generateName");
  if (others.length > 0 || Object.keys(rest).length > 0) {
    errors.push(forbidden(at, "must not specify anything other than name and generateName, but metadata is implicitly specified"));
  }
}

const structural = [
  ["type", "must be empty to be structural"], ["default", "must be undefined to be structural"], ["title", "must be empty to be structural"],
  ["description", "must be empty to be structural"], ["nullable", "must be false to be structural"], ["externalDocs", "must be undefined to be structural"],
  ["additionalProperties", "must be undefined to be structural"], ["x-kubernetes-preserve-unknown-fields", "must be false to be structural"],
  ["x-kubernetes-embedded-resource", "must be false to be structural"], ["x-kubernetes-int-or-string", "must be false to be structural"],
  ["x-kubernetes-list-map-keys", "must be empty to be structural"], ["x-kubernetes-list-type", "must be undefined to be structural"],
  ["x-kubernetes-map-type", "must be undefined to be structural"], ["x-kubernetes-validations", "must be empty to be structural"],
] as const;

const intOrString = [{ type: "integer" }, { type: "string" }];

/** Inside junctors stand conditions on values only, and only on fields that are specified outside. */
function checkJunctors(schema: SchemaProps, at: string, errors: FieldError[], outside: SchemaProps): void {
  const skipAny = outside["x-kubernetes-int-or-string"] && sameJson(schema.anyOf, intOrString);
  const each = (key: "allOf" | "anyOf" | "oneOf") => (schema[key] ?? []).forEach((branch, i) => {
    if (key === "allOf" && i === 0 && outside["x-kubernetes-int-or-string"] && sameJson(branch.anyOf, intOrString)) return;
    checkBranch(branch, `${at}.${key}[${i}]`, errors, outside);
  });
  if (!skipAny) each("anyOf");
  each("allOf");
  each("oneOf");
  if (schema.not) checkBranch(schema.not, `${at}.not`, errors, outside);
}

function checkBranch(branch: SchemaProps, at: string, errors: FieldError[], outside: SchemaProps | undefined): void {
  for (const [key, why] of structural) {
    if (branch[key] !== undefined && branch[key] !== false && branch[key] !== "") errors.push(forbidden(`${at}.${key}`, why));
  }
  for (const [name, field] of Object.entries(branch.properties ?? {})) {
    const place = `${at}.properties[${name}]`;
    if (name === "metadata") errors.push(forbidden(place, "must not be specified in a nested context"));
    const own = outside?.properties?.[name];
    if (outside && !own) errors.push(required(`${outsidePath(at)}.properties[${name}]`, `because it is defined in ${place}`));
    checkBranch(field, place, errors, own);
  }
  if (branch.items) {
    if (outside && !outside.items) errors.push(required(`${outsidePath(at)}.items`, `because it is defined in ${at}.items`));
    checkBranch(branch.items, `${at}.items`, errors, outside?.items);
  }
  if (outside) checkJunctors(branch, at, errors, outside);
}

/** The place of the same value outside of all junctors. */
const outsidePath = (at: string): string => at.replace(/\.(allOf|anyOf|oneOf)\[\d+\]|\.not(?=$|\.)/g, "");

function checkDefault(schema: SchemaProps, at: string, level: Level, errors: FieldError[]): void {
  if (schema.default === undefined) return;
  const place = `${at}.default`;
  if (level === "root") return void errors.push(forbidden(place, "must not be set at the root"));
  // As a field of an object, so that a schema of any type can be asked.
  const holder = readSchema({ type: "object", properties: { default: { ...schema, default: undefined } as SchemaProps } });
  const value = { default: clone(schema.default) } as unknown as Obj;
  const unknown = prune(holder, value);
  if (unknown.length > 0) errors.push(invalidValue(place, schema.default, "must not have unknown fields"));
  fillDefaults(holder, value);
  for (const finding of [...validateValues(holder, value), ...validateLists(holder, value)]) {
    const inner = finding.field === "<nil>" ? "" : finding.field.replace(/^default/, "");
    errors.push({ ...finding, field: `${place}${inner}`, message: finding.message.replaceAll(": default", `: ${place}`) });
  }
}
