/** Leases, RuntimeClasses, PriorityClasses and the kinds of dynamic resource allocation. */
import type { Behaviour } from "../row.ts";
import { specGeneration, withStatus } from "../strategy.ts";
import { leaseColumns, namedColumns, priorityClassColumns, resourceClaimColumns, resourceSliceColumns, runtimeClassColumns } from "./columns.ts";
import { defaultPriorityClass, defaultResourceClaim, defaultResourceClaimTemplate } from "./defaults.ts";

export const lease: Behaviour = { columns: leaseColumns };
export const runtimeClass: Behaviour = { columns: runtimeClassColumns };
export const priorityClass: Behaviour = {
  columns: priorityClassColumns,
  defaults: defaultPriorityClass,
  generationOf: () => undefined,
};

export const deviceClass: Behaviour = { ...specGeneration, columns: namedColumns };
export const resourceClaim: Behaviour = { ...withStatus(), columns: resourceClaimColumns, defaults: defaultResourceClaim };
export const resourceClaimTemplate: Behaviour = { columns: namedColumns, defaults: defaultResourceClaimTemplate };
export const resourceSlice: Behaviour = {
  ...specGeneration,
  columns: resourceSliceColumns,
  selectableFields: { "spec.nodeName": (o) => o.spec?.nodeName ?? "", "spec.driver": (o) => o.spec?.driver ?? "" },
};
