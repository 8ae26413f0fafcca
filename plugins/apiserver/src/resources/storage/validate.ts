/** Validation of storage.k8s.io. */
import { items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, oneOf, optionalOneOf, required, tooLong } from "../validate/field.ts";
import { dns1123Subdomain, qualifiedName } from "../validate/names.ts";
import { quantityProblems } from "../validate/resources.ts";
import { validateLabelSelector } from "../validate/selector.ts";

const MAX_PARAMETERS = 512;
const MAX_PARAMETER_BYTES = 256 * 1024;

export function validateStorageClass(object: Obj): FieldError[] {
  return [
    ...validateProvisioner("provisioner", object.provisioner),
    ...validateParameters(object.parameters),
    ...optionalOneOf("reclaimPolicy", object.reclaimPolicy, ["Delete", "Retain"]),
    ...oneOf("volumeBindingMode", object.volumeBindingMode, ["Immediate", "WaitForFirstConsumer"]),
    ...validateTopologies("allowedTopologies", items(object, "allowedTopologies")),
  ];
}

function validateTopologies(field: string, terms: readonly Obj[]): FieldError[] {
  const seen: unknown[] = [];
  return terms.flatMap((term, i) => {
    const at = `${field}[${i}].matchLabelExpressions`;
    const keys = new Set<string>();
    const errors = items(term, "matchLabelExpressions").flatMap(({ key = "", values }, j) => {
      const list: string[] = values ?? [];
      const problems = list.length > 0 ? [] : [required(`${at}[${j}].values`)];
      list.forEach((value, k) => list.indexOf(value) < k && problems.push(duplicate(`${at}[${j}].values[${k}]`, value)));
      problems.push(...invalidAll(`${at}[${j}].key`, key, qualifiedName(key)));
      if (keys.has(key)) problems.push(duplicate(`${at}[${j}].key`, key));
      keys.add(key);
      return problems;
    });
    const meaning = Object.fromEntries(items(term, "matchLabelExpressions").map(({ key, values }) => [key, [...(values ?? [])].sort()]));
    if (seen.some((other) => same(other, meaning))) errors.push(duplicate(`${field}[${i}].matchLabelExpressions`, ""));
    seen.push(meaning);
    return errors;
  });
}

const validateProvisioner = (field: string, name: unknown): FieldError[] =>
  typeof name === "string" && name ? invalidAll(field, name, qualifiedName(name.toLowerCase())) : [required(field, "")];

function validateParameters(parameters: unknown): FieldError[] {
  const entries = Object.entries((parameters ?? {}) as Record<string, string>);
  const errors: FieldError[] = [];
  if (entries.length > MAX_PARAMETERS) errors.push(tooLong("parameters", MAX_PARAMETERS));
  if (entries.some(([key]) => key === "")) errors.push(invalidValue("parameters", "", "field can not be empty."));
  const size = entries.reduce((sum, [key, value]) => sum + key.length + String(value).length, 0);
  if (size > MAX_PARAMETER_BYTES) errors.push(tooLong("parameters", MAX_PARAMETER_BYTES));
  return errors;
}

export function validateStorageClassUpdate(object: Obj, old: Obj): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ["parameters", "provisioner"]) if (!same(object[field], old[field])) errors.push(forbidden(field, `updates to ${field} are forbidden.`));
  for (const field of ["reclaimPolicy", "volumeBindingMode"]) if (object[field] !== old[field]) errors.push(invalidValue(field, object[field], IMMUTABLE));
  return [...validateStorageClass(object), ...errors];
}

export function validateVolumeAttributesClass(object: Obj): FieldError[] {
  const errors = validateProvisioner("driverName", object.driverName);
  if (Object.keys(object.parameters ?? {}).length === 0) errors.push(required("parameters", "must contain at least one key/value pair"));
  return [...errors, ...validateParameters(object.parameters)];
}

export const validateVolumeAttributesClassUpdate = (object: Obj, old: Obj): FieldError[] =>
  ["driverName", "parameters"].filter((field) => !same(object[field], old[field])).map((field) => invalidValue(field, object[field], IMMUTABLE));

const policies = ["File", "None", "ReadWriteOnceWithFSType"];

export function validateCsiDriver({ spec }: Obj): FieldError[] {
  const audiences = new Set<string>();
  const errors = optionalOneOf("spec.fsGroupPolicy", spec.fsGroupPolicy, policies);
  ((spec.volumeLifecycleModes ?? []) as string[]).forEach((mode) => errors.push(...oneOf("spec.volumeLifecycleModes", mode, ["Ephemeral", "Persistent"])));
  items(spec, "tokenRequests").forEach(({ audience = "", expirationSeconds }, i) => {
    const at = `spec.tokenRequests[${i}]`;
    if (audiences.has(audience)) errors.push(duplicate(`${at}.audience`, audience));
    audiences.add(audience);
    if (expirationSeconds != null && expirationSeconds < 600) errors.push(invalidValue(`${at}.expirationSeconds`, expirationSeconds, "may not specify a duration less than 10 minutes"));
  });
  return errors;
}

export function validateCsiDriverUpdate(object: Obj, old: Obj): FieldError[] {
  const frozen = ["attachRequired", "volumeLifecycleModes"].filter((field) => !same(object.spec[field], old.spec[field]));
  return [...validateCsiDriver(object), ...frozen.map((field) => invalidValue(`spec.${field}`, object.spec[field], IMMUTABLE))];
}

export function validateCsiNode({ spec }: Obj): FieldError[] {
  const names = new Set<string>();
  return items(spec, "drivers").flatMap((driver, i) => {
    const at = `spec.drivers[${i}]`;
    const errors: FieldError[] = driver.name ? invalidAll(`${at}.name`, driver.name, dns1123Subdomain(driver.name.toLowerCase())) : [required(`${at}.name`)];
    if (names.has(driver.name)) errors.push(duplicate(`${at}.name`, driver.name));
    names.add(driver.name);
    if (!driver.nodeID) errors.push(required(`${at}.nodeID`));
    if (driver.allocatable?.count < 0) errors.push(invalidValue(`${at}.allocatable.count`, driver.allocatable.count, "must be greater than or equal to 0"));
    return errors;
  });
}

export function validateVolumeAttachment({ spec }: Obj): FieldError[] {
  const errors = validateProvisioner("spec.attacher", spec?.attacher);
  const { persistentVolumeName, inlineVolumeSpec } = spec?.source ?? {};
  if (persistentVolumeName && inlineVolumeSpec) errors.push(forbidden("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
  else if (!persistentVolumeName && !inlineVolumeSpec) errors.push(required("spec.source", "must specify one of inlineVolumeSpec and persistentVolumeName"));
  if (!spec?.nodeName) errors.push(required("spec.nodeName"));
  return errors;
}

export const validateVolumeAttachmentUpdate = (object: Obj, old: Obj): FieldError[] =>
  same(object.spec, old.spec) ? [] : [invalidValue("spec", object.spec, IMMUTABLE)];

export function validateCapacity(object: Obj): FieldError[] {
  const errors = validateLabelSelector("nodeTopology", object.nodeTopology);
  errors.push(...(object.storageClassName ? invalidAll("storageClassName", object.storageClassName, dns1123Subdomain(object.storageClassName)) : [required("storageClassName")]));
  for (const field of ["capacity", "maximumVolumeSize"]) {
    if (object[field] != null) errors.push(...invalidAll(field, object[field], quantityProblems(object[field])));
  }
  return errors;
}

export function validateCapacityUpdate(object: Obj, old: Obj): FieldError[] {
  const frozen = ["nodeTopology", "storageClassName"].filter((field) => !same(object[field], old[field]));
  return [...validateCapacity(object), ...frozen.map((field) => invalidValue(field, object[field], IMMUTABLE))];
}
