/** Defaults of the core kinds that need few lines. */
import { canonicalResources, ensure, fill, fillEmpty, isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { defaultPodTemplate } from "./pod-defaults.ts";
import { defaultVolumeSource } from "./volume-defaults.ts";

export function defaultNamespace(namespace: Obj): void {
  ensure(namespace, "spec");
  fillEmpty(ensure(namespace, "status"), { phase: "Active" });
  const metadata = ensure(namespace, "metadata");
  if (metadata.name) ensure(metadata, "labels")["kubernetes.io/metadata.name"] = metadata.name;
}

export function defaultNode(node: Obj): void {
  const spec = ensure(node, "spec");
  if (spec.podCIDR && spec.podCIDRs?.[0] !== spec.podCIDR) spec.podCIDRs = [spec.podCIDR];
  else if (!spec.podCIDR && spec.podCIDRs?.[0]) spec.podCIDR = spec.podCIDRs[0];
  const status = ensure(node, "status");
  canonicalResources(status.capacity);
  canonicalResources(status.allocatable);
  if (status.allocatable == null && status.capacity) status.allocatable = { ...status.capacity };
  // Upstream's are no pointers: they are shown with nothing in them, too.
  fill(ensure(ensure(status, "daemonEndpoints"), "kubeletEndpoint"), { Port: 0 });
  fill(ensure(status, "nodeInfo"), emptyNodeInfo);
}

const emptyNodeInfo = {
  machineID: "", systemUUID: "", bootID: "", kernelVersion: "", osImage: "", containerRuntimeVersion: "", kubeletVersion: "",
  kubeProxyVersion: "", operatingSystem: "", architecture: "",
};

export function defaultSecret(secret: Obj): void {
  fillEmpty(secret, { type: "Opaque" });
}

export function defaultEndpoints(endpoints: Obj): void {
  for (const subset of items(endpoints, "subsets")) {
    for (const port of items(subset, "ports")) fillEmpty(port, { protocol: "TCP" });
  }
}

export function defaultPersistentVolume(volume: Obj): void {
  const spec = ensure(volume, "spec");
  fillEmpty(spec, { persistentVolumeReclaimPolicy: "Retain" });
  fill(spec, { volumeMode: "Filesystem" });
  canonicalResources(spec.capacity);
  defaultVolumeSource(spec);
  fillEmpty(ensure(volume, "status"), { phase: "Pending" });
}

export function defaultReplicationController(controller: Obj): void {
  const spec = ensure(controller, "spec");
  fill(spec, { replicas: 1 });
  const template = spec.template;
  if (isObject(template)) {
    defaultPodTemplate(template);
    const labels = template.metadata?.labels;
    if (labels && Object.keys(spec.selector ?? {}).length === 0) spec.selector = { ...labels };
    const metadata = ensure(controller, "metadata");
    if (labels && Object.keys(metadata.labels ?? {}).length === 0) metadata.labels = { ...labels };
  }
  fill(ensure(controller, "status"), { replicas: 0 });
}

export function defaultPodTemplateObject(object: Obj): void {
  defaultPodTemplate(ensure(object, "template"));
}

export function defaultResourceQuota(quota: Obj): void {
  canonicalResources(ensure(quota, "spec").hard);
  const status = ensure(quota, "status");
  canonicalResources(status.hard);
  canonicalResources(status.used);
}

export function defaultLimitRange(range: Obj): void {
  for (const limit of items(ensure(range, "spec"), "limits")) {
    for (const list of ["default", "defaultRequest", "max", "min", "maxLimitRequestRatio"]) canonicalResources(limit[list]);
    if (limit.type !== "Container") continue;
    const limits = ensure(limit, "default");
    const requests = ensure(limit, "defaultRequest");
    fill(limits, limit.max ?? {});
    fill(requests, limits);
    fill(requests, limit.min ?? {});
  }
}
