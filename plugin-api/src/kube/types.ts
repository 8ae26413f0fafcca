/**
 * Kubernetes 1.36 objects as they are on the wire, derived from the models of `@kubernetes/client-node` (types only).
 * Dates are RFC 3339 strings, and names that the models escape (`_continue`, `_from`) have their real form.
 */
import type * as k from "@kubernetes/client-node";

export type Wire<T> =
  T extends Date ? string
  : T extends readonly (infer U)[] ? Wire<U>[]
  : T extends (...args: never[]) => unknown ? never
  : T extends object ? { [K in keyof T as K extends `_${infer R}` ? R : K]: Wire<T[K]> }
  : T;

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface ObjectMeta {
  name?: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  finalizers?: string[];
  managedFields?: Wire<k.V1ManagedFieldsEntry>[];
  selfLink?: string;
}

/** Any object; the fields beyond metadata are the kind's own. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
}

/** A kind with the house's `ObjectMeta`, always present on objects that a server returned. */
type Kind<T> = Omit<Wire<T>, "metadata" | "apiVersion" | "kind"> & {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
};

export type LabelSelector = Wire<k.V1LabelSelector>;
export type Condition = Wire<k.V1Condition>;
export type PodSpec = Wire<k.V1PodSpec>;
export type PodStatus = Wire<k.V1PodStatus>;
export type PodTemplateSpec = Wire<k.V1PodTemplateSpec>;
export type ContainerSpec = Wire<k.V1Container>;
export type ContainerStatus = Wire<k.V1ContainerStatus>;
export type Probe = Wire<k.V1Probe>;
export type Volume = Wire<k.V1Volume>;
export type Taint = Wire<k.V1Taint>;
export type Toleration = Wire<k.V1Toleration>;
export type ServicePort = Wire<k.V1ServicePort>;
export type ObjectReference = Wire<k.V1ObjectReference>;
export type ResourceRequirements = Wire<k.V1ResourceRequirements>;
export type NodeSelectorTerm = Wire<k.V1NodeSelectorTerm>;
export type EndpointSliceEndpoint = Wire<k.V1Endpoint>;

export type Pod = Kind<k.V1Pod>;
export type Node = Kind<k.V1Node>;
export type Namespace = Kind<k.V1Namespace>;
export type Service = Kind<k.V1Service>;
export type Endpoints = Kind<k.V1Endpoints>;
export type EndpointSlice = Kind<k.V1EndpointSlice>;
export type ConfigMap = Kind<k.V1ConfigMap>;
export type Secret = Kind<k.V1Secret>;
export type ServiceAccount = Kind<k.V1ServiceAccount>;
export type CoreEvent = Kind<k.CoreV1Event>;
export type PersistentVolume = Kind<k.V1PersistentVolume>;
export type PersistentVolumeClaim = Kind<k.V1PersistentVolumeClaim>;
export type ReplicationController = Kind<k.V1ReplicationController>;
export type ResourceQuota = Kind<k.V1ResourceQuota>;
export type LimitRange = Kind<k.V1LimitRange>;
export type PodTemplate = Kind<k.V1PodTemplate>;
export type Deployment = Kind<k.V1Deployment>;
export type ReplicaSet = Kind<k.V1ReplicaSet>;
export type DaemonSet = Kind<k.V1DaemonSet>;
export type StatefulSet = Kind<k.V1StatefulSet>;
export type ControllerRevision = Kind<k.V1ControllerRevision>;
export type Job = Kind<k.V1Job>;
export type CronJob = Kind<k.V1CronJob>;
export type HorizontalPodAutoscaler = Kind<k.V2HorizontalPodAutoscaler>;
export type Ingress = Kind<k.V1Ingress>;
export type IngressClass = Kind<k.V1IngressClass>;
export type NetworkPolicy = Kind<k.V1NetworkPolicy>;
export type PodDisruptionBudget = Kind<k.V1PodDisruptionBudget>;
export type Role = Kind<k.V1Role>;
export type ClusterRole = Kind<k.V1ClusterRole>;
export type RoleBinding = Kind<k.V1RoleBinding>;
export type ClusterRoleBinding = Kind<k.V1ClusterRoleBinding>;
export type StorageClass = Kind<k.V1StorageClass>;
export type CSIDriver = Kind<k.V1CSIDriver>;
export type CSINode = Kind<k.V1CSINode>;
export type VolumeAttachment = Kind<k.V1VolumeAttachment>;
export type PriorityClass = Kind<k.V1PriorityClass>;
export type RuntimeClass = Kind<k.V1RuntimeClass>;
export type Lease = Kind<k.V1Lease>;
export type CertificateSigningRequest = Kind<k.V1CertificateSigningRequest>;
export type APIService = Kind<k.V1APIService>;
export type CustomResourceDefinition = Kind<k.V1CustomResourceDefinition>;
export type TokenRequest = Omit<Kind<k.AuthenticationV1TokenRequest>, "metadata"> & { metadata?: ObjectMeta };
export type Binding = Kind<k.V1Binding>;
export type Eviction = Kind<k.V1Eviction>;
export type Scale = Kind<k.V1Scale>;

/** `v1 Status`, the body of every error. */
export interface Status {
  kind: "Status";
  apiVersion: "v1";
  metadata: Record<string, unknown>;
  status: "Success" | "Failure";
  message?: string;
  reason?: string;
  details?: {
    name?: string;
    group?: string;
    kind?: string;
    uid?: string;
    causes?: { reason?: string; message?: string; field?: string }[];
    retryAfterSeconds?: number;
  };
  code?: number;
}

export interface ListMeta {
  resourceVersion?: string;
  continue?: string;
  remainingItemCount?: number;
}

export interface List<T> {
  apiVersion?: string;
  kind?: string;
  metadata: ListMeta;
  items: readonly T[];
}

export type WatchEvent<T> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK"; readonly object: T }
  | { readonly type: "ERROR"; readonly object: Status };
