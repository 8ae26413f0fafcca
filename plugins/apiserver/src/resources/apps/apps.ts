/** Deployments, ReplicaSets, DaemonSets, StatefulSets and ControllerRevisions. */
import type { Behaviour } from "../row.ts";
import { withGeneration } from "../strategy.ts";
import { replicaSetColumns } from "../core/columns.ts";
import { controllerRevisionColumns, daemonSetColumns, deploymentColumns, statefulSetColumns } from "./columns.ts";
import { defaultDaemonSet, defaultDeployment, defaultReplicaSet, defaultStatefulSet } from "./defaults.ts";

export const deployment: Behaviour = { ...withGeneration(), columns: deploymentColumns, defaults: defaultDeployment };

export const replicaSet: Behaviour = {
  ...withGeneration({ replicas: 0 }),
  columns: replicaSetColumns,
  defaults: defaultReplicaSet,
  selectableFields: { "status.replicas": (o) => String(o.status?.replicas ?? 0) },
};

export const daemonSet: Behaviour = {
  ...withGeneration({ currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0 }),
  columns: daemonSetColumns,
  defaults: defaultDaemonSet,
};

export const statefulSet: Behaviour = {
  ...withGeneration({ replicas: 0, availableReplicas: 0 }),
  columns: statefulSetColumns,
  defaults: defaultStatefulSet,
};

export const controllerRevision: Behaviour = { columns: controllerRevisionColumns };
