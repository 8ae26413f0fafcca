/** What the binder writes: the two sides of a binding, the phases before and after it. */
import {
  persistentVolumeClaims, persistentVolumes, type KubeClient, type PersistentVolume, type PersistentVolumeClaim,
} from "@k3s-p/plugin-api/kube";
import { semanticEqual } from "../lib/values.ts";
import { annotation, has } from "./volumes.ts";

/** Writes both sides, the volume first: a crash in between leaves a volume that is reserved for this claim. */
export async function bind(client: KubeClient, volume: PersistentVolume, claim: PersistentVolumeClaim): Promise<void> {
  const reserved = await reserve(client, volume, claim);
  await setVolumePhase(client, reserved, "Bound");
  const named = await nameVolume(client, claim, reserved);
  const capacity = { ...named.status?.capacity, ...reserved.spec?.capacity };
  const status = { ...named.status, phase: "Bound", accessModes: reserved.spec?.accessModes, capacity };
  const known = named.status?.phase === "Bound" ? { ...status, capacity: named.status.capacity } : status;
  if (semanticEqual(known, named.status)) return;
  await client.update(persistentVolumeClaims, { ...named, status: known }, { subresource: "status" });
}

async function reserve(client: KubeClient, volume: PersistentVolume, claim: PersistentVolumeClaim): Promise<PersistentVolume> {
  const ref = volume.spec?.claimRef;
  if (ref?.uid === claim.metadata.uid) return volume;
  const { namespace, name, uid, resourceVersion } = claim.metadata;
  const claimRef = { kind: "PersistentVolumeClaim", apiVersion: "v1", namespace, name, uid, resourceVersion };
  const annotations = ref
    ? volume.metadata.annotations
    : { ...volume.metadata.annotations, [annotation.boundByController]: "yes" };
  return client.update(persistentVolumes, {
    ...volume,
    metadata: { ...volume.metadata, ...(annotations && { annotations }) },
    spec: { ...volume.spec!, claimRef },
  });
}

async function nameVolume(client: KubeClient, claim: PersistentVolumeClaim, volume: PersistentVolume): Promise<PersistentVolumeClaim> {
  if (has(claim, annotation.bindCompleted) && claim.spec?.volumeName === volume.metadata.name) return claim;
  const annotations = {
    ...claim.metadata.annotations, [annotation.bindCompleted]: "yes",
    ...(claim.spec?.volumeName !== volume.metadata.name && { [annotation.boundByController]: "yes" }),
  };
  return client.update(persistentVolumeClaims, {
    ...claim, metadata: { ...claim.metadata, annotations }, spec: { ...claim.spec!, volumeName: volume.metadata.name },
  });
}

export async function setVolumePhase(
  client: KubeClient, volume: PersistentVolume, phase: string, message?: string,
): Promise<PersistentVolume> {
  if (volume.status?.phase === phase && volume.status.message === message) return volume;
  const { message: _, reason: __, ...status } = volume.status ?? {};
  return client.update(
    persistentVolumes,
    { ...volume, status: { ...status, phase, ...(message && { message }) } },
    { subresource: "status" },
  );
}

export async function pend(client: KubeClient, claim: PersistentVolumeClaim): Promise<void> {
  if (claim.status?.phase === "Pending") return;
  await client.update(
    persistentVolumeClaims,
    { ...claim, status: { ...claim.status, phase: "Pending" } },
    { subresource: "status" },
  );
}

/** The claim is bound to another volume: this one is free again, or reserved as its author wrote it. */
export async function unreserve(client: KubeClient, volume: PersistentVolume): Promise<void> {
  const { [annotation.boundByController]: byController, ...annotations } = volume.metadata.annotations ?? {};
  const { claimRef, ...spec } = volume.spec!;
  const { uid: _, resourceVersion: __, ...reservation } = claimRef!;
  const freed = await client.update(persistentVolumes, {
    ...volume,
    metadata: { ...volume.metadata, annotations },
    spec: byController ? spec : { ...spec, claimRef: reservation },
  });
  await setVolumePhase(client, freed, "Available");
}
