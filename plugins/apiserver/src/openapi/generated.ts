/** The files that `npm run build` derives from the models, read when first needed. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { k3spError } from "@k3s-p/plugin-api";

export type Schema = { readonly [key: string]: unknown };
/** Type name -> field name -> code of the field's type, as in `fields.ts`. */
export type FieldTable = Readonly<Record<string, Readonly<Record<string, string>>>>;

const folder = new URL("../../generated/", import.meta.url);

/** Without the schemas no write could be checked, so a server without them must not start. */
export function requireBuild(from = folder): void {
  if (existsSync(new URL("fields.json", from))) return;
  throw k3spError("K3SP_PLUGIN_START_FAILED", {
    message: "apiserver: its schemas have not been built", detail: [`missing: ${new URL("fields.json", from).pathname}`], plugin: "apiserver",
    fix: "start it with npx k3s-p, which builds what is missing, or run: npm run build --workspace @k3s-p/plugin-apiserver",
  });
}

const read = (name: string): Buffer => readFileSync(new URL(name, folder));

let fields: FieldTable | undefined;

/** Small, and wanted by every write: kept. */
export function fieldTable(): FieldTable {
  fields ??= JSON.parse(read("fields.json").toString()) as FieldTable;
  return fields;
}

/** Large, and wanted rarely: parsed for each caller and not kept. */
export const readDefinitions = (): Readonly<Record<string, Schema>> =>
  JSON.parse(read("definitions.json").toString()) as Readonly<Record<string, Schema>>;

let hash: string | undefined;

/** Changes with every build that changes a schema. */
export function definitionsHash(): string {
  hash ??= createHash("sha256").update(read("definitions.json")).digest("hex");
  return hash;
}
