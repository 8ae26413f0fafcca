/** The rows of storage.k8s.io. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";

const row = rowsOf("storage.k8s.io", "v1");
const cluster = { namespaced: false } as const;

export const storageResources: readonly ResourceDef[] = [
  row("CSIDriver", "csidrivers", cluster),
  row("CSINode", "csinodes", cluster),
  row("CSIStorageCapacity", "csistoragecapacities"),
  row("StorageClass", "storageclasses", { ...cluster, shortNames: ["sc"] }),
  row("VolumeAttachment", "volumeattachments", { ...cluster, subresources: ["status"] }),
  row("VolumeAttributesClass", "volumeattributesclasses", { ...cluster, shortNames: ["vac"] }),
];
