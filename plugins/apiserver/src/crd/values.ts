/** Validation of values by a structural schema, with the findings and texts that upstream's OpenAPI validator has. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { sameJson } from "../verbs/update.ts";
import { isFormat, numberFits } from "./formats.ts";
import { type Bounds, isRecord, type Node } from "./schema.ts";

/** With the old object only what has changed is judged, so that a stricter schema does not lock objects in. */
export function validateValues(root: Node, object: object, old?: object): FieldError[] {
  const errors: FieldError[] = [];
  check(root, object, "", errors);
  if (errors.length === 0 || !old) return errors;
  const changed: FieldError[] = [];
  check(root, object, "", changed, { value: old });
  return changed;
}

/** What a value was before; absent = nothing to compare with. */
interface Before {
  readonly value: unknown;
}

function check(node: Node, value: unknown, path: string, errors: FieldError[], before?: Before): void {
  if (before && before.value !== undefined && sameJson(value, before.value)) return;
  const wrong = wrongType(node, value);
  if (wrong) {
    errors.push(typeError(path, node.types.join(","), wrong));
    return;
  }
  checkJunctors(node, value, path, errors);
  if (value === null) return;
  if (typeof value === "string") checkString(node, value, path, errors);
  else if (typeof value === "number") checkNumber(node, value, path, errors);
  else if (Array.isArray(value)) checkList(node, value, path, errors, before);
  else if (isRecord(value)) checkObject(node, value, path, errors, before);
  checkEnum(node.bounds, value, path, errors);
}

/** Name of the value's type when the schema has another one. */
function wrongType({ types, nullable }: Node, value: unknown): string | undefined {
  if (types.length === 0) return undefined;
  const type = typeName(value);
  if (type === "null") return nullable ? undefined : type;
  if (types.includes(type) || (type === "integer" && types.includes("number"))) return undefined;
  return type;
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

function checkString({ bounds, format, types }: Node, value: string, path: string, errors: FieldError[]): void {
  if (bounds) {
    const length = lengthOf(value);
    if (bounds.maxLength !== undefined && length > bounds.maxLength) {
      errors.push({ type: "FieldValueTooLong", field: fieldOf(path), message: `Too long: may not be more than ${bounds.maxLength} bytes` });
    }
    if (bounds.minLength !== undefined && length < bounds.minLength) {
      errors.push(invalid(path, value, `should be at least ${bounds.minLength} chars long`));
    }
    if (bounds.pattern && !bounds.pattern.regexp.test(value)) {
      errors.push(invalid(path, value, `should match '${bounds.pattern.source}'`));
    }
  }
  if (format && (types.length === 0 || types.includes("string")) && !isFormat(format, value)) errors.push(typeError(path, format, value));
}

/** Characters, not UTF-16 units. */
function lengthOf(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function checkNumber({ bounds, format, types }: Node, value: number, path: string, errors: FieldError[]): void {
  if (format && !numberFits(format, value)) {
    errors.push(schemaError(`Checked value must be of type ${types.join(",")} with format ${format} in ${fieldOf(path)}`));
  }
  if (!bounds) return;
  const { maximum, minimum, multipleOf } = bounds;
  if (maximum !== undefined && (bounds.exclusiveMaximum ? value >= maximum : value > maximum)) {
    errors.push(invalid(path, value, `should be less than ${bounds.exclusiveMaximum ? "" : "or equal to "}${maximum}`));
  }
  if (minimum !== undefined && (bounds.exclusiveMinimum ? value <= minimum : value < minimum)) {
    errors.push(invalid(path, value, `should be greater than ${bounds.exclusiveMinimum ? "" : "or equal to "}${minimum}`));
  }
  if (multipleOf !== undefined && !isMultiple(value, multipleOf)) {
    errors.push(invalid(path, value, `should be a multiple of ${multipleOf}`));
  }
}

function isMultiple(value: number, factor: number): boolean {
  const quotient = value / factor;
  return Math.abs(quotient - Math.round(quotient)) < 1e-9;
}

function checkList({ items, bounds, listType, listKeys }: Node, value: readonly unknown[], path: string, errors: FieldError[], before?: Before): void {
  if (items) {
    const old = oldItems(before, listType, listKeys);
    value.forEach((item, i) => check(items, item, `${path}[${i}]`, errors, old?.(item)));
  }
  if (!bounds) return;
  if (bounds.minItems !== undefined && value.length < bounds.minItems) {
    errors.push(invalid(path, value.length, `should have at least ${bounds.minItems} items`));
  }
  if (bounds.maxItems !== undefined && value.length > bounds.maxItems) errors.push(tooMany(path, value.length, bounds.maxItems));
}

/** Items of map lists are told by their keys; those of other lists cannot be compared. */
export function oldItems(before: Before | undefined, listType: string | undefined, keys: readonly string[]): ((item: unknown) => Before | undefined) | undefined {
  if (listType !== "map" || !before || !Array.isArray(before.value)) return undefined;
  const keyOf = (item: unknown): string => JSON.stringify(keys.map((key) => (isRecord(item) ? item[key] : undefined) ?? null));
  const known = new Map(before.value.map((item) => [keyOf(item), { value: item }]));
  return (item) => known.get(keyOf(item));
}

function checkObject(node: Node, value: Record<string, unknown>, path: string, errors: FieldError[], before?: Before): void {
  const { bounds, fields, values, required } = node;
  const count = bounds ? Object.keys(value).length : 0;
  if (bounds?.minProperties !== undefined && count < bounds.minProperties) {
    errors.push(invalid(path, bounds.minProperties, `should have at least ${bounds.minProperties} properties`));
    return;
  }
  if (bounds?.maxProperties !== undefined && count > bounds.maxProperties) {
    errors.push(tooMany(path, count, bounds.maxProperties));
    return;
  }
  const old = before && isRecord(before.value) ? before.value : undefined;
  for (const key of Object.keys(value)) {
    const field = fields?.get(key) ?? (values === true ? undefined : values);
    if (field) check(field, value[key], path ? `${path}.${key}` : key, errors, old && { value: old[key] });
  }
  for (const key of required) {
    if (value[key] === undefined) {
      errors.push({ type: "FieldValueRequired", field: path ? `${path}.${key}` : key, message: "Required value" });
    }
  }
}

function checkEnum(bounds: Bounds | undefined, value: unknown, path: string, errors: FieldError[]): void {
  const allowed = bounds?.enum;
  if (!allowed || allowed.length === 0 || allowed.some((candidate) => sameJson(candidate, value))) return;
  const list = allowed.map((item) => JSON.stringify(typeof item === "string" ? item : JSON.stringify(item))).join(", ");
  errors.push({
    type: "FieldValueNotSupported", field: fieldOf(path), message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${list}`,
  });
}

/** `allOf`, `anyOf`, `oneOf` and `not`. */
function checkJunctors(node: Node, value: unknown, path: string, errors: FieldError[]): void {
  const { allOf, anyOf, oneOf, not } = node;
  if (allOf.length + anyOf.length + oneOf.length === 0 && !not) return;
  const at = JSON.stringify(path);
  const tryOut = (branch: Node): FieldError[] => {
    const found: FieldError[] = [];
    check(branch, value, path, found);
    return found;
  };
  if (anyOf.length > 0) {
    const results = anyOf.map(tryOut);
    if (results.every((found) => found.length > 0)) errors.push(schemaError(`${at} must validate at least one schema (anyOf)`), ...fewest(results));
  }
  if (oneOf.length > 0) {
    const results = oneOf.map(tryOut);
    const valid = results.filter((found) => found.length === 0).length;
    if (valid === 0) errors.push(schemaError(`${at} must validate one and only one schema (oneOf). Found none valid`), ...fewest(results));
    if (valid > 1) errors.push(schemaError(`${at} must validate one and only one schema (oneOf). Found ${valid} valid alternatives`));
  }
  if (allOf.length > 0) {
    const results = allOf.map(tryOut);
    const failed = results.filter((found) => found.length > 0);
    errors.push(...failed.flat());
    if (failed.length > 0) {
      errors.push(schemaError(`${at} must validate all the schemas (allOf)${failed.length === allOf.length ? ". None validated" : ""}`));
    }
  }
  if (not && tryOut(not).length === 0) errors.push(schemaError(`${at} must not validate the schema (not)`));
}

/** Findings of the branch that came closest. */
const fewest = (results: readonly FieldError[][]): FieldError[] => results.reduce((best, found) => (found.length < best.length ? found : best));

/** A finding on the whole object is without a field, as in upstream's answers. */
const fieldOf = (path: string): string => path || "<nil>";

const invalid = (path: string, value: unknown, what: string): FieldError => ({
  type: "FieldValueInvalid", field: fieldOf(path), message: `Invalid value: ${JSON.stringify(value)}: ${path} in body ${what}`,
});

const typeError = (path: string, wanted: string, got: string): FieldError => ({
  type: "FieldValueTypeInvalid", field: fieldOf(path),
  message: `Invalid value: ${JSON.stringify(got)}: ${path} in body must be of type ${wanted}: ${JSON.stringify(got)}`,
});

const tooMany = (path: string, actual: number, max: number): FieldError => ({
  type: "FieldValueTooMany", field: fieldOf(path), message: `Too many: ${actual}: must have at most ${max} items`,
});

const schemaError = (text: string): FieldError => ({ type: "FieldValueInvalid", field: "<nil>", message: `Invalid value: "": ${text}` });
