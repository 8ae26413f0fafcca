/** Behaviour of the kind CustomResourceDefinition itself: strategy and validation. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import type { Behaviour } from "../resources/row.ts";
import type { Obj } from "../resources/types.ts";
import { duplicate, invalidValue } from "../resources/validate/field.ts";
import { validateApproval } from "./approval.ts";
import { holdForCleanup } from "./cleanup.ts";
import { validateDefinition, validateNames, validateUpdateOf } from "./validate.ts";

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
  validate: (crd) => [...validateDefinition(crd), ...validateStored(crd), ...validateApproval(crd)],
  validateUpdate: (crd, old) => [...validateDefinition(crd, old), ...validateUpdateOf(crd, old), ...validateStored(crd), ...validateApproval(crd, old)],
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
  return stored.flatMap((version, i) => names.has(version) ? [] : [invalidValue(`status.storedVersions[${i}]`, version,
    `missing from spec.versions; ${version} was previously a storage version, and must remain in spec.versions until a storage migration ` +
    `ensures no data remains persisted in ${version} and removes ${version} from status.storedVersions`)]);
}

function validateConditions(conditions: readonly Obj[]): FieldError[] {
  const types = conditions.map((condition) => condition.type);
  return types.flatMap((type, i) => (types.indexOf(type) < i ? [duplicate(`status.conditions[${i}]`, { type })] : []));
}
