/** The objects that every cluster has from its first second. */
import { isIPv6 } from "node:net";
import { addressAt, parseCidr } from "@k3s-p/plugin-api/net";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import { compareVersions, groupPriority, isBuiltinGroup, versionPriority } from "../discovery/priorities.ts";
import type { Obj, ResourceDef } from "../resources/types.ts";

export const systemNamespaces = ["default", "kube-node-lease", "kube-public", "kube-system"] as const;

export const namespaceObjects = (): Obj[] =>
  systemNamespaces.map((name) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } }));

export const priorityClassObjects = (): Obj[] => [
  priorityClass("system-node-critical", 2_000_001_000,
    "Used for system critical pods that must not be moved from their current node."),
  priorityClass("system-cluster-critical", 2_000_000_000,
    "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
];

const priorityClass = (name: string, value: number, description: string): Obj => ({
  apiVersion: "scheduling.k8s.io/v1", kind: "PriorityClass", metadata: { name }, value, description,
});

const PORT_NAME = "https";

/** The Service `kubernetes`, through which pods reach the API server. */
export function kubernetesService(cluster: ClusterSettings): Obj {
  const addresses = cluster.serviceCidr.slice(0, 1).map((text) => addressAt(parseCidr(text)!, 1));
  return {
    apiVersion: "v1", kind: "Service",
    metadata: { name: "kubernetes", namespace: "default", labels: { component: "apiserver", provider: "kubernetes" } },
    spec: {
      type: "ClusterIP", clusterIP: addresses[0], clusterIPs: addresses, sessionAffinity: "None",
      ipFamilyPolicy: "SingleStack", ipFamilies: addresses.map((ip) => (isIPv6(ip) ? "IPv6" : "IPv4")),
      ports: [{ name: PORT_NAME, protocol: "TCP", port: 443, targetPort: cluster.httpsListenPort }],
    },
  };
}

/** Where the Service `kubernetes` leads; upstream allows no loopback address there. */
export function kubernetesEndpoints(cluster: ClusterSettings): { endpoints: Obj; slice: Obj } | undefined {
  const address = cluster.advertiseAddress;
  if (address.startsWith("127.") || address === "::1") return undefined;
  const port = cluster.httpsListenPort;
  return {
    endpoints: {
      apiVersion: "v1", kind: "Endpoints",
      metadata: { name: "kubernetes", namespace: "default", labels: { "endpointslice.kubernetes.io/skip-mirror": "true" } },
      subsets: [{ addresses: [{ ip: address }], ports: [{ name: PORT_NAME, port, protocol: "TCP" }] }],
    },
    slice: {
      apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice",
      metadata: { name: "kubernetes", namespace: "default", labels: { "kubernetes.io/service-name": "kubernetes" } },
      addressType: isIPv6(address) ? "IPv6" : "IPv4",
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
      ports: [{ name: PORT_NAME, port, protocol: "TCP" }],
    },
  };
}

/** What an aggregated API server needs to know to trust requests that this server passes on. */
export const extensionAuthentication = (clientCa: string, requestHeaderCa: string): Obj => ({
  apiVersion: "v1", kind: "ConfigMap",
  metadata: { name: "extension-apiserver-authentication", namespace: "kube-system" },
  data: {
    "client-ca-file": clientCa,
    "requestheader-allowed-names": '["system:auth-proxy"]',
    "requestheader-client-ca-file": requestHeaderCa,
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-username-headers": '["X-Remote-User"]',
  },
});

export const defaultServiceCidr = (cluster: ClusterSettings): Obj => ({
  apiVersion: "networking.k8s.io/v1", kind: "ServiceCIDR", metadata: { name: "kubernetes" },
  spec: { cidrs: [...cluster.serviceCidr] },
});

/** One APIService for each built-in group and version but its own, as the aggregator registers them. */
export function localApiServices(defs: readonly ResourceDef[]): Obj[] {
  const served = new Map(defs.map((def) => [`${def.version}.${def.group}`, def]));
  const list = [...served.values()].filter((def) => isBuiltinGroup(def.group) && def.group !== "apiregistration.k8s.io");
  list.sort((a, b) => groupPriority(b.group) - groupPriority(a.group) || compareVersions(a.version, b.version));
  return list.map(({ group, version }) => ({
    apiVersion: "apiregistration.k8s.io/v1", kind: "APIService",
    metadata: { name: `${version}.${group}`, labels: { "kube-aggregator.kubernetes.io/automanaged": "onstart" } },
    spec: {
      ...(group && { group }), version,
      groupPriorityMinimum: groupPriority(group), versionPriority: Math.max(1, Math.round(versionPriority(group, version))),
    },
  }));
}
