/** Validation of PersistentVolumes. */
import { isObject, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { dns1123Subdomain } from "../validate/names.ts";
import { specDiff } from "./spec-diff.ts";
import { notNegativeBytes, positiveQuantity, validateAccessModes, validateAttributesUpdate, validateVolumeMode } from "./validate-claim.ts";
import { persistentSources, validatePersistentSource } from "./validate-persistent-source.ts";
import { validateNodeSelector } from "./validate-scheduling.ts";
import { oldLabels } from "./warn-pod.ts";

const reclaimPolicies = ["Delete", "Recycle", "Retain"];

export function validatePersistentVolume({ metadata, spec }: Obj): FieldError[] {
  const policy: unknown = spec.persistentVolumeReclaimPolicy;
  return [
    ...(spec.accessModes?.length ? [] : [required("spec.accessModes")]),
    ...validateAccessModes("spec.accessModes", spec.accessModes ?? []),
    ...validateCapacity(spec.capacity ?? {}),
    ...(policy && !reclaimPolicies.includes(policy as string) ? [notSupported("spec.persistentVolumeReclaimPolicy", policy, reclaimPolicies)] : []),
    ...(isObject(spec.nodeAffinity) ? validateAffinity("spec.nodeAffinity.required", spec.nodeAffinity) : []),
    ...validatePersistentSource("spec", spec, metadata?.name ?? ""),
    ...(isRoot(spec.hostPath?.path) && policy === "Recycle" ? [forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")] : []),
    ...(spec.storageClassName ? invalidAll("spec.storageClassName", spec.storageClassName, dns1123Subdomain(spec.storageClassName)) : []),
    ...validateVolumeMode("spec.volumeMode", spec.volumeMode),
    ...validateAttributesClass(spec),
  ];
}

/** A volume of an attachment alone, without an object: it is a CSI driver's, and says nothing of claims. */
export function validateInlineVolume(field: string, spec: Obj): FieldError[] {
  const elsewhere = (name: string): FieldError[] => {
    const isSet = typeof spec[name] === "object" && spec[name] ? Object.keys(spec[name]).length > 0 : Boolean(spec[name]);
    return isSet ? [forbidden(`${field}.${name}`, "may not be specified in the context of inline volumes")] : [];
  };
  const { persistentVolumeReclaimPolicy: policy, volumeMode } = spec;
  return [
    ...elsewhere("claimRef"), ...elsewhere("capacity"),
    ...(isObject(spec.csi) ? [] : [required(`${field}.csi`, "has to be specified in the context of inline volumes")]),
    ...(spec.accessModes?.length ? [] : [required(`${field}.accessModes`)]),
    ...validateAccessModes(`${field}.accessModes`, spec.accessModes ?? []),
    ...(policy && policy !== "Retain" ? [forbidden(`${field}.persistentVolumeReclaimPolicy`, "may only be Retain in the context of inline volumes")] : []),
    ...elsewhere("nodeAffinity"), ...validatePersistentSource(field, spec, ""), ...elsewhere("storageClassName"),
    ...(volumeMode != null && volumeMode !== "Filesystem" ? [forbidden(`${field}.volumeMode`, "may not specify volumeMode other than Filesystem in the context of inline volumes")] : []),
  ];
}

const isRoot = (path: unknown): boolean => typeof path === "string" && /^\/[/.]*$/.test(path);

function validateCapacity(capacity: Readonly<Record<string, string>>): FieldError[] {
  const names = Object.keys(capacity);
  return [
    ...(names.length === 0 ? [required("spec.capacity")] : []),
    ...(names.length === 1 && names[0] === "storage" ? [] : [notSupported("spec.capacity", capacity, ["storage"])]),
    ...names.flatMap((name) => [...notNegativeBytes(`spec.capacity[${name}]`, capacity[name]!), ...positiveQuantity(`spec.capacity[${name}]`, capacity[name]!)]),
  ];
}

const validateAffinity = (at: string, affinity: Obj): FieldError[] =>
  (isObject(affinity.required) ? validateNodeSelector(at, affinity.required) : [required(at, "must specify required node constraints")]);

function validateAttributesClass({ volumeAttributesClassName: name, csi }: Obj): FieldError[] {
  if (name == null) return [];
  const at = "spec.volumeAttributesClassName";
  return [
    ...(name === "" ? [required(at, "an empty string is disallowed")] : invalidAll(at, name, dns1123Subdomain(name))),
    ...(isObject(csi) ? [] : [required("spec.csi", "has to be specified when using volumeAttributesClassName")]),
  ];
}

const sourceOf = (spec: Obj): Obj => Object.fromEntries(persistentSources.filter((name) => spec[name] !== undefined).map((name) => [name, spec[name]]));

export function validatePersistentVolumeUpdate(volume: Obj, old: Obj): FieldError[] {
  const errors = validatePersistentVolume(volume);
  const [now, before] = [sourceOf(volume.spec), sourceOf(old.spec)];
  // Secrets for the expansion may come later.
  if (isObject(now.csi) && isObject(before.csi) && !before.csi.controllerExpandSecretRef) now.csi = { ...now.csi, controllerExpandSecretRef: undefined };
  if (!same(now, before)) errors.push(forbidden("spec.persistentvolumesource", `spec.persistentvolumesource is immutable after creation\n${specDiff(before, now)}`));
  if (volume.spec.volumeMode !== old.spec.volumeMode) errors.push(invalidValue("volumeMode", volume.spec.volumeMode, IMMUTABLE));
  const { nodeAffinity } = old.spec;
  if (nodeAffinity && ![nodeAffinity, renewed(nodeAffinity)].some((kept) => same(volume.spec.nodeAffinity, kept))) {
    errors.push(invalidValue("nodeAffinity", volume.spec.nodeAffinity, `${IMMUTABLE}, except for updating from beta label to GA`));
  }
  return [...errors, ...(volume.spec.volumeAttributesClassName === "" ? [] : validateAttributesUpdate(volume.spec, old.spec))];
}

/** The same with the present names of nodes' labels. */
function renewed(affinity: unknown): unknown {
  const newKey = (key: string): string => /use "(.*)"/.exec(oldLabels[key] ?? "")?.[1] ?? key;
  return JSON.parse(JSON.stringify(affinity), (name, value: unknown) => (name === "key" && typeof value === "string" ? newKey(value) : value));
}
