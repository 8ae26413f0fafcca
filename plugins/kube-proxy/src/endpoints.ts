/** Which endpoints of a Service take traffic: upstream's rules for readiness, termination and traffic policies. */
import type { EndpointSlice, Service, ServicePort } from "@k3s-p/plugin-api/kube";

export interface Endpoint {
  readonly ip: string;
  readonly port: number;
}

export interface Backends {
  /** For traffic under a `Cluster` policy. */
  readonly all: readonly Endpoint[];
  /** For traffic under a `Local` policy: those on this node. */
  readonly local: readonly Endpoint[];
  /** Ready endpoints on this node, for the health check port. */
  readonly localReady: number;
}

/** Where this proxy runs; the zone is known once the node is labelled. */
export interface Place {
  readonly nodeName: string;
  readonly zone?: string | undefined;
}

interface Candidate extends Endpoint {
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly local: boolean;
  /** Nodes and zones that the endpoint is meant for; empty when it is for all. */
  readonly forNodes: readonly string[];
  readonly forZones: readonly string[];
}

/** Endpoints of one Service port in a stable order. When none is ready, those that still serve while they end step in (KEP-1669). */
export function backendsOf(port: ServicePort, slices: readonly EndpointSlice[], place: Place): Backends {
  const candidates = slices.flatMap((slice) => candidatesOf(port, slice, place.nodeName));
  const distinct = [...new Map(candidates.map((each) => [`${each.ip} ${each.port}`, each])).values()];
  distinct.sort((a, b) => (a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : a.port - b.port));
  const local = distinct.filter((each) => each.local);
  return { all: usable(nearest(distinct, place)), local: usable(local), localReady: local.filter((each) => each.ready).length };
}

/**
 * Endpoints that are meant for this node, or else for its zone (`trafficDistribution`). Hints count only when every
 * ready endpoint has them and one of them is for here: nobody is left without endpoints.
 */
function nearest(candidates: readonly Candidate[], { nodeName, zone }: Place): readonly Candidate[] {
  const ready = candidates.filter((each) => each.ready);
  for (const [hints, here] of [["forNodes", nodeName], ["forZones", zone]] as const) {
    if (here === undefined || !ready.every((each) => each[hints].length > 0)) continue;
    const near = ready.filter((each) => each[hints].includes(here));
    if (near.length > 0) return near;
  }
  return candidates;
}

function usable(candidates: readonly Candidate[]): Endpoint[] {
  const ready = candidates.filter((each) => each.ready);
  const chosen = ready.length ? ready : candidates.filter((each) => each.serving && each.terminating);
  return chosen.map(({ ip, port }) => ({ ip, port }));
}

function candidatesOf(port: ServicePort, slice: EndpointSlice, nodeName: string): Candidate[] {
  if (slice.addressType !== "IPv4") return [];
  const match = slice.ports?.find((each) => (each.name ?? "") === (port.name ?? "") && (each.protocol ?? "TCP") === (port.protocol ?? "TCP"));
  if (!match?.port) return [];
  return (slice.endpoints ?? []).flatMap(({ addresses, conditions, nodeName: node, hints }) => {
    const ready = conditions?.ready ?? true;
    const serving = conditions?.serving ?? ready;
    const ip = addresses[0];
    const terminating = conditions?.terminating ?? false;
    const [forNodes, forZones] = [hints?.forNodes, hints?.forZones].map((list) => (list ?? []).map((hint) => hint.name));
    return ip ? [{ ip, port: match.port!, ready, serving, terminating, local: node === nodeName, forNodes: forNodes!, forZones: forZones! }] : [];
  });
}

const serviceNameLabel = "kubernetes.io/service-name";

/** `namespace/name` of the Service that a slice belongs to, as an index key. */
export const serviceKeysOf = (slice: EndpointSlice): readonly string[] => {
  const name = slice.metadata.labels?.[serviceNameLabel];
  return name ? [`${slice.metadata.namespace}/${name}`] : [];
};

/** Services that no proxy serves: without an address, or claimed by another proxy. */
export function isProxied(service: Service): boolean {
  const { clusterIP, type } = service.spec ?? {};
  const labels = service.metadata.labels ?? {};
  return (
    !!clusterIP && clusterIP !== "None" && type !== "ExternalName" &&
    !("service.kubernetes.io/service-proxy-name" in labels) && !("service.kubernetes.io/headless" in labels)
  );
}
