/** The kinds of storage.k8s.io. */
import { oldLabels } from "../core/warn-pod.ts";
import { items } from "../fields.ts";
import type { Behaviour } from "../row.ts";
import { keepStatus } from "../strategy.ts";
import {
  csiDriverColumns, csiNodeColumns, csiStorageCapacityColumns, storageClassColumns, volumeAttachmentColumns, volumeAttributesClassColumns,
} from "./columns.ts";
import { defaultCsiDriver, defaultStorageClass } from "./defaults.ts";
import * as v from "./validate.ts";

export const storageClass: Behaviour = {
  columns: storageClassColumns,
  defaults: defaultStorageClass,
  validate: v.validateStorageClass,
  validateUpdate: v.validateStorageClassUpdate,
  warnings: (object) => items(object, "allowedTopologies").flatMap((term, i) => items(term, "matchLabelExpressions").flatMap(({ key }, j) =>
    (oldLabels[key] ? [`allowedTopologies[${i}].matchLabelExpressions[${j}].key: ${oldLabels[key]}`] : []))),
};
export const csiDriver: Behaviour = {
  columns: csiDriverColumns,
  defaults: defaultCsiDriver,
  validate: v.validateCsiDriver,
  validateUpdate: v.validateCsiDriverUpdate,
};
export const csiNode: Behaviour = { columns: csiNodeColumns, validate: v.validateCsiNode, validateUpdate: v.validateCsiNode };
export const csiStorageCapacity: Behaviour = { columns: csiStorageCapacityColumns, validate: v.validateCapacity, validateUpdate: v.validateCapacityUpdate };
export const volumeAttachment: Behaviour = {
  columns: volumeAttachmentColumns,
  prepareCreate: (object) => void (object.status = { attached: false }),
  prepareUpdate: keepStatus,
  validate: v.validateVolumeAttachment,
  validateUpdate: v.validateVolumeAttachmentUpdate,
};
export const volumeAttributesClass: Behaviour = {
  columns: volumeAttributesClassColumns,
  validate: v.validateVolumeAttributesClass,
  validateUpdate: v.validateVolumeAttributesClassUpdate,
};
