/** Validation of `selectableFields`: simple paths to scalar fields of the schema. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { items } from "../resources/fields.ts";
import type { Obj } from "../resources/types.ts";
import { duplicate, invalidValue, required, tooMany } from "../resources/validate/field.ts";
import { simplePathProblem } from "./jsonpath.ts";
import type { SchemaProps } from "./schema.ts";

const MAX_FIELDS = 8;
const scalars = ["string", "integer", "boolean"];

export function validateSelectable(version: Obj, at: string): FieldError[] {
  const fields = items(version, "selectableFields");
  const errors: FieldError[] = [];
  const seen = new Set<string>();
  fields.forEach(({ jsonPath = "" }, i) => {
    const field = `${at}[${i}].jsonPath`;
    if (!jsonPath) return void errors.push(required(field));
    const problem = pathProblem(jsonPath, version.schema?.openAPIV3Schema);
    if (problem) errors.push(invalidValue(field, jsonPath, problem));
    else if (seen.has(jsonPath)) errors.push(duplicate(field, jsonPath));
    seen.add(jsonPath);
  });
  return seen.size > MAX_FIELDS ? [...errors, tooMany(at, seen.size, MAX_FIELDS)] : errors;
}

function pathProblem(path: string, schema: SchemaProps | undefined): string | undefined {
  if (simplePathProblem(path)) return "is an invalid path: must be a simple json path without array notation";
  const steps = path.slice(1).split(".");
  if (steps[0] === "metadata") return "must not point to fields in metadata";
  let node = schema;
  for (const step of steps) node = node?.properties?.[step];
  if (!node) return "is an invalid path: does not refer to a valid field";
  return scalars.includes(node.type ?? "") ? undefined : "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
}
