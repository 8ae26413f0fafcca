/** The rows of apps and batch: workloads. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";

const apps = rowsOf("apps", "v1");
const batch = rowsOf("batch", "v1");
const all = ["all"] as const;
const scale = { specReplicas: "spec.replicas", statusReplicas: "status.replicas", selector: "spec.selector" } as const;

export const workloadResources: readonly ResourceDef[] = [
  apps("ControllerRevision", "controllerrevisions"),
  apps("DaemonSet", "daemonsets", { shortNames: ["ds"], categories: all, subresources: ["status"] }),
  apps("Deployment", "deployments", { shortNames: ["deploy"], categories: all, subresources: ["scale", "status"], scale }),
  apps("ReplicaSet", "replicasets", { shortNames: ["rs"], categories: all, subresources: ["scale", "status"], scale }),
  apps("StatefulSet", "statefulsets", { shortNames: ["sts"], categories: all, subresources: ["scale", "status"], scale }),
  batch("CronJob", "cronjobs", { shortNames: ["cj"], categories: all, subresources: ["status"] }),
  batch("Job", "jobs", { categories: all, subresources: ["status"], defaultPropagation: "Orphan" }),
];
