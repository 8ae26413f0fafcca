/** Typed names of the built-in resources, the first argument of every client call. */
import type * as t from "./types.ts";
import type { KubeObject } from "./types.ts";

declare const objectType: unique symbol;

/** Group, version and names of one resource; `T` is the object's type. */
export interface Resource<T extends KubeObject = KubeObject> {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly [objectType]?: T;
}

export function defineResource<T extends KubeObject>(
  group: string,
  version: string,
  plural: string,
  kind: string,
  scope: "namespaced" | "cluster" = "namespaced",
): Resource<T> {
  return Object.freeze({ group, version, plural, kind, namespaced: scope === "namespaced" });
}

/** `v1` or `group/version`. */
export function apiVersionOf(resource: Pick<Resource, "group" | "version">): string {
  return resource.group ? `${resource.group}/${resource.version}` : resource.version;
}

export const pods = defineResource<t.Pod>("", "v1", "pods", "Pod");
export const nodes = defineResource<t.Node>("", "v1", "nodes", "Node", "cluster");
export const namespaces = defineResource<t.Namespace>("", "v1", "namespaces", "Namespace", "cluster");
export const services = defineResource<t.Service>("", "v1", "services", "Service");
export const endpoints = defineResource<t.Endpoints>("", "v1", "endpoints", "Endpoints");
export const configMaps = defineResource<t.ConfigMap>("", "v1", "configmaps", "ConfigMap");
export const secrets = defineResource<t.Secret>("", "v1", "secrets", "Secret");
export const serviceAccounts = defineResource<t.ServiceAccount>("", "v1", "serviceaccounts", "ServiceAccount");
export const events = defineResource<t.CoreEvent>("", "v1", "events", "Event");
export const persistentVolumes = defineResource<t.PersistentVolume>("", "v1", "persistentvolumes", "PersistentVolume", "cluster");
export const persistentVolumeClaims = defineResource<t.PersistentVolumeClaim>("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim");
export const replicationControllers = defineResource<t.ReplicationController>("", "v1", "replicationcontrollers", "ReplicationController");
export const resourceQuotas = defineResource<t.ResourceQuota>("", "v1", "resourcequotas", "ResourceQuota");
export const limitRanges = defineResource<t.LimitRange>("", "v1", "limitranges", "LimitRange");
export const podTemplates = defineResource<t.PodTemplate>("", "v1", "podtemplates", "PodTemplate");
export const deployments = defineResource<t.Deployment>("apps", "v1", "deployments", "Deployment");
export const replicaSets = defineResource<t.ReplicaSet>("apps", "v1", "replicasets", "ReplicaSet");
export const daemonSets = defineResource<t.DaemonSet>("apps", "v1", "daemonsets", "DaemonSet");
export const statefulSets = defineResource<t.StatefulSet>("apps", "v1", "statefulsets", "StatefulSet");
export const controllerRevisions = defineResource<t.ControllerRevision>("apps", "v1", "controllerrevisions", "ControllerRevision");
export const jobs = defineResource<t.Job>("batch", "v1", "jobs", "Job");
export const cronJobs = defineResource<t.CronJob>("batch", "v1", "cronjobs", "CronJob");
export const horizontalPodAutoscalers = defineResource<t.HorizontalPodAutoscaler>("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler");
export const endpointSlices = defineResource<t.EndpointSlice>("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
export const ingresses = defineResource<t.Ingress>("networking.k8s.io", "v1", "ingresses", "Ingress");
export const ingressClasses = defineResource<t.IngressClass>("networking.k8s.io", "v1", "ingressclasses", "IngressClass", "cluster");
export const networkPolicies = defineResource<t.NetworkPolicy>("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy");
export const podDisruptionBudgets = defineResource<t.PodDisruptionBudget>("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
export const roles = defineResource<t.Role>("rbac.authorization.k8s.io", "v1", "roles", "Role");
export const clusterRoles = defineResource<t.ClusterRole>("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", "cluster");
export const roleBindings = defineResource<t.RoleBinding>("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding");
export const clusterRoleBindings = defineResource<t.ClusterRoleBinding>("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", "cluster");
export const storageClasses = defineResource<t.StorageClass>("storage.k8s.io", "v1", "storageclasses", "StorageClass", "cluster");
export const csiDrivers = defineResource<t.CSIDriver>("storage.k8s.io", "v1", "csidrivers", "CSIDriver", "cluster");
export const csiNodes = defineResource<t.CSINode>("storage.k8s.io", "v1", "csinodes", "CSINode", "cluster");
export const volumeAttachments = defineResource<t.VolumeAttachment>("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", "cluster");
export const priorityClasses = defineResource<t.PriorityClass>("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", "cluster");
export const runtimeClasses = defineResource<t.RuntimeClass>("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", "cluster");
export const leases = defineResource<t.Lease>("coordination.k8s.io", "v1", "leases", "Lease");
export const certificateSigningRequests = defineResource<t.CertificateSigningRequest>("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", "cluster");
export const apiServices = defineResource<t.APIService>("apiregistration.k8s.io", "v1", "apiservices", "APIService", "cluster");
export const customResourceDefinitions = defineResource<t.CustomResourceDefinition>("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", "cluster");
