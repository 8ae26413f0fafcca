/** Defaults of volume sources, in pods and in PersistentVolumes. */
import { canonicalResources, ensure, fill, fillEmpty, isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { pullPolicyOf } from "./container-defaults.ts";

const MODE_0644 = 0o644;
const TOKEN_SECONDS = 3600;

export function defaultVolume(volume: Obj): void {
  if (Object.keys(volume).every((key) => key === "name" || volume[key] == null)) volume.emptyDir = {};
  for (const source of ["secret", "configMap", "downwardAPI", "projected"]) {
    if (isObject(volume[source])) fill(volume[source], { defaultMode: MODE_0644 });
  }
  for (const item of items(volume.downwardAPI, "items")) defaultDownward(item);
  for (const source of items(volume.projected, "sources")) {
    if (isObject(source.serviceAccountToken)) fill(source.serviceAccountToken, { expirationSeconds: TOKEN_SECONDS });
    for (const item of items(source.downwardAPI, "items")) defaultDownward(item);
  }
  if (isObject(volume.image)) fillEmpty(volume.image, { pullPolicy: pullPolicyOf(volume.image.reference) });
  const claim = volume.ephemeral?.volumeClaimTemplate?.spec;
  if (isObject(claim)) defaultClaimSpec(claim);
  defaultVolumeSource(volume);
}

function defaultDownward(item: Obj): void {
  if (isObject(item.fieldRef)) fillEmpty(item.fieldRef, { apiVersion: "v1" });
  if (isObject(item.resourceFieldRef)) fillEmpty(item.resourceFieldRef, { divisor: "0" });
}

/** Sources that pods and PersistentVolumes have in common. */
export function defaultVolumeSource(owner: Obj): void {
  if (isObject(owner.hostPath)) fill(owner.hostPath, { type: "" });
  if (isObject(owner.iscsi)) fillEmpty(owner.iscsi, { iscsiInterface: "default" });
  if (isObject(owner.rbd)) fillEmpty(owner.rbd, { pool: "rbd", user: "admin", keyring: "/etc/ceph/keyring" });
  if (isObject(owner.scaleIO)) fillEmpty(owner.scaleIO, { storageMode: "ThinProvisioned", fsType: "xfs" });
  if (isObject(owner.azureDisk)) {
    fill(owner.azureDisk, { cachingMode: "ReadWrite", kind: "Shared", fsType: "ext4", readOnly: false });
  }
}

export function defaultClaimSpec(spec: Obj): void {
  fill(spec, { volumeMode: "Filesystem" });
  const resources = ensure(spec, "resources");
  canonicalResources(resources.requests);
  canonicalResources(resources.limits);
}

export function defaultClaim(claim: Obj): void {
  defaultClaimSpec(ensure(claim, "spec"));
  fillEmpty(ensure(claim, "status"), { phase: "Pending" });
}
