/** Endpoints, ResourceQuotas, LimitRanges, PodTemplates, ReplicationControllers and ComponentStatuses. */
import type { Behaviour } from "../row.ts";
import { always, withGeneration, withStatus } from "../strategy.ts";
import {
  componentStatusColumns, endpointsColumns, limitRangeColumns, podTemplateColumns, replicationControllerColumns, resourceQuotaColumns,
} from "./columns.ts";
import {
  defaultEndpoints, defaultLimitRange, defaultPodTemplateObject, defaultReplicationController, defaultResourceQuota,
} from "./defaults.ts";
import { validateReplicationController } from "../apps/validate.ts";
import { validateReplicaSetStatus } from "../apps/validate-status.ts";
import { items } from "../fields.ts";
import { validateLimitRange } from "./validate-limits.ts";
import { validateQuotaStatus, validateResourceQuota, validateResourceQuotaUpdate } from "./validate-quota.ts";
import { validatePodTemplate } from "./validate-pod.ts";
import { validateEndpoints, validateEndpointsUpdate } from "./validate-endpoints.ts";
import { warnOfAddress } from "./warn-address.ts";
import { warnOfTemplate, warnOfWorkload } from "./warn-pod.ts";

export const endpoints: Behaviour = {
  columns: endpointsColumns,
  defaults: defaultEndpoints,
  validate: validateEndpoints,
  validateUpdate: validateEndpointsUpdate,
  warnings: (object) => items(object, "subsets").flatMap((subset, i) => ["addresses", "notReadyAddresses"].flatMap((list) =>
    items(subset, list).flatMap(({ ip }, j) => warnOfAddress(`subsets[${i}].${list}[${j}].ip`, ip)))),
};

export const resourceQuota: Behaviour = {
  ...withStatus(),
  columns: resourceQuotaColumns,
  defaults: defaultResourceQuota,
  validate: validateResourceQuota,
  validateUpdate: validateResourceQuotaUpdate,
  validateStatusUpdate: validateQuotaStatus,
};

export const limitRange: Behaviour = {
  columns: limitRangeColumns,
  defaults: defaultLimitRange,
  // Alone of all kinds it needs no name.
  prepareCreate: ({ metadata }) => void (metadata!.name ||= metadata!.uid),
  ...always(validateLimitRange),
};

export const podTemplate: Behaviour = {
  columns: podTemplateColumns,
  defaults: defaultPodTemplateObject,
  validate: ({ template }) => validatePodTemplate("template", template),
  validateUpdate: ({ template }) => validatePodTemplate("template", template),
  warnings: ({ template }) => warnOfTemplate("template", template),
  generationOf: (object) => object.template,
};

export const replicationController: Behaviour = {
  ...withGeneration({ replicas: 0 }),
  columns: replicationControllerColumns,
  defaults: defaultReplicationController,
  validate: validateReplicationController,
  validateUpdate: validateReplicationController,
  validateStatusUpdate: validateReplicaSetStatus,
  warnings: warnOfWorkload,
  selectableFields: { "status.replicas": (o) => String(o.status?.replicas ?? 0) },
};

export const componentStatus: Behaviour = { columns: componentStatusColumns };
