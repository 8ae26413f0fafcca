/** The one factory of API errors: `Status` objects with upstream's reasons, codes and messages. */
import type { Status } from "./types.ts";

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: Status;
  constructor(status: Status) {
    super(status.message ?? status.reason);
    this.status = status;
  }
  get code(): number {
    return this.status.code ?? 500;
  }
  get reason(): string {
    return this.status.reason ?? "Unknown";
  }
}

export type FieldErrorType =
  | "FieldValueRequired" | "FieldValueInvalid" | "FieldValueNotSupported" | "FieldValueDuplicate"
  | "FieldValueForbidden" | "FieldValueNotFound" | "FieldValueTooLong" | "FieldValueTooMany" | "FieldValueTypeInvalid";

/** One finding of validation; `message` is complete, e.g. `Required value`. */
export interface FieldError {
  readonly type: FieldErrorType;
  readonly field: string;
  readonly message: string;
}

type Details = NonNullable<Status["details"]>;

export function apiError(code: number, reason: string, message: string, details?: Details): ApiError {
  return new ApiError({
    kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure",
    message, reason, ...(details && { details }), code,
  });
}

/** `pods` or `deployments.apps`. */
export function groupResource(group: string, resource: string): string {
  return group ? `${resource}.${group}` : resource;
}

interface Ref {
  readonly group: string;
  readonly plural: string;
}

const details = (r: Ref, name: string): Details => ({ name, ...(r.group && { group: r.group }), kind: r.plural });

export const notFound = (r: Ref, name: string): ApiError =>
  apiError(404, "NotFound", `${groupResource(r.group, r.plural)} "${name}" not found`, details(r, name));
export const alreadyExists = (r: Ref, name: string): ApiError =>
  apiError(409, "AlreadyExists", `${groupResource(r.group, r.plural)} "${name}" already exists`, details(r, name));
export const conflict = (r: Ref, name: string, why = "the object has been modified; please apply your changes to the latest version and try again"): ApiError =>
  apiError(409, "Conflict", `Operation cannot be fulfilled on ${groupResource(r.group, r.plural)} "${name}": ${why}`, details(r, name));
export const forbidden = (r: Ref, name: string, why: string): ApiError =>
  apiError(403, "Forbidden", `${groupResource(r.group, r.plural)} "${name}" is forbidden: ${why}`, details(r, name));
export const badRequest = (message: string): ApiError => apiError(400, "BadRequest", message);
export const gone = (message: string): ApiError => apiError(410, "Expired", message);

/** 422 with one cause a finding, in upstream's wording. */
export function invalid(group: string, kind: string, name: string, errors: readonly FieldError[]): ApiError {
  // What is said twice is said once to people; programs get it as often as it was found.
  const lines = [...new Set(errors.map((e) => `${e.field}: ${e.message}`))];
  const text = lines.length === 1 ? lines[0] : `[${lines.join(", ")}]`;
  const qualified = group ? `${kind}.${group}` : kind;
  return apiError(422, "Invalid", `${qualified} "${name}" is invalid: ${text}`, {
    name, ...(group && { group }), kind,
    causes: errors.map((e) => ({ reason: e.type, message: e.message, field: e.field })),
  });
}

const reasonOf = (e: unknown): string | undefined => (e instanceof Error && e.name === "ApiError" ? (e as ApiError).reason : undefined);
export const isNotFound = (e: unknown): boolean => reasonOf(e) === "NotFound";
export const isAlreadyExists = (e: unknown): boolean => reasonOf(e) === "AlreadyExists";
export const isConflict = (e: unknown): boolean => reasonOf(e) === "Conflict";
export const isForbidden = (e: unknown): boolean => reasonOf(e) === "Forbidden";
export const isInvalid = (e: unknown): boolean => reasonOf(e) === "Invalid";
export const isExpired = (e: unknown): boolean => reasonOf(e) === "Expired";
/** The server has not come as far as the asked version; after it has lost some of its past it never will. */
export const isTooLargeResourceVersion = (e: unknown): boolean =>
  e instanceof Error && e.name === "ApiError" && ((e as ApiError).status.details?.causes?.some(({ reason }) => reason === "ResourceVersionTooLarge") ?? false);
