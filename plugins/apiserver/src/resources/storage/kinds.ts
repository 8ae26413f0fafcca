/** The kinds of storage.k8s.io. */
import type { Behaviour } from "../row.ts";
import { keepStatus } from "../strategy.ts";
import {
  csiDriverColumns, csiNodeColumns, csiStorageCapacityColumns, storageClassColumns, volumeAttachmentColumns, volumeAttributesClassColumns,
} from "./columns.ts";
import { defaultCsiDriver, defaultStorageClass } from "./defaults.ts";

export const storageClass: Behaviour = { columns: storageClassColumns, defaults: defaultStorageClass };
export const csiDriver: Behaviour = { columns: csiDriverColumns, defaults: defaultCsiDriver };
export const csiNode: Behaviour = { columns: csiNodeColumns };
export const csiStorageCapacity: Behaviour = { columns: csiStorageCapacityColumns };
export const volumeAttachment: Behaviour = {
  columns: volumeAttachmentColumns,
  prepareCreate: (object) => void (object.status = { attached: false }),
  prepareUpdate: keepStatus,
};
export const volumeAttributesClass: Behaviour = { columns: volumeAttributesClassColumns };
