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

interface Candidate extends Endpoint {
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly local: boolean;
}

/** Endpoints of one Service port in a stable order. When none is ready, those that still serve while they end step in (KEP-1669). */
export function backendsOf(port: ServicePort, slices: readonly EndpointSlice[], nodeName: string): Backends {
  const candidates = slices.flatMap((slice) => candidatesOf(port, slice, nodeName));
  const distinct = [...new Map(candidates.map((each) => [`${each.ip} ${each.port}`, each])).values()];
  distinct.sort((a, b) => (a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : a.port - b.port));
  const local = distinct.filter((each) => each.local);
  return { all: usable(distinct), local: usable(local), localReady: local.filter((each) => each.ready).length };
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
  return (slice.endpoints ?? []).flatMap(({ addresses, conditions, nodeName: node }) => {
    const ready = conditions?.ready ?? true;
    const serving = conditions?.serving ?? ready;
    const ip = addresses[0];
    return ip ? [{ ip, port: match.port!, ready, serving, terminating: conditions?.terminating ?? false, local: node === nodeName }] : [];
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
