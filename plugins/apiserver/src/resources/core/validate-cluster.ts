/** Validation of Namespaces, Nodes, PersistentVolumes and Events. */
import { compareQuantity } from "@k3s-p/plugin-api/kube";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, notSupported, optionalOneOf, required } from "../validate/field.ts";
import { cidr, dns1123Subdomain, noBacksteps, qualifiedName } from "../validate/names.ts";
import { quantityProblems, validateResourceList } from "../validate/resources.ts";
import { validateAccessModes } from "./validate-claim.ts";
import { validateNodeSelector, validateTaints } from "./validate-scheduling.ts";

export function validateNamespace({ spec }: Obj): FieldError[] {
  return ((spec?.finalizers ?? []) as string[]).flatMap((name) => {
    const problems = invalidAll("spec.finalizers", name, qualifiedName(name));
    if (problems.length === 0 && name !== "kubernetes" && !name.includes("/")) {
      problems.push(invalidValue("spec.finalizers", name, "name is neither a standard finalizer name nor is it fully qualified"));
    }
    return problems;
  });
}

export function validateNode({ spec = {}, status = {} }: Obj): FieldError[] {
  const cidrs: string[] = spec.podCIDRs ?? [];
  const errors = [...validateTaints("spec.taints", items(spec, "taints")), ...cidrs.flatMap((text, i) => invalidAll(`spec.podCIDRs[${i}]`, text, cidr(text)))];
  if (cidrs.length > 2) errors.push(invalidValue("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family"));
  errors.push(...validateResourceList("status.capacity", status.capacity), ...validateResourceList("status.allocatable", status.allocatable));
  return errors;
}

export function validateNodeUpdate(node: Obj, old: Obj): FieldError[] {
  const errors = validateNode(node);
  for (const [field, shown] of [["podCIDRs", "podCIDR"], ["providerID", "providerID"]] as const) {
    const before = old.spec?.[field];
    const isSet = Array.isArray(before) ? before.length > 0 : Boolean(before);
    if (isSet && !same(node.spec?.[field], before)) errors.push(forbidden(`spec.${field}`, `node updates may not change ${shown} except from "" to valid`));
  }
  return errors;
}

const volumeSources = [
  "hostPath", "local", "nfs", "csi", "iscsi", "cephfs", "rbd", "glusterfs", "fc", "flexVolume", "cinder", "flocker", "gcePersistentDisk",
  "awsElasticBlockStore", "azureFile", "azureDisk", "vsphereVolume", "quobyte", "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos",
];

export function validatePersistentVolume({ spec }: Obj): FieldError[] {
  const errors = validateAccessModes("spec", spec, "");
  errors.push(...validateCapacity(spec.capacity), ...validateVolumeSource(spec));
  errors.push(...optionalOneOf("spec.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy, ["Delete", "Recycle", "Retain"]));
  if (isObject(spec.nodeAffinity)) {
    const at = "spec.nodeAffinity.required";
    errors.push(...(isObject(spec.nodeAffinity.required) ? validateNodeSelector(at, spec.nodeAffinity.required) : [required(at, "must specify required node constraints")]));
  } else if (isObject(spec.local)) errors.push(required("spec.nodeAffinity", "Local volume requires node affinity"));
  if (spec.storageClassName) errors.push(...invalidAll("spec.storageClassName", spec.storageClassName, dns1123Subdomain(spec.storageClassName)));
  return [...errors, ...optionalOneOf("spec.volumeMode", spec.volumeMode, ["Block", "Filesystem"])];
}

function validateCapacity(capacity: unknown): FieldError[] {
  if (!isObject(capacity) || Object.keys(capacity).length === 0) return [required("spec.capacity")];
  if (capacity.storage === undefined || Object.keys(capacity).length > 1) return [notSupported("spec.capacity", capacity, ["storage"])];
  const problems = quantityProblems(capacity.storage);
  if (problems.length > 0) return invalidAll("spec.capacity[storage]", capacity.storage, problems);
  return compareQuantity(capacity.storage, "0") > 0 ? [] : [invalidValue("spec.capacity[storage]", capacity.storage, "must be greater than zero")];
}

const sourceRules: Readonly<Record<string, (field: string, source: Obj) => FieldError[]>> = {
  hostPath: validatePath, local: validatePath,
  csi: (field, source) => missing(field, source, "driver", "volumeHandle"),
  nfs: (field, source) => [
    ...missing(field, source, "server", "path"), ...(String(source.path ?? "").startsWith("/") ? [] : [invalidValue(`${field}.path`, source.path ?? "", "must be an absolute path")]),
  ],
};

function validateVolumeSource(spec: Obj): FieldError[] {
  const [first, ...more] = volumeSources.filter((name) => isObject(spec[name]));
  if (!first) return [required("spec", "must specify a volume type")];
  const errors = [...sourceRules[first]?.(`spec.${first}`, spec[first]) ?? [], ...more.map((name) => forbidden(`spec.${name}`, "may not specify more than 1 volume type"))];
  if (spec.hostPath?.path === "/" && spec.persistentVolumeReclaimPolicy === "Recycle") {
    errors.push(forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"));
  }
  return errors;
}

const missing = (field: string, source: Obj, ...names: string[]): FieldError[] => names.filter((name) => !source[name]).map((name) => required(`${field}.${name}`));

function validatePath(field: string, { path }: Obj): FieldError[] {
  return path ? noBacksteps(`${field}.path`, path) : [required(`${field}.path`)];
}

export function validatePersistentVolumeUpdate(volume: Obj, old: Obj): FieldError[] {
  const errors = validatePersistentVolume(volume);
  if (volumeSources.some((name) => !same(volume.spec[name], old.spec[name]))) {
    errors.push(forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"));
  }
  if (!same(volume.spec.volumeMode, old.spec.volumeMode)) errors.push(invalidValue("spec.volumeMode", volume.spec.volumeMode, IMMUTABLE));
  if (old.spec.nodeAffinity && !same(volume.spec.nodeAffinity, old.spec.nodeAffinity)) {
    errors.push(invalidValue("spec.nodeAffinity", volume.spec.nodeAffinity, IMMUTABLE));
  }
  return errors;
}

/** Core form. An event is in its object's namespace; those about cluster objects are in `default`. */
export function validateEvent(event: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const namespace = event.metadata?.namespace;
  const about = event.involvedObject?.namespace ?? "";
  if (about ? about !== namespace : namespace !== "default") {
    errors.push(invalidValue("involvedObject.namespace", about, "does not match event.namespace"));
  }
  if (!event.eventTime) return errors;
  if (!event.reportingComponent) errors.push(required("reportingController"));
  else errors.push(...invalidAll("reportingController", event.reportingComponent, qualifiedName(event.reportingComponent)));
  if (!event.reportingInstance) errors.push(required("reportingInstance"));
  if (!event.action) errors.push(required("action"));
  if (!event.reason) errors.push(required("reason"));
  return errors;
}

/** What events.k8s.io/v1 asks of a new event beyond that. */
export function validateNewEvent(event: Obj): FieldError[] {
  const errors: FieldError[] = event.eventTime ? [] : [required("eventTime")];
  if (event.type !== "Normal" && event.type !== "Warning") errors.push(invalidValue("type", "", `has invalid value: ${event.type ?? ""}`));
  for (const field of ["firstTimestamp", "lastTimestamp", "count"]) {
    if (event[`deprecated${field[0]!.toUpperCase()}${field.slice(1)}`]) errors.push(invalidValue(field, "", "needs to be unset"));
  }
  return errors;
}
