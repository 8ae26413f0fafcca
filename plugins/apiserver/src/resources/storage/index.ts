/** The rows of storage.k8s.io. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import { csiDriver, csiNode, csiStorageCapacity, storageClass, volumeAttachment, volumeAttributesClass } from "./kinds.ts";

const row = rowsOf("storage.k8s.io", "v1");
const cluster = { namespaced: false, returnsDeleted: true } as const;

export const storageResources: readonly ResourceDef[] = [
  row("CSIDriver", "csidrivers", cluster, csiDriver),
  row("CSINode", "csinodes", cluster, csiNode),
  row("CSIStorageCapacity", "csistoragecapacities", {}, csiStorageCapacity),
  row("StorageClass", "storageclasses", { ...cluster, shortNames: ["sc"] }, storageClass),
  row("VolumeAttachment", "volumeattachments", { ...cluster, subresources: ["status"] }, volumeAttachment),
  row("VolumeAttributesClass", "volumeattributesclasses", { ...cluster, shortNames: ["vac"] }, volumeAttributesClass),
];
