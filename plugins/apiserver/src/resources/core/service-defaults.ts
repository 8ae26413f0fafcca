/** Defaults of Services. The families and addresses come with allocation. */
import { ensure, fill, fillEmpty, items } from "../fields.ts";
import type { Obj } from "../types.ts";

const AFFINITY_SECONDS = 10_800;

export function defaultService(service: Obj): void {
  const spec = ensure(service, "spec");
  fillEmpty(spec, { sessionAffinity: "None", type: "ClusterIP" });
  defaultAffinity(spec);
  for (const port of items(spec, "ports")) defaultPort(port);
  const exposed = spec.type === "NodePort" || spec.type === "LoadBalancer";
  const external = exposed || (spec.type === "ClusterIP" && spec.externalIPs?.length > 0);
  if (external) fillEmpty(spec, { externalTrafficPolicy: "Cluster" });
  if (spec.type !== "ExternalName") fill(spec, { internalTrafficPolicy: "Cluster" });
  if (spec.type === "LoadBalancer") fill(spec, { allocateLoadBalancerNodePorts: true });
  for (const ingress of items(service.status?.loadBalancer, "ingress")) if (ingress.ip) fill(ingress, { ipMode: "VIP" });
  ensure(ensure(service, "status"), "loadBalancer");
}

function defaultAffinity(spec: Obj): void {
  if (spec.sessionAffinity === "None") delete spec.sessionAffinityConfig;
  if (spec.sessionAffinity !== "ClientIP") return;
  fill(ensure(ensure(spec, "sessionAffinityConfig"), "clientIP"), { timeoutSeconds: AFFINITY_SECONDS });
}

function defaultPort(port: Obj): void {
  fillEmpty(port, { protocol: "TCP" });
  if (port.targetPort == null || port.targetPort === "" || port.targetPort === 0) port.targetPort = port.port;
}
