/** The options that a write carries in its query: checked as upstream checks CreateOptions and the like. */
import { type FieldError, invalid } from "@k3s-p/plugin-api/kube";
import type { FieldValidation } from "./engine.ts";

export interface WriteOptions {
  readonly dryRun: boolean;
  readonly fieldValidation: FieldValidation;
}

const kinds: Readonly<Record<string, string>> = { create: "CreateOptions", update: "UpdateOptions", patch: "PatchOptions" };
const MAX_MANAGER = 128;
const validations = ["Ignore", "Strict", "Warn"] as const;

/** Throws 422 with every finding. `manager` is the one that the client names, if any. */
export function writeOptions(verb: string, query: URLSearchParams, isApply: boolean): WriteOptions {
  const mode = query.get("fieldValidation") || "Warn";
  const dryRun = query.getAll("dryRun");
  const errors = [...dryRunErrors(dryRun), ...managerErrors(query.get("fieldManager") ?? "")];
  if (!validations.includes(mode as FieldValidation)) errors.push(unsupported("fieldValidation", mode, validations));
  if (verb === "patch" && !isApply && query.has("force")) errors.push({ type: "FieldValueForbidden", field: "force", message: "Forbidden: may not be specified for non-apply patch" });
  if (errors.length > 0) throw invalid("meta.k8s.io", kinds[verb] ?? "DeleteOptions", "", errors);
  return { dryRun: dryRun.includes("All"), fieldValidation: mode as FieldValidation };
}

/** `dryRun` of DeleteOptions in a body. */
export function isDryRun(values: readonly string[]): boolean {
  const errors = dryRunErrors(values);
  if (errors.length > 0) throw invalid("meta.k8s.io", "DeleteOptions", "", errors);
  return values.includes("All");
}

const unsupported = (field: string, value: string, supported: readonly string[]): FieldError => ({
  type: "FieldValueNotSupported", field,
  message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((text) => JSON.stringify(text)).join(", ")}`,
});

function dryRunErrors(values: readonly string[]): FieldError[] {
  const bad = values.find((value) => value !== "All" && value !== "");
  return bad === undefined ? [] : [unsupported("dryRun", bad, ["All"])];
}

function managerErrors(manager: string): FieldError[] {
  const errors: FieldError[] = [];
  if (manager.length > MAX_MANAGER) errors.push({ type: "FieldValueTooLong", field: "fieldManager", message: `Too long: may not be more than ${MAX_MANAGER} bytes` });
  if (/\p{C}/u.test(manager)) errors.push({ type: "FieldValueInvalid", field: "fieldManager", message: `Invalid value: ${JSON.stringify(manager)}: should only contain printable characters` });
  return errors;
}
