/**
 * What one Service needs in the kernel: map elements, and chains of its own only where maps cannot say it.
 *
 * A plain Service is data. `services` leads its address to one of the fixed chains `pick-N` (or `mark-N`, which also
 * asks for masquerading), and those look its endpoints up by number: no chain and no rule a Service. Session
 * affinity, a `Local` policy and very many endpoints need chains; their names start with `own-`.
 */
import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { formatCidr, parseCidr, type Cidr } from "@k3s-p/plugin-api";
import type { EndpointSlice, Service, ServicePort } from "@k3s-p/plugin-api/kube";
import { backendsOf, isProxied, type Backends, type Endpoint, type Place } from "./endpoints.ts";

/** Fixed chains exist for Services of up to this many endpoints. */
export const pickLimit = 32;
export const masqueradeMark = "0x00004000";

export type MapName =
  | "services" | "nodeports" | "endpoints" | "nodeport-endpoints" | "refused" | "refused-nodeports"
  | "hairpin" | "lb-firewall" | "lb-sources";

/** One element of a map (or of a set, with an empty value). */
export interface Element {
  readonly map: MapName;
  readonly key: string;
  readonly value: string;
}

/** Flows of a connectionless Service, to be forgotten when their endpoint goes. */
export interface Flow {
  /** `10.43.0.10`, or undefined for a node port. */
  readonly address: string | undefined;
  readonly port: number;
  readonly endpoints: readonly Endpoint[];
}

export interface HealthPort {
  readonly port: number;
  readonly localEndpoints: number;
}

export interface ServiceRules {
  readonly elements: readonly Element[];
  /** Chain name to its rules. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Names of sets that hold the clients of one endpoint. */
  readonly affinitySets: readonly string[];
  readonly udp: readonly Flow[];
  readonly health: HealthPort | undefined;
}

export interface RuleContext extends Place {
  readonly clusterCidr: string;
}

interface Builder {
  readonly elements: Element[];
  readonly chains: Map<string, readonly string[]>;
  readonly affinitySets: string[];
  readonly udp: Flow[];
}

export const noRules: ServiceRules = { elements: [], chains: new Map(), affinitySets: [], udp: [], health: undefined };

export function serviceRules(service: Service, slices: readonly EndpointSlice[], context: RuleContext): ServiceRules {
  if (!isProxied(service)) return noRules;
  const build: Builder = { elements: [], chains: new Map(), affinitySets: [], udp: [] };
  let health: HealthPort | undefined;
  for (const port of service.spec?.ports ?? []) {
    const backends = backendsOf(port, slices, context);
    portRules(build, describePort(service, port, backends), context);
    health ??= healthPortOf(service, backends);
  }
  return { ...build, health };
}

interface PortDescription {
  readonly id: string;
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly port: number;
  readonly nodePort: number | undefined;
  readonly clusterIps: readonly string[];
  readonly externalIps: readonly string[];
  readonly loadBalancerIps: readonly string[];
  readonly sourceRanges: readonly string[] | undefined;
  /** Seconds, when clients stay with their endpoint. */
  readonly affinity: number | undefined;
  readonly externalLocal: boolean;
  readonly internalLocal: boolean;
  readonly backends: Backends;
}

function describePort(service: Service, port: ServicePort, backends: Backends): PortDescription {
  const { spec, status, metadata } = service;
  const ipv4 = (list: readonly (string | undefined)[] = []) => [...new Set(list.filter((ip): ip is string => !!ip && isIP(ip) === 4))];
  const ingress = (status?.loadBalancer?.ingress ?? []).filter((each) => (each.ipMode ?? "VIP") === "VIP");
  const external = spec?.type === "NodePort" || spec?.type === "LoadBalancer";
  return {
    id: shortHash(`${metadata.namespace}/${metadata.name}:${port.port}/${port.protocol ?? "TCP"}`),
    protocol: (port.protocol ?? "TCP").toLowerCase() as PortDescription["protocol"],
    port: port.port,
    nodePort: external ? port.nodePort || undefined : undefined,
    clusterIps: ipv4(spec?.clusterIPs?.length ? spec.clusterIPs : [spec?.clusterIP]),
    externalIps: ipv4(spec?.externalIPs),
    loadBalancerIps: spec?.type === "LoadBalancer" ? ipv4(ingress.map((each) => each.ip)) : [],
    sourceRanges: spec?.type === "LoadBalancer" && spec.loadBalancerSourceRanges?.length ? spec.loadBalancerSourceRanges : undefined,
    affinity: spec?.sessionAffinity === "ClientIP" ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 10_800) : undefined,
    externalLocal: spec?.externalTrafficPolicy === "Local",
    internalLocal: spec?.internalTrafficPolicy === "Local",
    backends,
  };
}

const shortHash = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 10);

function healthPortOf({ spec }: Service, backends: Backends): HealthPort | undefined {
  const port = spec?.externalTrafficPolicy === "Local" ? spec.healthCheckNodePort : undefined;
  return port ? { port, localEndpoints: backends.localReady } : undefined;
}

function portRules(build: Builder, port: PortDescription, context: RuleContext): void {
  const { backends, protocol } = port;
  const externalIps = [...new Set([...port.externalIps, ...port.loadBalancerIps])];
  for (const { ip } of new Set([...backends.all, ...backends.local])) add(build, "hairpin", `${ip} . ${ip}`);
  internalRules(build, port);
  externalRules(build, port, externalIps, context);
  sourceRules(build, port);
  if (protocol === "udp") {
    for (const address of [...port.clusterIps, ...externalIps]) build.udp.push({ address, port: port.port, endpoints: backends.all });
    if (port.nodePort) build.udp.push({ address: undefined, port: port.nodePort, endpoints: backends.all });
  }
}

function add(build: Builder, map: MapName, key: string, value = ""): void {
  build.elements.push({ map, key, value });
}

const addressKey = (port: PortDescription, ip: string) => `${ip} . ${port.protocol} . ${port.port}`;

function internalRules(build: Builder, port: PortDescription): void {
  const { all, local } = port.backends;
  const chosen = port.internalLocal ? local : all;
  for (const ip of port.clusterIps) {
    const key = addressKey(port, ip);
    if (!chosen.length) add(build, "refused", key, all.length ? "drop" : "goto refuse");
    else if (isPlain(port, chosen)) lookUp(build, "services", "endpoints", key, "pick", chosen);
    else add(build, "services", key, `goto ${pickChain(build, port, port.internalLocal ? "int" : "all", chosen)}`);
  }
}

function externalRules(build: Builder, port: PortDescription, ips: readonly string[], context: RuleContext): void {
  const { all } = port.backends;
  const plain = isPlain(port, all) && !port.externalLocal;
  const nodePort = port.nodePort ? `${port.protocol} . ${port.nodePort}` : undefined;
  if (!ips.length && !nodePort) return;
  if (!all.length) {
    for (const ip of ips) add(build, "refused", addressKey(port, ip), "goto refuse");
    if (nodePort) add(build, "refused-nodeports", nodePort, "goto refuse");
  } else if (plain) {
    for (const ip of ips) lookUp(build, "services", "endpoints", addressKey(port, ip), "mark", all);
    if (nodePort) lookUp(build, "nodeports", "nodeport-endpoints", nodePort, "node", all);
  } else {
    const chain = externalChain(build, port, context);
    for (const ip of ips) add(build, "services", addressKey(port, ip), `goto ${chain}`);
    if (nodePort) add(build, "nodeports", nodePort, `goto ${chain}`);
  }
}

/** Whether the fixed chains can serve these endpoints. */
const isPlain = (port: PortDescription, endpoints: readonly Endpoint[]) => port.affinity === undefined && endpoints.length <= pickLimit;

function lookUp(
  build: Builder, verdicts: MapName, endpoints: MapName, key: string, kind: "pick" | "mark" | "node", list: readonly Endpoint[],
): void {
  add(build, verdicts, key, `goto ${kind}-${list.length}`);
  list.forEach(({ ip, port }, slot) => add(build, endpoints, `${key} . ${slot}`, `${ip} . ${port}`));
}

/**
 * Entry for traffic to an address outside of the cluster's. Under a `Local` policy it keeps the client's address and this
 * node's endpoints; only pods and the node itself, for whom the address is a short cut, reach all endpoints.
 */
function externalChain(build: Builder, port: PortDescription, { clusterCidr }: RuleContext): string {
  const name = `own-ext-${port.id}`;
  const { all, local } = port.backends;
  const toAll = `goto ${pickChain(build, port, "all", all)}`;
  const mark = `meta mark set meta mark | ${masqueradeMark}`;
  const rules = port.externalLocal
    ? [
        `ip saddr ${clusterCidr} ${toAll}`,
        `fib saddr type local ${mark} ${toAll}`,
        local.length ? `goto ${pickChain(build, port, "loc", local)}` : "drop",
      ]
    : [`${mark} ${toAll}`];
  build.chains.set(name, rules);
  return name;
}

/** A chain of the Service's own that chooses among `endpoints`. */
function pickChain(build: Builder, port: PortDescription, kind: "all" | "int" | "loc", endpoints: readonly Endpoint[]): string {
  const name = `own-${kind}-${port.id}`;
  if (build.chains.has(name)) return name;
  const choose = `numgen random mod ${endpoints.length}`;
  if (port.affinity === undefined) {
    const targets = endpoints.map((each, slot) => `${slot} : ${each.ip} . ${each.port}`).join(", ");
    build.chains.set(name, [`meta l4proto ${port.protocol} dnat ip to ${choose} map { ${targets} }`]);
    return name;
  }
  const members = endpoints.map((endpoint) => affinityMember(build, port, endpoint, port.affinity!));
  const stay = members.map(({ set, chain }) => `ip saddr @${set} goto ${chain}`);
  const spread = `${choose} vmap { ${members.map(({ chain }, slot) => `${slot} : goto ${chain}`).join(", ")} }`;
  build.chains.set(name, [...stay, spread]);
  return name;
}

/** A set and a chain an endpoint: the set remembers its clients until they have been away for the timeout. */
function affinityMember(build: Builder, port: PortDescription, { ip, port: target }: Endpoint, timeout: number) {
  const suffix = `${port.id}-${shortHash(`${ip}:${target}`)}`;
  const [set, chain] = [`own-clients-${suffix}`, `own-ep-${suffix}`];
  if (!build.chains.has(chain)) {
    build.affinitySets.push(set);
    build.chains.set(chain, [`update @${set} { ip saddr timeout ${timeout}s }`, `meta l4proto ${port.protocol} dnat to ${ip}:${target}`]);
  }
  return { set, chain };
}

/** `loadBalancerSourceRanges`: who may reach the load balancer's addresses. Ranges inside others are dropped, as sets refuse overlaps. */
function sourceRules(build: Builder, port: PortDescription): void {
  if (!port.sourceRanges) return;
  for (const ip of port.loadBalancerIps) {
    const key = addressKey(port, ip);
    add(build, "lb-firewall", key);
    for (const range of widest(port.sourceRanges)) add(build, "lb-sources", `${key} . ${range}`);
  }
}

function widest(ranges: readonly string[]): string[] {
  const parsed = ranges.map((each) => parseCidr(each.trim())).filter((each): each is Cidr => each?.family === 4);
  parsed.sort((a, b) => a.prefix - b.prefix);
  const contains = (a: Cidr, b: Cidr) => a.prefix <= b.prefix && b.base >> BigInt(32 - a.prefix) === a.base >> BigInt(32 - a.prefix);
  const kept: Cidr[] = [];
  for (const each of parsed) if (!kept.some((wide) => contains(wide, each))) kept.push(each);
  return kept.map(formatCidr);
}
