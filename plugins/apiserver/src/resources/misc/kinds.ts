/** Leases, RuntimeClasses, PriorityClasses and the kinds of dynamic resource allocation. */
import type { Behaviour } from "../row.ts";
import { specGeneration, withStatus } from "../strategy.ts";
import type { Obj } from "../types.ts";
import { leaseColumns, namedColumns, priorityClassColumns, resourceClaimColumns, resourceSliceColumns, runtimeClassColumns } from "./columns.ts";
import { defaultPriorityClass, defaultResourceClaim, defaultResourceClaimTemplate } from "./defaults.ts";
import { oldLabels } from "../core/warn-pod.ts";
import { validateLease, validatePriorityClass, validatePriorityClassUpdate, validateRuntimeClass, validateRuntimeClassUpdate } from "./validate.ts";
import { validateResourceClaimStatus } from "./validate-claim-status.ts";
import { validateDeviceClass, validateResourceClaim, validateResourceClaimTemplate, validateResourceClaimUpdate } from "./validate-devices.ts";
import { validateResourceSlice, validateResourceSliceUpdate } from "./validate-slices.ts";

/** Of coordinated leader election, which upstream has switched off by default. */
function dropElection({ spec }: Obj): void {
  delete spec?.strategy;
  delete spec?.preferredHolder;
}

export const lease: Behaviour = { columns: leaseColumns, prepareCreate: dropElection, prepareUpdate: dropElection, validate: validateLease, validateUpdate: validateLease };
export const runtimeClass: Behaviour = {
  columns: runtimeClassColumns, validate: validateRuntimeClass, validateUpdate: validateRuntimeClassUpdate,
  warnings: ({ scheduling }) => Object.keys(scheduling?.nodeSelector ?? {}).filter((key) => oldLabels[key]).map((key) => `scheduling.nodeSelector: ${oldLabels[key]}`),
};
export const priorityClass: Behaviour = {
  columns: priorityClassColumns,
  defaults: defaultPriorityClass,
  generationOf: () => undefined,
  validate: validatePriorityClass,
  validateUpdate: validatePriorityClassUpdate,
};

export const deviceClass: Behaviour = {
  ...specGeneration, columns: namedColumns, validate: validateDeviceClass, validateUpdate: validateDeviceClass,
};
export const resourceClaim: Behaviour = {
  ...withStatus(),
  columns: resourceClaimColumns,
  defaults: defaultResourceClaim,
  validate: validateResourceClaim,
  validateUpdate: validateResourceClaimUpdate,
  validateStatusUpdate: validateResourceClaimStatus,
};
export const resourceClaimTemplate: Behaviour = {
  columns: namedColumns,
  defaults: defaultResourceClaimTemplate,
  validate: validateResourceClaimTemplate,
  validateUpdate: validateResourceClaimUpdate,
};
export const resourceSlice: Behaviour = {
  ...specGeneration,
  columns: resourceSliceColumns,
  validate: validateResourceSlice,
  validateUpdate: validateResourceSliceUpdate,
  selectableFields: { "spec.nodeName": (o) => o.spec?.nodeName ?? "", "spec.driver": (o) => o.spec?.driver ?? "" },
};
