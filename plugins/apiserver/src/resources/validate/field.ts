/** Findings of validation, one constructor per kind, with the texts that upstream gives them. */
import type { FieldError } from "@k3s-p/plugin-api/kube";

export type { FieldError };

const detailed = (title: string, detail: string): string => (detail ? `${title}: ${detail}` : title);

export const required = (field: string, detail = ""): FieldError =>
  ({ type: "FieldValueRequired", field, message: detailed("Required value", detail) });

export const invalidValue = (field: string, value: unknown, detail: string): FieldError =>
  ({ type: "FieldValueInvalid", field, message: detailed(`Invalid value: ${show(value)}`, detail) });

/** Of several fields together, whose values would not help. */
export const invalidRule = (field: string, detail: string): FieldError => ({ type: "FieldValueInvalid", field, message: `Invalid value: ${detail}` });

export const notSupported = (field: string, value: unknown, supported: readonly string[]): FieldError => ({
  type: "FieldValueNotSupported", field,
  message: `Unsupported value: ${show(value)}: supported values: ${supported.map((v) => JSON.stringify(v)).join(", ")}`,
});

export const duplicate = (field: string, value: unknown, detail = ""): FieldError =>
  ({ type: "FieldValueDuplicate", field, message: detailed(`Duplicate value: ${show(value)}`, detail) });

export const forbidden = (field: string, detail: string): FieldError =>
  ({ type: "FieldValueForbidden", field, message: detailed("Forbidden", detail) });

export const notFound = (field: string, value: unknown, detail = ""): FieldError =>
  ({ type: "FieldValueNotFound", field, message: detailed(`Not found: ${show(value)}`, detail) });

export const tooLong = (field: string, max: number): FieldError =>
  ({ type: "FieldValueTooLong", field, message: `Too long: may not be more than ${max} bytes` });

export const tooMany = (field: string, actual: number, max: number): FieldError =>
  ({ type: "FieldValueInvalid", field, message: `Too many: ${actual}: must have at most ${max} items` });

/** Strings are quoted, objects and lists shown as JSON. */
function show(value: unknown): string {
  return value === undefined ? "null" : JSON.stringify(value);
}

/** One `Invalid value` for each problem of a value. */
export const invalidAll = (field: string, value: unknown, problems: readonly string[]): FieldError[] =>
  problems.map((problem) => invalidValue(field, value, problem));

/** `Unsupported value` unless the value is one of the list; `Required value` when empty. */
export function oneOf(field: string, value: unknown, supported: readonly string[]): FieldError[] {
  if (value == null || value === "") return [required(field)];
  return supported.includes(value as string) ? [] : [notSupported(field, value, supported)];
}

/** The same for a field that may be absent. */
export const optionalOneOf = (field: string, value: unknown, supported: readonly string[]): FieldError[] =>
  value == null ? [] : oneOf(field, value, supported);

export const IMMUTABLE = "field is immutable";
export const NOT_NEGATIVE = "must be greater than or equal to 0";

export const nonNegative = (field: string, value: unknown): FieldError[] =>
  typeof value === "number" && value < 0 ? [invalidValue(field, value, NOT_NEGATIVE)] : [];

export const positive = (field: string, value: unknown): FieldError[] =>
  typeof value === "number" && value <= 0 ? [invalidValue(field, value, "must be greater than 0")] : [];
