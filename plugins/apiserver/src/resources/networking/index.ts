/** The rows of networking.k8s.io. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import { ingress, ingressClass, ipAddress, networkPolicy, serviceCidr } from "./kinds.ts";

const row = rowsOf("networking.k8s.io", "v1");
const cluster = { namespaced: false } as const;

export const networkingResources: readonly ResourceDef[] = [
  row("IngressClass", "ingressclasses", cluster, ingressClass),
  row("Ingress", "ingresses", { shortNames: ["ing"], subresources: ["status"] }, ingress),
  row("IPAddress", "ipaddresses", { ...cluster, shortNames: ["ip"], nameRule: "path" }, ipAddress),
  row("NetworkPolicy", "networkpolicies", { shortNames: ["netpol"] }, networkPolicy),
  row("ServiceCIDR", "servicecidrs", { ...cluster, subresources: ["status"] }, serviceCidr),
];
