/** The rows of the core group. */
import { createOnly, readVerbs, rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import { namespace, node } from "./cluster.ts";
import { configMap, secret, serviceAccount } from "./config.ts";
import { coreEvent } from "./event.ts";
import { componentStatus, endpoints, limitRange, podTemplate, replicationController, resourceQuota } from "./misc.ts";
import { pod } from "./pod.ts";
import { service } from "./service.ts";
import { persistentVolume, persistentVolumeClaim } from "./storage.ts";

const row = rowsOf("", "v1");
const cluster = { namespaced: false } as const;
const status = ["status"] as const;

export const coreResources: readonly ResourceDef[] = [
  row("Binding", "bindings", { verbs: createOnly, virtual: true }),
  row("ComponentStatus", "componentstatuses", {
    ...cluster, shortNames: ["cs"], verbs: readVerbs, virtual: true, deprecationWarning: "v1 ComponentStatus is deprecated in v1.19+",
  }, componentStatus),
  row("ConfigMap", "configmaps", { shortNames: ["cm"] }, configMap),
  row("Endpoints", "endpoints", {
    shortNames: ["ep"], createOnUpdate: true,
    deprecationWarning: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
  }, endpoints),
  row("Event", "events", { shortNames: ["ev"], tier: "lazy", ttlSeconds: 3600, createOnUpdate: true, nameRule: "path" }, coreEvent),
  row("LimitRange", "limitranges", { shortNames: ["limits"], createOnUpdate: true }, limitRange),
  row("Namespace", "namespaces", {
    ...cluster, shortNames: ["ns"], subresources: ["finalize", "status"], deletion: "namespace", nameRule: "dns1123label",
    verbs: ["create", "delete", "get", "list", "patch", "update", "watch"],
  }, namespace),
  row("Node", "nodes", { ...cluster, shortNames: ["no"], subresources: ["proxy", "status"] }, node),
  row("PersistentVolumeClaim", "persistentvolumeclaims", { shortNames: ["pvc"], subresources: status, returnsDeleted: true }, persistentVolumeClaim),
  row("PersistentVolume", "persistentvolumes", { ...cluster, shortNames: ["pv"], subresources: status, returnsDeleted: true }, persistentVolume),
  row("Pod", "pods", {
    shortNames: ["po"], categories: ["all"], deletion: "pod", returnsDeleted: true,
    subresources: [
      "attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize", "status",
    ],
  }, pod),
  row("PodTemplate", "podtemplates", { returnsDeleted: true }, podTemplate),
  row("ReplicationController", "replicationcontrollers", {
    shortNames: ["rc"], categories: ["all"], subresources: ["scale", "status"], defaultPropagation: "Orphan",
    scale: { specReplicas: "spec.replicas", statusReplicas: "status.replicas", selector: "spec.selector" },
  }, replicationController),
  row("ResourceQuota", "resourcequotas", { shortNames: ["quota"], subresources: status, returnsDeleted: true }, resourceQuota),
  row("Secret", "secrets", {}, secret),
  row("ServiceAccount", "serviceaccounts", { shortNames: ["sa"], subresources: ["token"], returnsDeleted: true }, serviceAccount),
  row("Service", "services", {
    shortNames: ["svc"], categories: ["all"], subresources: ["proxy", "status"], createOnUpdate: true, nameRule: "dns1123label", returnsDeleted: true,
  }, service),
];
