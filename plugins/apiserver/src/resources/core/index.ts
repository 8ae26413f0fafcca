/** The rows of the core group. */
import { createOnly, readVerbs, rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";

const row = rowsOf("", "v1");
const cluster = { namespaced: false } as const;
const status = ["status"] as const;

export const coreResources: readonly ResourceDef[] = [
  row("Binding", "bindings", { verbs: createOnly, virtual: true }),
  row("ComponentStatus", "componentstatuses", { ...cluster, shortNames: ["cs"], verbs: readVerbs, virtual: true }),
  row("ConfigMap", "configmaps", { shortNames: ["cm"] }),
  row("Endpoints", "endpoints", { shortNames: ["ep"], createOnUpdate: true }),
  row("Event", "events", { shortNames: ["ev"], tier: "lazy", ttlSeconds: 3600, createOnUpdate: true, nameRule: "path" }),
  row("LimitRange", "limitranges", { shortNames: ["limits"], createOnUpdate: true }),
  row("Namespace", "namespaces", {
    ...cluster, shortNames: ["ns"], subresources: ["finalize", "status"], deletion: "namespace", nameRule: "dns1123label",
    verbs: ["create", "delete", "get", "list", "patch", "update", "watch"],
  }),
  row("Node", "nodes", { ...cluster, shortNames: ["no"], subresources: ["proxy", "status"] }),
  row("PersistentVolumeClaim", "persistentvolumeclaims", { shortNames: ["pvc"], subresources: status }),
  row("PersistentVolume", "persistentvolumes", { ...cluster, shortNames: ["pv"], subresources: status }),
  row("Pod", "pods", {
    shortNames: ["po"], categories: ["all"], deletion: "pod",
    subresources: [
      "attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize", "status",
    ],
  }),
  row("PodTemplate", "podtemplates"),
  row("ReplicationController", "replicationcontrollers", {
    shortNames: ["rc"], categories: ["all"], subresources: ["scale", "status"], defaultPropagation: "Orphan",
    scale: { specReplicas: "spec.replicas", statusReplicas: "status.replicas", selector: "spec.selector" },
  }),
  row("ResourceQuota", "resourcequotas", { shortNames: ["quota"], subresources: status }),
  row("Secret", "secrets"),
  row("ServiceAccount", "serviceaccounts", { shortNames: ["sa"], subresources: ["token"] }),
  row("Service", "services", {
    shortNames: ["svc"], categories: ["all"], subresources: ["proxy", "status"], createOnUpdate: true, nameRule: "dns1035label",
  }),
];
