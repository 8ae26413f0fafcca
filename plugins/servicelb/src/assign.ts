/** Which nodes answer for which LoadBalancer Service: pure rules, after K3s's ServiceLB. */
import { conditionIsTrue, keyOf, matchesMap } from "@k3s-p/plugin-api/kube";
import type { EndpointSlice, Node, Service } from "@k3s-p/plugin-api/kube";
import { isIP } from "node:net";

export const loadBalancerClass = "io.cattle.k3s/servicelb";

/** A node with this label, whatever its value, makes the labelled ones (`true`) the only nodes that serve. */
const enableLabel = "svccontroller.k3s.cattle.io/enablelb";
/** On a Service: only nodes with the same value serve it. Counts together with `enableLabel`. */
const poolLabel = "svccontroller.k3s.cattle.io/lbpool";

export interface Assignment {
  /** Addresses in the order of the Service's families; empty while no node can serve. */
  readonly addresses: readonly string[];
  /** Why there are none. */
  readonly reason?: string;
}

const none = "There are no available nodes for LoadBalancer";

/**
 * One answer for each Service that is ours. A port of a node serves one Service: those that have addresses keep
 * them, then the oldest wins, and the others wait.
 */
export function assign(
  services: readonly Service[],
  nodes: readonly Node[],
  slicesOf: (service: Service) => readonly EndpointSlice[],
): ReadonlyMap<Service, Assignment> {
  const candidates = nodes.filter(canServe);
  const restricted = nodes.some((node) => node.metadata.labels?.[enableLabel] !== undefined);
  const holders = new Map<string, Service>();
  const result = new Map<Service, Assignment>();
  for (const service of services.filter(isOurs).toSorted(byClaim)) {
    const eligible = candidates.filter((node) => !restricted || isSelected(node, service));
    const conflicts: string[] = [];
    const serving = eligible.filter((node) => occupy(node, service, holders, conflicts));
    const local = service.spec?.externalTrafficPolicy === "Local";
    const ready = local ? readyNodes(slicesOf(service)) : undefined;
    const addresses = addressesOf(serving.filter((node) => ready?.has(node.metadata.name!) ?? true), service);
    const reason = conflicts.length ? `${none}: ${[...new Set(conflicts)].join(", ")}` : none;
    result.set(service, addresses.length ? { addresses } : { addresses, reason });
  }
  return result;
}

/** LoadBalancer Services without a class, or with ours. */
export function isOurs({ spec, metadata }: Service): boolean {
  if (spec?.type !== "LoadBalancer" || metadata.deletionTimestamp) return false;
  return spec.loadBalancerClass === undefined || spec.loadBalancerClass === loadBalancerClass;
}

/** Taints that ServiceLB and every DaemonSet tolerate. */
const tolerated: readonly string[] = [
  "node-role.kubernetes.io/master:NoSchedule", "node-role.kubernetes.io/control-plane:NoSchedule",
  "CriticalAddonsOnly:NoSchedule", "CriticalAddonsOnly:NoExecute", "node.kubernetes.io/unschedulable:NoSchedule",
  "node.kubernetes.io/disk-pressure:NoSchedule", "node.kubernetes.io/memory-pressure:NoSchedule",
  "node.kubernetes.io/pid-pressure:NoSchedule",
];

function canServe({ metadata, spec, status }: Node): boolean {
  if (metadata.deletionTimestamp || !conditionIsTrue(status?.conditions, "Ready")) return false;
  return (spec?.taints ?? []).every((t) => t.effect === "PreferNoSchedule" || tolerated.includes(`${t.key}:${t.effect}`));
}

function isSelected({ metadata }: Node, service: Service): boolean {
  const pool = service.metadata.labels?.[poolLabel];
  return matchesMap({ [enableLabel]: "true", ...(pool && { [poolLabel]: pool }) }, metadata.labels);
}

function byClaim(a: Service, b: Service): number {
  const holds = (s: Service) => (s.status?.loadBalancer?.ingress?.length ? 0 : 1);
  const text = (s: Service) => `${s.metadata.creationTimestamp ?? ""} ${keyOf(s)}`;
  return holds(a) - holds(b) || (text(a) < text(b) ? -1 : 1);
}

/** Takes all of the Service's ports on the node, or none of them. */
function occupy(node: Node, service: Service, holders: Map<string, Service>, conflicts: string[]): boolean {
  const ports = (service.spec?.ports ?? []).map((port) => `${port.port}/${port.protocol ?? "TCP"}`);
  const slot = (port: string) => `${node.metadata.name} ${port}`;
  const taken = ports.filter((port) => holders.has(slot(port)));
  for (const port of taken) conflicts.push(`port ${port} is used by ${keyOf(holders.get(slot(port))!)}`);
  if (taken.length) return false;
  for (const port of ports) holders.set(slot(port), service);
  return true;
}

function readyNodes(slices: readonly EndpointSlice[]): ReadonlySet<string> {
  const endpoints = slices.flatMap((slice) => slice.endpoints ?? []);
  return new Set(endpoints.filter((e) => e.conditions?.ready !== false && e.nodeName).map((e) => e.nodeName!));
}

/** External addresses when any of the nodes has one, internal ones otherwise. */
function addressesOf(nodes: readonly Node[], service: Service): readonly string[] {
  const all = nodes.flatMap((node) => node.status?.addresses ?? []);
  const external = all.filter((a) => a.type === "ExternalIP");
  const chosen = external.length ? external : all.filter((a) => a.type === "InternalIP");
  const unique = [...new Set(chosen.map((a) => a.address))].sort();
  const families = service.spec?.ipFamilies ?? ["IPv4"];
  return families.flatMap((family) => unique.filter((ip) => isIP(ip) === (family === "IPv6" ? 6 : 4)));
}
