/** Behaviour of the kind CustomResourceDefinition itself: strategy and validation. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import type { Behaviour } from "../resources/row.ts";
import { isObject } from "../resources/fields.ts";
import type { Obj } from "../resources/types.ts";
import { duplicate, invalidValue } from "../resources/validate/field.ts";
import { validateApproval } from "./approval.ts";
import { holdForCleanup } from "./cleanup.ts";
import { isKnownFormat } from "./formats.ts";
import { validateDefinition, validateNames, validateUnknownFields, validateUpdateOf } from "./validate.ts";

export const definitionBehaviour: Behaviour = {
  prepareCreate: (crd) => {
    crd.status = { acceptedNames: { kind: "", plural: "" }, conditions: [], storedVersions: [] };
    rememberStorage(crd);
  },
  prepareUpdate: (crd, old) => {
    crd.status = structuredClone(old.status ?? {});
    rememberStorage(crd);
  },
  prepareDelete: holdForCleanup,
  generationOf: (crd) => crd.spec,
  validate: (crd) => [...validateDefinition(crd), ...validateStored(crd), ...validateApproval(crd), ...validateUnknownFields(crd)],
  validateUpdate: (crd, old) => [...validateDefinition(crd, old), ...validateUpdateOf(crd, old), ...validateStored(crd), ...validateApproval(crd, old), ...validateUnknownFields(crd, old)],
  warnings: ({ spec }) => unknownFormats(spec).map((format) => `unrecognized format ${JSON.stringify(format)}`),
  validateStatusUpdate: (crd) => [
    ...validateNames(crd.status?.acceptedNames ?? {}, "status.acceptedNames"), ...validateConditions(crd.status?.conditions ?? []),
  ],
};

/** Every version in which objects may lie in the store stays known. */
function rememberStorage(crd: Obj): void {
  const stored: string[] = (crd.status.storedVersions ??= []);
  for (const version of crd.spec?.versions ?? []) if (version?.storage && !stored.includes(version.name)) stored.push(version.name);
}

function validateStored({ spec, status }: Obj): FieldError[] {
  const stored: readonly string[] = status?.storedVersions ?? [];
  const names = new Set((spec?.versions ?? []).map((version: Obj) => version.name));
  if (stored.length === 0) return [invalidValue("status.storedVersions", [], "must have at least one stored version")];
  const missing = ((spec?.versions ?? []) as Obj[]).filter((version) => version.storage && !stored.includes(version.name));
  const errors = missing.map(({ name }) => invalidValue("status.storedVersions", stored, `must have the storage version ${name}`));
  return [...errors, ...stored.flatMap((version, i) => names.has(version) ? [] : [invalidValue(`status.storedVersions[${i}]`, version,
    `missing from spec.versions; ${version} was previously a storage version, and must remain in spec.versions until a storage migration ` +
    `ensures no data remains persisted in ${version} and removes ${version} from status.storedVersions`)])];
}

/** Formats of strings that nothing is known of, each once. */
function unknownFormats(spec: Obj): string[] {
  const found = new Set<string>();
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) return node.forEach(visit);
    if (!isObject(node)) return;
    if (node.type === "string" && typeof node.format === "string" && !isKnownFormat(node.format)) found.add(node.format);
    for (const field of ["properties", "additionalProperties", "items"]) visit(field === "properties" ? Object.values(node[field] ?? {}) : node[field]);
  };
  for (const version of spec.versions) visit(version.schema?.openAPIV3Schema);
  return [...found].sort();
}

function validateConditions(conditions: readonly Obj[]): FieldError[] {
  const types = conditions.map((condition) => condition.type);
  return types.flatMap((type, i) => (types.indexOf(type) < i ? [duplicate(`status.conditions[${i}]`, { type })] : []));
}
