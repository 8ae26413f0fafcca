/** The rows of storage.k8s.io. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import { csiDriver, csiNode, csiStorageCapacity, storageClass, volumeAttachment, volumeAttributesClass } from "./kinds.ts";

const row = rowsOf("storage.k8s.io", "v1");
const cluster = { namespaced: false, returnsDeleted: true } as const;
const pinned = { needsVersion: true } as const;

export const storageResources: readonly ResourceDef[] = [
  row("CSIDriver", "csidrivers", { ...cluster, ...pinned }, csiDriver),
  row("CSINode", "csinodes", { ...cluster, ...pinned }, csiNode),
  row("CSIStorageCapacity", "csistoragecapacities", pinned, csiStorageCapacity),
  row("StorageClass", "storageclasses", { ...cluster, shortNames: ["sc"] }, storageClass),
  row("VolumeAttachment", "volumeattachments", { ...cluster, ...pinned, subresources: ["status"] }, volumeAttachment),
  row("VolumeAttributesClass", "volumeattributesclasses", { ...cluster, shortNames: ["vac"] }, volumeAttributesClass),
];
