/** The kinds of storage.k8s.io. */
import { oldLabels } from "../core/warn-pod.ts";
import { items, same } from "../fields.ts";
import type { Behaviour } from "../row.ts";
import { keepStatus } from "../strategy.ts";
import type { Obj } from "../types.ts";
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
/** A driver has no generation until something changes that may. */
function countChanges(driver: Obj, old: Obj): void {
  const changed = ["tokenRequests", "requiresRepublish", "seLinuxMount"].some((field) => !same(driver.spec[field], old.spec[field]));
  if (changed) driver.metadata!.generation = (old.metadata?.generation ?? 0) + 1;
}

export const csiDriver: Behaviour = {
  columns: csiDriverColumns,
  defaults: defaultCsiDriver,
  prepareUpdate: countChanges,
  validate: v.validateCsiDriver,
  validateUpdate: v.validateCsiDriverUpdate,
};
export const csiNode: Behaviour = { columns: csiNodeColumns, validate: v.validateCsiNode, validateUpdate: v.validateCsiNodeUpdate };
export const csiStorageCapacity: Behaviour = { columns: csiStorageCapacityColumns, validate: v.validateCapacity, validateUpdate: v.validateCapacityUpdate };
export const volumeAttachment: Behaviour = {
  columns: volumeAttachmentColumns,
  prepareCreate: (object) => void (object.status = { attached: false }),
  prepareUpdate: keepStatus,
  validate: v.validateNewVolumeAttachment,
  validateUpdate: v.validateVolumeAttachmentUpdate,
  validateStatusUpdate: v.validateVolumeAttachmentUpdate,
};
export const volumeAttributesClass: Behaviour = {
  columns: volumeAttributesClassColumns,
  validate: v.validateVolumeAttributesClass,
  validateUpdate: v.validateVolumeAttributesClassUpdate,
};
