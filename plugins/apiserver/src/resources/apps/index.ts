/** The rows of apps and batch: workloads. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import { cronJob, job } from "./batch.ts";
import { controllerRevision, daemonSet, deployment, replicaSet, statefulSet } from "./apps.ts";

const apps = rowsOf("apps", "v1");
const batch = rowsOf("batch", "v1");
const all = ["all"] as const;
const scale = { specReplicas: "spec.replicas", statusReplicas: "status.replicas", selector: "spec.selector" } as const;

export const workloadResources: readonly ResourceDef[] = [
  apps("ControllerRevision", "controllerrevisions", {}, controllerRevision),
  apps("DaemonSet", "daemonsets", { shortNames: ["ds"], categories: all, subresources: ["status"] }, daemonSet),
  apps("Deployment", "deployments", { shortNames: ["deploy"], categories: all, subresources: ["scale", "status"], scale }, deployment),
  apps("ReplicaSet", "replicasets", { shortNames: ["rs"], categories: all, subresources: ["scale", "status"], scale }, replicaSet),
  apps("StatefulSet", "statefulsets", { shortNames: ["sts"], categories: all, subresources: ["scale", "status"], scale }, statefulSet),
  batch("CronJob", "cronjobs", { shortNames: ["cj"], categories: all, subresources: ["status"] }, cronJob),
  batch("Job", "jobs", { categories: all, subresources: ["status"], defaultPropagation: "Orphan" }, job),
];
