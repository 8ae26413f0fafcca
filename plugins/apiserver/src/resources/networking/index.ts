/** The rows of networking.k8s.io and discovery.k8s.io. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";

const row = rowsOf("networking.k8s.io", "v1");
const discovery = rowsOf("discovery.k8s.io", "v1");
const cluster = { namespaced: false } as const;

export const networkingResources: readonly ResourceDef[] = [
  row("IngressClass", "ingressclasses", cluster),
  row("Ingress", "ingresses", { shortNames: ["ing"], subresources: ["status"] }),
  row("IPAddress", "ipaddresses", { ...cluster, shortNames: ["ip"] }),
  row("NetworkPolicy", "networkpolicies", { shortNames: ["netpol"] }),
  row("ServiceCIDR", "servicecidrs", { ...cluster, subresources: ["status"] }),
  discovery("EndpointSlice", "endpointslices"),
];
