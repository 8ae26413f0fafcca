/** Deployments, ReplicaSets, DaemonSets, StatefulSets and ControllerRevisions. */
import type { Behaviour } from "../row.ts";
import { withGeneration } from "../strategy.ts";
import { replicaSetColumns } from "../core/columns.ts";
import { controllerRevisionColumns, daemonSetColumns, deploymentColumns, statefulSetColumns } from "./columns.ts";
import { defaultDaemonSet, defaultDeployment, defaultReplicaSet, defaultStatefulSet } from "./defaults.ts";
import { same } from "../fields.ts";
import { IMMUTABLE, invalidValue, nonNegative } from "../validate/field.ts";
import {
  validateDaemonSet, validateDaemonSetUpdate, validateDeployment, validateDeploymentUpdate, validateReplicaSet, validateReplicaSetUpdate,
  validateStatefulSet, validateStatefulSetUpdate,
} from "./validate.ts";

export const deployment: Behaviour = {
  ...withGeneration(),
  columns: deploymentColumns,
  defaults: defaultDeployment,
  validate: validateDeployment,
  validateUpdate: validateDeploymentUpdate,
};

export const replicaSet: Behaviour = {
  ...withGeneration({ replicas: 0 }),
  columns: replicaSetColumns,
  defaults: defaultReplicaSet,
  validate: validateReplicaSet,
  validateUpdate: validateReplicaSetUpdate,
  selectableFields: { "status.replicas": (o) => String(o.status?.replicas ?? 0) },
};

export const daemonSet: Behaviour = {
  ...withGeneration({ currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0 }),
  columns: daemonSetColumns,
  defaults: defaultDaemonSet,
  validate: validateDaemonSet,
  validateUpdate: validateDaemonSetUpdate,
};

export const statefulSet: Behaviour = {
  ...withGeneration({ replicas: 0, availableReplicas: 0 }),
  columns: statefulSetColumns,
  defaults: defaultStatefulSet,
  validate: validateStatefulSet,
  validateUpdate: validateStatefulSetUpdate,
};

export const controllerRevision: Behaviour = {
  columns: controllerRevisionColumns,
  validate: ({ revision }) => nonNegative("revision", revision),
  validateUpdate: (object, old) => (same(object.data, old.data) ? [] : [invalidValue("data", object.data, IMMUTABLE)]),
};
