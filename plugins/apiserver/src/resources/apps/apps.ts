/** Deployments, ReplicaSets, DaemonSets, StatefulSets and ControllerRevisions. */
import type { Behaviour } from "../row.ts";
import { keepStatus, withGeneration } from "../strategy.ts";
import type { Obj } from "../types.ts";
import { replicaSetColumns } from "../core/columns.ts";
import { warnOfTemplate, warnOfWorkload } from "../core/warn-pod.ts";
import { controllerRevisionColumns, daemonSetColumns, deploymentColumns, statefulSetColumns } from "./columns.ts";
import { defaultDaemonSet, defaultDeployment, defaultReplicaSet, defaultStatefulSet } from "./defaults.ts";
import { ensure, same } from "../fields.ts";
import { validateDaemonSetStatus, validateDeploymentStatus, validateReplicaSetStatus, validateStatefulSetStatus } from "./validate-status.ts";
import {
  validateControllerRevision, validateControllerRevisionUpdate, validateDaemonSet, validateDaemonSetUpdate, validateDeployment, validateDeploymentUpdate, validateReplicaSet, validateReplicaSetUpdate,
  validateStatefulSet, validateStatefulSetUpdate,
} from "./validate.ts";

export const deployment: Behaviour = {
  ...withGeneration(),
  // Annotations are copied to the replica sets, so their change is one that the controller must see.
  generationOf: ({ spec, metadata }) => [spec, metadata?.annotations ?? {}],
  // Of all workloads, only a Deployment's status write leaves the labels alone.
  prepareStatusUpdate: (object, old) => {
    if (old.metadata?.labels) object.metadata!.labels = old.metadata.labels;
    else delete object.metadata!.labels;
  },
  columns: deploymentColumns,
  defaults: defaultDeployment,
  validate: validateDeployment,
  validateUpdate: validateDeploymentUpdate,
  validateStatusUpdate: validateDeploymentStatus,
  warnings: warnOfWorkload,
};

export const replicaSet: Behaviour = {
  ...withGeneration({ replicas: 0 }),
  columns: replicaSetColumns,
  defaults: defaultReplicaSet,
  validate: validateReplicaSet,
  validateUpdate: validateReplicaSetUpdate,
  validateStatusUpdate: validateReplicaSetStatus,
  warnings: warnOfWorkload,
  selectableFields: { "status.replicas": (o) => String(o.status?.replicas ?? 0) },
};

const TEMPLATE_GENERATION = "deprecated.daemonset.template.generation";

/** The old API's `spec.templateGeneration` lives on in an annotation. */
function setTemplateGeneration(object: Obj, generation: number): void {
  ensure(ensure(object, "metadata"), "annotations")[TEMPLATE_GENERATION] = String(generation);
}

export const daemonSet: Behaviour = {
  prepareCreate: (object) => {
    object.status = { currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0 };
    setTemplateGeneration(object, 1);
  },
  prepareUpdate: (object, old) => {
    keepStatus(object, old);
    const before = Number(old.metadata?.annotations?.[TEMPLATE_GENERATION] ?? 1);
    setTemplateGeneration(object, same(object.spec.template, old.spec.template) ? before : before + 1);
  },
  generationOf: (object) => object.spec,
  columns: daemonSetColumns,
  defaults: defaultDaemonSet,
  validate: validateDaemonSet,
  validateUpdate: validateDaemonSetUpdate,
  validateStatusUpdate: validateDaemonSetStatus,
  warnings: ({ spec }) => warnOfTemplate("spec.template", spec.template),
};

const warnOfStatefulSet = (set: Obj): string[] => [
  ...warnOfWorkload(set),
  ...(set.spec.revisionHistoryLimit < 0 ? ["spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"] : []),
];

export const statefulSet: Behaviour = {
  ...withGeneration({ replicas: 0, availableReplicas: 0 }),
  nameRule: "dns1123label",
  columns: statefulSetColumns,
  defaults: defaultStatefulSet,
  validate: validateStatefulSet,
  validateUpdate: validateStatefulSetUpdate,
  validateStatusUpdate: validateStatefulSetStatus,
  warnings: warnOfStatefulSet,
};

export const controllerRevision: Behaviour = {
  columns: controllerRevisionColumns,
  validate: validateControllerRevision,
  validateUpdate: validateControllerRevisionUpdate,
};
