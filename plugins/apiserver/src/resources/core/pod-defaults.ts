/** Defaults of pods and pod templates. */
import { compareQuantity, formatNano, parseNano } from "@k3s-p/plugin-api/kube";
import { canonicalResources, ensure, fill, fillEmpty, isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { defaultContainer } from "./container-defaults.ts";
import { defaultVolume } from "./volume-defaults.ts";

/** What a pod gets; templates get less (`defaultPodTemplate`). */
export function defaultPod(pod: Obj): void {
  const spec = ensure(pod, "spec");
  defaultPodSpec(spec);
  fill(spec, { enableServiceLinks: true });
  for (const container of [...items(spec, "containers"), ...items(spec, "initContainers")]) {
    defaultRequests(container.resources);
    if (spec.hostNetwork) defaultHostPorts(container);
  }
  if (isObject(spec.resources)) defaultPodRequests(spec);
  if (isObject(pod.status)) syncPodIps(pod.status);
}

export function defaultPodTemplate(template: Obj): void {
  ensure(template, "metadata");
  defaultPodSpec(ensure(template, "spec"));
}

function defaultPodSpec(spec: Obj): void {
  fillEmpty(spec, { dnsPolicy: "ClusterFirst", restartPolicy: "Always", schedulerName: "default-scheduler" });
  fill(spec, { terminationGracePeriodSeconds: 30, securityContext: {} });
  syncServiceAccount(spec);
  canonicalResources(spec.overhead);
  canonicalResources(spec.resources?.limits);
  canonicalResources(spec.resources?.requests);
  for (const list of ["initContainers", "containers", "ephemeralContainers"]) items(spec, list).forEach(defaultContainer);
  items(spec, "volumes").forEach(defaultVolume);
}

/** `serviceAccount` is the old name of `serviceAccountName`; both are always shown. */
export function syncServiceAccount(spec: Obj): void {
  if (!spec.serviceAccountName && spec.serviceAccount) spec.serviceAccountName = spec.serviceAccount;
  if (spec.serviceAccountName) spec.serviceAccount = spec.serviceAccountName;
}

/** A resource with a limit and no request requests its limit. */
function defaultRequests(resources: unknown): void {
  if (!isObject(resources) || !isObject(resources.limits)) return;
  fill(ensure(resources, "requests"), resources.limits);
}

/** Pod-level requests: what the containers request, or the pod's limit, once the pod has limits. */
function defaultPodRequests(spec: Obj): void {
  const { limits } = spec.resources;
  if (!isObject(limits) || Object.keys(limits).length === 0) return;
  const requests = ensure(spec.resources, "requests");
  for (const [name, nano] of computeRequests(spec)) fill(requests, { [name]: formatNano(nano, name === "cpu" ? "decimal" : "binary") });
  fill(requests, limits);
}

/**
 * The most that the containers request at one time of what pods may request: sidecars stay, other init containers run
 * alone before the rest. What is no quantity counts nothing; validation names it.
 */
export function computeRequests(spec: Obj): Map<string, bigint> {
  const add = (into: Map<string, bigint>, { resources }: Obj): Map<string, bigint> => {
    for (const [name, text] of Object.entries((resources?.requests ?? {}) as Record<string, string>)) {
      if (name === "cpu" || name === "memory" || name.startsWith("hugepages-")) into.set(name, (into.get(name) ?? 0n) + (parseNano(text) ?? 0n));
    }
    return into;
  };
  const sidecars = new Map<string, bigint>();
  const most = new Map<string, bigint>();
  for (const container of items(spec, "initContainers")) {
    const now = add(container.restartPolicy === "Always" ? sidecars : new Map(sidecars), container);
    for (const [name, nano] of now) if (nano > (most.get(name) ?? 0n)) most.set(name, nano);
  }
  const total = items(spec, "containers").reduce<Map<string, bigint>>(add, sidecars);
  for (const [name, nano] of most) if (nano > (total.get(name) ?? 0n)) total.set(name, nano);
  return total;
}

function defaultHostPorts(container: Obj): void {
  for (const port of items(container, "ports")) if (!port.hostPort) port.hostPort = port.containerPort;
}

/** `podIP` is the first of `podIPs`; a writer may know only the old field. */
export function syncPodIps(status: Obj): void {
  const ips = items(status, "podIPs");
  if (status.podIP && ips[0]?.ip !== status.podIP) status.podIPs = [{ ip: status.podIP }];
  else if (!status.podIP && ips[0]) status.podIP = ips[0].ip;
}

type Qos = "Guaranteed" | "Burstable" | "BestEffort";

/** The QoS class: Guaranteed when every container's cpu and memory limits equal its requests, BestEffort without any. */
export function qosClass(spec: Obj): Qos {
  const own = isObject(spec.resources) && !isBare(spec.resources);
  const all: Obj[] = own ? [spec.resources] : [...items(spec, "containers"), ...items(spec, "initContainers")].map((c) => c.resources ?? {});
  if (all.every(isBare)) return "BestEffort";
  return all.every(isGuaranteed) ? "Guaranteed" : "Burstable";
}

const computeNames = ["cpu", "memory"] as const;
const positive = (quantity: unknown): quantity is string => {
  try {
    return quantity != null && compareQuantity(quantity as string, "0") > 0;
  } catch {
    return false;
  }
};

const isBare = ({ limits, requests }: Obj): boolean =>
  computeNames.every((name) => !positive(limits?.[name]) && !positive(requests?.[name]));

const isGuaranteed = ({ limits, requests }: Obj): boolean =>
  computeNames.every((name) => positive(limits?.[name]) && positive(requests?.[name]) && compareQuantity(limits[name], requests[name]) === 0);
