/** The files that `npm run build` derives from the models, read when first needed. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

export type Schema = { readonly [key: string]: unknown };
/** Type name -> field name -> code of the field's type, as in `fields.ts`. */
export type FieldTable = Readonly<Record<string, Readonly<Record<string, string>>>>;

const folder = new URL("../../generated/", import.meta.url);

/** Undefined when the build has not run. */
function read(name: string): Buffer | undefined {
  try {
    return readFileSync(new URL(name, folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

let fields: FieldTable | undefined;

/** Small, and wanted by every write: kept. */
export function fieldTable(): FieldTable {
  fields ??= JSON.parse(read("fields.json")?.toString() ?? "{}") as FieldTable;
  return fields;
}

/** Large, and wanted rarely: parsed for each caller and not kept. */
export const readDefinitions = (): Readonly<Record<string, Schema>> =>
  JSON.parse(read("definitions.json")?.toString() ?? "{}") as Readonly<Record<string, Schema>>;

let hash: string | undefined;

/** Changes with every build that changes a schema. */
export function definitionsHash(): string {
  hash ??= createHash("sha256").update(read("definitions.json") ?? "").digest("hex");
  return hash;
}
