/** Validation of PersistentVolumeClaims, also inside pods and StatefulSets. */
import { compareQuantity } from "@k3s-p/plugin-api/kube";
import { isObject, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidAll, invalidValue, notSupported, optionalOneOf, required } from "../validate/field.ts";
import { dns1123Subdomain } from "../validate/names.ts";
import { quantityProblems } from "../validate/resources.ts";
import { validateLabelSelector } from "../validate/selector.ts";

export const accessModes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

export function validateAccessModes(field: string, spec: Obj, empty: string): FieldError[] {
  const modes: string[] = spec.accessModes ?? [];
  if (modes.length === 0) return [required(`${field}.accessModes`, empty)];
  const unknown = modes.filter((mode) => !accessModes.includes(mode)).map((mode) => notSupported(`${field}.accessModes`, mode, accessModes));
  const exclusive = modes.includes("ReadWriteOncePod") && modes.length > 1;
  return exclusive ? [...unknown, forbidden(`${field}.accessModes`, "may not use ReadWriteOncePod with other access modes")] : unknown;
}

export function validateClaimSpec(field: string, spec: Obj): FieldError[] {
  const errors = validateAccessModes(field, spec, "at least 1 access mode is required");
  errors.push(...validateLabelSelector(`${field}.selector`, spec.selector));
  const storage = spec.resources?.requests?.storage;
  const at = `${field}.resources[storage]`;
  if (storage === undefined) errors.push(required(at));
  else {
    const problems = quantityProblems(storage);
    errors.push(...invalidAll(at, storage, problems));
    if (problems.length === 0 && compareQuantity(storage, "0") <= 0) errors.push(invalidValue(at, storage, "must be greater than zero"));
  }
  if (spec.storageClassName) errors.push(...invalidAll(`${field}.storageClassName`, spec.storageClassName, dns1123Subdomain(spec.storageClassName)));
  errors.push(...optionalOneOf(`${field}.volumeMode`, spec.volumeMode, ["Block", "Filesystem"]));
  if (isObject(spec.dataSource)) for (const name of ["name", "kind"]) if (!spec.dataSource[name]) errors.push(required(`${field}.dataSource.${name}`));
  return errors;
}

/** Only the size may grow, and the class of attributes change, once a claim exists. */
export function validateClaimUpdate(claim: Obj, old: Obj): FieldError[] {
  const errors = validateClaimSpec("spec", claim.spec);
  if (errors.length > 0) return errors;
  const masked: Obj = structuredClone(claim.spec);
  const before: Obj = structuredClone(old.spec);
  if (!before.volumeName) {
    delete masked.volumeName;
    delete before.volumeName;
  }
  const requested = masked.resources?.requests?.storage;
  const had = before.resources?.requests?.storage;
  if (masked.resources?.requests) masked.resources.requests.storage = had;
  for (const name of ["volumeAttributesClassName"]) {
    delete masked[name];
    delete before[name];
  }
  if (!before.storageClassName && masked.storageClassName && old.status?.phase !== "Bound") {
    delete masked.storageClassName;
    delete before.storageClassName;
  }
  if (!same(masked, before)) {
    return [forbidden("spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")];
  }
  const bound = old.status?.phase === "Bound";
  if (had !== undefined && requested !== had) {
    if (!bound) return [forbidden("spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")];
    const floor = old.status?.capacity?.storage ?? had;
    if (compareQuantity(requested, had) < 0 && compareQuantity(requested, floor) <= 0) {
      return [forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")];
    }
  }
  return [];
}
