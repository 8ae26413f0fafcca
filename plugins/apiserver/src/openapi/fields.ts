/**
 * Checks a decoded body against the types of its kind, as upstream's decoder does: fields that the kind does not have
 * are found (and dropped), nulls and empty values that say nothing stand for absent fields, and a value of the wrong
 * type is refused.
 *
 * Codes of types: `s` text, `b` boolean, `i` int32, `l` int64, `d` double, `q` quantity, `o` int or string, `t` time,
 * `y` base64, `*` anything, `[x` list, `{x` map, `@package/version.Type` struct; `-` in front = empty says nothing.
 */
import { packageOf } from "../patch/shape.ts";
import type { Obj, ResourceDef } from "../resources/types.ts";
import { goText, strictError, Undecodable } from "../verbs/undecodable.ts";
import { fieldTable } from "./generated.ts";

/** The fields that the kind does not have, such as `spec.foo` or `spec.containers[0].bar`. */
export const unknownFields = (group: string, version: string, kind: string, object: object): readonly string[] =>
  inspect(group, version, kind, object, false);

/**
 * For `fieldValidation`: drops unknown fields, nulls and (unless told to keep them) empty values from the body in place,
 * and returns one warning for each unknown field. Throws `Undecodable` for values of a wrong type, and under `Strict` for
 * unknown fields.
 */
export function checkFields(
  def: Pick<ResourceDef, "group" | "version" | "kind">, body: Obj, mode: string, keepEmpty = false,
): readonly string[] {
  const unknown = inspect(def.group, def.version, def.kind, body, true, keepEmpty);
  if (unknown.length === 0 || mode === "Ignore") return [];
  const warnings = unknown.map((field) => `unknown field ${JSON.stringify(field)}`);
  if (mode === "Strict") throw strictError(def, warnings);
  return warnings;
}

interface Walk {
  readonly def: Pick<ResourceDef, "version" | "kind">;
  readonly prune: boolean;
  readonly keepEmpty: boolean;
  readonly unknown: string[];
}

function inspect(group: string, version: string, kind: string, object: object, prune: boolean, keepEmpty = true): readonly string[] {
  const type = struct(`${packageOf(group)}/${version}.${kind}`);
  if (!type) return [];
  const walk: Walk = { def: { version, kind }, prune, keepEmpty, unknown: [] };
  checkStruct(walk, type, object as Record<string, unknown>, undefined);
  return walk.unknown;
}

type Type = { readonly omitsEmpty?: true } & (
  | { readonly tag: "list" | "map"; readonly inner: Type }
  | { readonly tag: "struct"; readonly struct: Struct }
  | { readonly tag: "any" }
  | { readonly tag: "scalar"; readonly code: string }
);

interface Struct {
  readonly name: string;
  readonly fields: ReadonlyMap<string, Type>;
}

const structs = new Map<string, Struct>();
const MISSING = new Set<string>();

function struct(name: string): Struct | undefined {
  const known = structs.get(name);
  if (known || MISSING.has(name)) return known;
  const fields = fieldTable()[name];
  if (!fields) {
    MISSING.add(name);
    return undefined;
  }
  const compiled = new Map<string, Type>();
  const made: Struct = { name: name.slice(name.lastIndexOf(".") + 1), fields: compiled };
  // Known before its fields are compiled, as types may contain themselves.
  structs.set(name, made);
  for (const [field, code] of Object.entries(fields)) compiled.set(field, compile(code));
  return made;
}

function compile(code: string): Type {
  switch (code[0]) {
    case "-": return { ...compile(code.slice(1)), omitsEmpty: true };
    case "[": return { tag: "list", inner: compile(code.slice(1)) };
    case "{": return { tag: "map", inner: compile(code.slice(1)) };
    case "@": {
      const found = struct(code.slice(1));
      return found ? { tag: "struct", struct: found } : { tag: "any" };
    }
    case "*": return { tag: "any" };
    default: return { tag: "scalar", code };
  }
}

/** Where a value is: made into text only when somebody reads it. */
interface Place {
  readonly parent: Place | undefined;
  readonly step: string | number;
  /** A key of a map, which Go's messages leave out. */
  readonly isKey?: true;
}

function checkStruct(walk: Walk, type: Struct, object: Record<string, unknown>, at: Place | undefined): void {
  for (const key in object) {
    const field = type.fields.get(key);
    if (!field) {
      walk.unknown.push(textOf({ parent: at, step: key }));
      if (walk.prune) delete object[key];
      continue;
    }
    const value = object[key];
    if (value === null) {
      if (walk.prune && field.tag !== "any") delete object[key];
      continue;
    }
    if (field.omitsEmpty && !walk.keepEmpty && isEmpty(value, field.tag)) {
      delete object[key];
      continue;
    }
    if (field.tag === "scalar" ? isScalar(field.code, value) : field.tag === "any") continue;
    checkValue(walk, type, field, value, { parent: at, step: key });
  }
}

function isEmpty(value: unknown, tag: Type["tag"]): boolean {
  if (tag === "scalar") return value === "" || value === 0 || value === false;
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value !== "object") return false;
  for (const _ in value) return false;
  return true;
}

function checkValue(walk: Walk, owner: Struct, type: Type, value: unknown, at: Place): void {
  if (type.tag === "any" || value === null) return;
  if (type.tag === "scalar") {
    if (!isScalar(type.code, value)) throw wrongType(walk, owner, type, value, at);
    return;
  }
  if (type.tag === "list") {
    if (!Array.isArray(value)) throw wrongType(walk, owner, type, value, at);
    for (let i = 0; i < value.length; i++) checkValue(walk, owner, type.inner, value[i], { parent: at, step: i });
    return;
  }
  if (typeof value !== "object" || Array.isArray(value)) throw wrongType(walk, owner, type, value, at);
  if (type.tag === "struct") return checkStruct(walk, type.struct, value as Record<string, unknown>, at);
  for (const key in value) {
    checkValue(walk, owner, type.inner, (value as Record<string, unknown>)[key], { parent: at, step: key, isKey: true });
  }
}

function isScalar(code: string, value: unknown): boolean {
  switch (code) {
    case "s": return typeof value === "string";
    case "b": return typeof value === "boolean";
    case "i": return typeof value === "number" && Number.isInteger(value) && value >= -2_147_483_648 && value <= 2_147_483_647;
    case "l": return typeof value === "number" && Number.isInteger(value);
    case "d": return typeof value === "number";
    case "q": return typeof value === "string" ? quantityPattern.test(value) : typeof value === "number";
    case "o": return typeof value === "string" || (typeof value === "number" && Number.isInteger(value));
    case "t": return typeof value === "string" && (value === "" || timePattern.test(value));
    case "y": return typeof value === "string" && base64Pattern.test(value);
    default: return true;
  }
}

const quantityPattern = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE])?$/;
const timePattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
const base64Pattern = /^(?:[A-Za-z0-9+/\r\n]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?[\r\n]*$/;
const goNames: Readonly<Record<string, string>> = { s: "string", b: "bool", i: "int32", l: "int64", d: "float64" };

function wrongType(walk: Walk, owner: Struct, type: Type, value: unknown, at: Place): Undecodable {
  if (type.tag === "scalar" && typeof value === "string") {
    if (type.code === "q") return new Undecodable(walk.def, "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    if (type.code === "t") return new Undecodable(walk.def, `parsing time ${JSON.stringify(value)} as "2006-01-02T15:04:05Z07:00": cannot parse ${JSON.stringify(value)} as "2006"`);
    if (type.code === "y") {
      const why = `illegal base64 data at input byte ${Math.max(0, value.search(/[^A-Za-z0-9+/]/))}`;
      return new Undecodable(walk.def, why, { whyFromMap: `error decoding from json: ${why}` });
    }
  }
  const path = fieldsOf(at).join(".");
  const why = `json: cannot unmarshal ${jsonKind(value)} into Go struct field ${owner.name}.${path} of type ${goType(type)}`;
  const untyped = whyUntyped(type, value);
  return new Undecodable(walk.def, why, { whyFromMap: whyNotRestored(type, value), untyped: untyped ? { path: textOf(at), why: untyped } : undefined });
}

function whyNotRestored(type: Type, value: unknown): string | undefined {
  switch (type.tag) {
    case "list": return `cannot restore slice from ${goKind(value)}`;
    case "map": return `cannot restore map from ${goKind(value)}`;
    case "struct": return `cannot restore struct from: ${goKind(value)}`;
    case "scalar": return goNames[type.code] && `unrecognized type: ${goNames[type.code]}`;
    case "any": return undefined;
  }
}

function whyUntyped(type: Type, value: unknown): string | undefined {
  switch (type.tag) {
    case "list": return `expected list, got &{${goText(value)}}`;
    case "map": case "struct": return `expected map, got &{${goText(value)}}`;
    case "scalar": return whyOtherScalar(type.code, value);
    case "any": return undefined;
  }
}

/** Undefined when the type has no say in it: quantities, times and numbers out of range are read later. */
function whyOtherScalar(code: string, value: unknown): string | undefined {
  if (code === "b") return `expected boolean, got &{${goText(value)}}`;
  if (code === "s") return `expected string, got &value.valueUnstructured{Value:${goSyntax(value)}}`;
  if (!"ild".includes(code) || typeof value === "number") return undefined;
  return `expected numeric (int or float), got ${Array.isArray(value) ? "[]interface {}" : typeof value === "object" ? "map[string]interface {}" : jsonKind(value)}`;
}

function goSyntax(value: unknown): string {
  if (Array.isArray(value)) return `[]interface {}{${value.map(goSyntax).join(", ")}}`;
  if (typeof value !== "object" || value === null) return value === null ? "interface {}(nil)" : JSON.stringify(value);
  return `map[string]interface {}{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}:${goSyntax(item)}`).sort().join(", ")}}`;
}

function goKind(value: unknown): string {
  if (typeof value === "number") return Number.isInteger(value) ? "int64" : "float64";
  if (typeof value === "object") return Array.isArray(value) ? "slice" : "map";
  return typeof value === "boolean" ? "bool" : typeof value;
}

function jsonKind(value: unknown): string {
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) && Math.abs(value) < 2 ** 31 ? "number" : `number ${value}`;
  return typeof value === "boolean" ? "bool" : typeof value;
}

function goType(type: Type): string {
  switch (type.tag) {
    case "list": return `[]${goType(type.inner)}`;
    case "map": return `map[string]${goType(type.inner)}`;
    case "struct": return `v1.${type.struct.name}`;
    case "scalar": return goNames[type.code] ?? "string";
    case "any": return "interface {}";
  }
}

function textOf(place: Place): string {
  const { parent, step } = place;
  if (typeof step === "number") return `${parent ? textOf(parent) : ""}[${step}]`;
  return parent ? `${textOf(parent)}.${step}` : step;
}

function fieldsOf(place: Place | undefined): string[] {
  if (!place) return [];
  const { parent, step, isKey } = place;
  return typeof step === "number" || isKey ? fieldsOf(parent) : [...fieldsOf(parent), step];
}
