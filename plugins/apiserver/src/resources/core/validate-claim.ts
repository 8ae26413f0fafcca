/** Validation of PersistentVolumeClaims, also inside pods and StatefulSets. */
import { compareQuantity, parseNano } from "@k3s-p/plugin-api/kube";
import { isObject, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain, qualifiedName } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";
import { specDiff } from "./spec-diff.ts";

const accessModes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const volumeModes = ["Block", "Filesystem"];
/** What `storageClassName` was before there was such a field. */
export const CLASS = "volume.beta.kubernetes.io/storage-class";

export function validateAccessModes(field: string, modes: readonly string[]): FieldError[] {
  const others = modes.filter((mode) => mode !== "ReadWriteOncePod" && accessModes.includes(mode));
  return [
    ...modes.filter((mode) => !accessModes.includes(mode)).map((mode) => notSupported(field, mode, accessModes)),
    ...(modes.includes("ReadWriteOncePod") && others.length > 0 ? [forbidden(field, "may not use ReadWriteOncePod with other access modes")] : []),
  ];
}

export const validateVolumeMode = (field: string, mode: unknown): FieldError[] =>
  (mode == null || volumeModes.includes(mode as string) ? [] : [notSupported(field, mode, volumeModes)]);

export const positiveQuantity = (field: string, value: string): FieldError[] =>
  (compareQuantity(value, "0") > 0 ? [] : [invalidValue(field, value, "must be greater than zero")]);

/** A size on disk; upstream shows it in whole bytes. */
export function notNegativeBytes(field: string, value: string): FieldError[] {
  const bytes = Math.ceil(Number(parseNano(value)!) / 1e9);
  return bytes < 0 ? [invalidValue(field, bytes, "must be a valid resource quantity")] : [];
}

export function validateClaimSpec(field: string, spec: Obj): FieldError[] {
  const storage = spec.resources?.requests?.storage;
  const at = `${field}.resources[storage]`;
  const named = (name: string): FieldError[] => (spec[name] ? invalidAll(`${field}.${name}`, spec[name], dns1123Subdomain(spec[name])) : []);
  const modes: readonly string[] = spec.accessModes ?? [];
  return [
    ...(modes.length === 0 ? [required(`${field}.accessModes`, "at least 1 access mode is required")] : []),
    ...validateLabelSelector(`${field}.selector`, spec.selector),
    ...validateAccessModes(`${field}.accessModes`, modes),
    ...(storage === undefined ? [required(at)] : positiveQuantity(at, storage)),
    ...named("storageClassName"),
    ...validateVolumeMode(`${field}.volumeMode`, spec.volumeMode),
    ...validateDataSources(field, spec),
    ...named("volumeAttributesClassName"),
  ];
}

function validateDataSources(field: string, { dataSource, dataSourceRef }: Obj): FieldError[] {
  const errors = [
    ...(isObject(dataSource) ? validateDataSource(`${field}.dataSource`, dataSource) : []),
    ...(isObject(dataSourceRef) ? validateDataSource(`${field}.dataSourceRef`, dataSourceRef) : []),
  ];
  if (!isObject(dataSource) || !isObject(dataSourceRef)) return errors;
  const isSame = ["apiGroup", "kind", "name"].every((name) => dataSource[name] === dataSourceRef[name]);
  const why = dataSourceRef.namespace ? "may not be specified when dataSourceRef.namespace is specified" : isSame ? undefined : "must match dataSourceRef";
  return why ? [...errors, invalidValue(field, {}, why)] : errors;
}

function validateDataSource(at: string, { name, kind = "", apiGroup, namespace }: Obj): FieldError[] {
  return [
    ...(name ? [] : [required(`${at}.name`)]),
    ...(kind ? [] : [required(`${at}.kind`)]),
    ...(!apiGroup && kind !== "PersistentVolumeClaim" ? [invalidValue(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")] : []),
    ...(apiGroup ? invalidAll(`${at}.apiGroup`, apiGroup, dns1123Subdomain(apiGroup)) : []),
    ...(namespace ? invalidAll(`${at}.namespace`, namespace, dns1123Label(namespace)) : []),
  ];
}

const FROZEN = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/** Only the size and the class of attributes may change, once a claim is bound. */
export function validateClaimUpdate(claim: Obj, old: Obj): FieldError[] {
  const errors = validateClaimSpec("spec", claim.spec);
  const masked = maskChangeable(claim, old);
  const before = old.spec.volumeName ? old.spec : { ...old.spec, volumeName: masked.volumeName };
  if (!isClassUpgrade(claim, old) && annotated(claim) !== annotated(old)) errors.push(invalidValue(`metadata.annotations.${CLASS}`, annotated(claim) ?? "", IMMUTABLE));
  if (!same(masked, before)) errors.push(forbidden("spec", `${FROZEN}\n${specDiff(before, masked)}`));
  return [...errors, ...validateShrinking(claim, old), ...validateModeUpdate(claim, old), ...validateAttributesUpdate(claim.spec, old.spec)];
}

const annotated = ({ metadata }: Obj): string | undefined => metadata?.annotations?.[CLASS];
/** From the annotation to the field. */
const isClassUpgrade = (claim: Obj, old: Obj): boolean =>
  annotated(old) !== undefined && old.spec.storageClassName === undefined && claim.spec.storageClassName === annotated(old) &&
  (annotated(claim) === undefined || annotated(claim) === annotated(old));

/** The spec with what may change as it was. */
function maskChangeable(claim: Obj, old: Obj): Obj {
  const masked: Obj = { ...claim.spec };
  const isUnset = old.spec.storageClassName === undefined && claim.spec.storageClassName !== undefined;
  if (isUnset && (annotated(old) === undefined || annotated(old) === claim.spec.storageClassName)) delete masked.storageClassName;
  if (claim.status?.phase !== "Bound") return masked;
  const { resources } = claim.spec;
  if (resources?.requests) masked.resources = { ...resources, requests: { ...resources.requests, storage: old.spec.resources?.requests?.storage } };
  if (claim.spec.volumeAttributesClassName !== undefined) masked.volumeAttributesClassName = old.spec.volumeAttributesClassName;
  return masked;
}

/** An expansion that failed may be taken back, down to the size that there is. */
function validateShrinking(claim: Obj, old: Obj): FieldError[] {
  const [size, had] = [claim, old].map(({ spec }) => spec.resources?.requests?.storage ?? "0");
  const isSmaller = compareQuantity(size, had) < 0 && compareQuantity(size, old.status?.capacity?.storage ?? "0") <= 0;
  return isSmaller ? [forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")] : [];
}

const validateModeUpdate = (claim: Obj, old: Obj): FieldError[] =>
  (claim.spec.volumeMode === old.spec.volumeMode ? [] : [invalidValue("volumeMode", claim.spec.volumeMode, IMMUTABLE)]);

/** Of volumes too, which may not say "" in the first place. */
export function validateAttributesUpdate({ volumeAttributesClassName: now }: Obj, { volumeAttributesClassName: before }: Obj): FieldError[] {
  if (before === undefined || (now !== undefined && now !== "") || now === before) return [];
  return [forbidden("spec.volumeAttributesClassName", `update from non-nil value to ${now === undefined ? "nil" : "an empty string"} is forbidden`)];
}

const resizeStates = ["ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"].sort();

export function validateClaimStatus({ status = {} }: Obj): FieldError[] {
  const entries = (name: string): [string, string][] => Object.entries(status[name] ?? {});
  return [
    ...entries("capacity").flatMap(([name, size]) => notNegativeBytes(`status.capacity[${name}]`, size)),
    ...entries("allocatedResourceStatuses").flatMap(([name, state]) => [
      ...validateResizedName("status.allocatedResourceStatus", name),
      ...(resizeStates.includes(state) ? [] : [notSupported("status.allocatedResourceStatus", name, resizeStates)]),
    ]),
    ...entries("allocatedResources").flatMap(([name, size]) => {
      const problems = validateResizedName("status.allocatedResources", name);
      return problems.length > 0 ? problems : notNegativeBytes(`status.allocatedResources[${name}]`, size);
    }),
  ];
}

function validateResizedName(field: string, name: string): FieldError[] {
  const problems = qualifiedName(name);
  const isNative = !name.includes("/") || name.includes("kubernetes.io/");
  return problems.length === 0 && isNative && name !== "storage" ? [notSupported(field, name, ["storage"])] : invalidAll(field, name, problems);
}
