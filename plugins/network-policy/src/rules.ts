/**
 * What the policies ask of this node, as the maps, sets and chains of one nftables table. Pure.
 *
 * `egress` and `ingress` lead the address of a selected pod to a chain. A chain lists what some policy allows, each with
 * `return`, and ends by rejecting: whatever one policy allows is allowed. Pods under the same policies share a chain.
 */
import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { keyOf, matchesSelector, type Namespace, type NetworkPolicy, type Pod } from "@k3s-p/plugin-api/kube";
import { rangesOf, type IpBlock } from "./ranges.ts";

export interface Cluster {
  readonly nodeName: string;
  readonly policies: readonly NetworkPolicy[];
  readonly pods: readonly Pod[];
  readonly namespaces: readonly Namespace[];
}

export interface SetState {
  /** `ipv4_addr`, or `ipv4_addr : verdict` for a map. */
  readonly type: string;
  /** Key to value; a set's values are empty. */
  readonly elements: ReadonlyMap<string, string>;
}

export interface Ruleset {
  readonly sets: ReadonlyMap<string, SetState>;
  /** Chain name to its rules. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
}

type Direction = "Ingress" | "Egress";
type Spec = NonNullable<NetworkPolicy["spec"]>;
type IngressRule = NonNullable<Spec["ingress"]>[number];
type Peer = NonNullable<IngressRule["from"]>[number];
type Port = NonNullable<IngressRule["ports"]>[number];

interface Rule {
  readonly peers: readonly Peer[];
  readonly ports: readonly Port[];
}

interface Builder {
  readonly pods: ReadonlyMap<string, readonly PodFacts[]>;
  readonly namespaceLabels: ReadonlyMap<string, Labels>;
  readonly sets: Map<string, { readonly type: string; readonly elements: Map<string, string> }>;
  readonly chains: Map<string, readonly string[]>;
}

type Labels = Readonly<Record<string, string>> | undefined;

/** The parts of a pod that rules depend on. */
export interface PodFacts {
  readonly namespace: string;
  readonly node: string;
  readonly labels: Labels;
  readonly ips: readonly string[];
  /** Named ones only. */
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

export function rulesetOf({ nodeName, policies, pods, namespaces }: Cluster): Ruleset {
  const build: Builder = {
    pods: Map.groupBy(pods.map(factsOf).filter((pod) => pod !== undefined), ({ namespace }) => namespace),
    namespaceLabels: new Map(namespaces.map(({ metadata }) => [metadata.name!, metadata.labels])),
    sets: new Map(), chains: new Map(),
  };
  const [egress, ingress] = [setOf(build, "egress", "ipv4_addr : verdict"), setOf(build, "ingress", "ipv4_addr : verdict")];
  const self = setOf(build, "self", "ipv4_addr . ipv4_addr");
  for (const [namespace, inNamespace] of Map.groupBy(policies, ({ metadata }) => metadata.namespace!)) {
    for (const pod of build.pods.get(namespace) ?? []) {
      if (pod.node !== nodeName) continue;
      const selecting = inNamespace.filter(({ spec }) => matchesSelector(spec?.podSelector ?? {}, pod.labels));
      for (const [direction, map] of [["Egress", egress], ["Ingress", ingress]] as const) {
        const chain = chainOf(build, direction, selecting.filter(({ spec }) => directionsOf(spec).includes(direction)));
        for (const ip of chain ? pod.ips : []) {
          map.set(ip, `jump ${chain}`);
          self.set(`${ip} . ${ip}`, "");
        }
      }
    }
  }
  return build;
}

/** Undefined for pods that policies do not know: on the host's network, ended, or still without an address. */
export function factsOf({ metadata, spec, status }: Pod): PodFacts | undefined {
  const ended = status?.phase === "Succeeded" || status?.phase === "Failed";
  const ips = [...new Set([status?.podIP, ...(status?.podIPs ?? []).map(({ ip }) => ip)])].filter((ip): ip is string => !!ip && isIP(ip) === 4);
  if (ended || spec?.hostNetwork || !ips.length) return undefined;
  const running = [...(spec?.containers ?? []), ...(spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === "Always")];
  const ports = running.flatMap((container) => container.ports ?? []).filter(({ name }) => name);
  return {
    namespace: metadata.namespace!, node: spec?.nodeName ?? "", labels: metadata.labels, ips,
    ports: ports.map(({ name, protocol = "TCP", containerPort }) => ({ name: name!, protocol: protocol.toLowerCase(), port: containerPort })),
  };
}

/** `policyTypes`, or its default: a policy with egress rules is for both. */
const directionsOf = (spec: Spec | undefined): readonly string[] => spec?.policyTypes ?? (spec?.egress ? ["Ingress", "Egress"] : ["Ingress"]);

function setOf({ sets }: Builder, name: string, type: string): Map<string, string> {
  const set = sets.get(name) ?? { type, elements: new Map<string, string>() };
  sets.set(name, set);
  return set.elements;
}

/** The chain of what these policies allow together; none when none of them is for this direction. */
function chainOf(build: Builder, direction: Direction, policies: readonly NetworkPolicy[]): string | undefined {
  if (!policies.length) return undefined;
  const sorted = policies.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const name = `${direction.toLowerCase()}-${shortHash(sorted.map(keyOf))}`;
  if (!build.chains.has(name)) {
    const allowed = sorted.flatMap((policy) => rulesOf(policy, direction).flatMap((rule) => allow(build, direction, policy.metadata.namespace!, rule)));
    build.chains.set(name, [...allowed, ...refusal]);
  }
  return name;
}

/** TCP clients get a reset, as the kernel limits how many ICMP errors it sends. */
const refusal: readonly string[] = ["meta l4proto tcp reject with tcp reset", "reject"];

const shortHash = (of: unknown): string => createHash("sha256").update(JSON.stringify(of)).digest("hex").slice(0, 12);

function rulesOf({ spec }: NetworkPolicy, direction: Direction): readonly Rule[] {
  const sides = direction === "Ingress" ? (spec?.ingress ?? []).map(({ from, ports }) => ({ peers: from, ports })) : (spec?.egress ?? []).map(({ to, ports }) => ({ peers: to, ports }));
  return sides.map(({ peers = [], ports = [] }) => ({ peers, ports }));
}

function allow(build: Builder, direction: Direction, namespace: string, { peers, ports }: Rule): readonly string[] {
  const field = direction === "Ingress" ? "ip saddr" : "ip daddr";
  const from = peers.length ? peerMatches(build, field, namespace, peers) : [""];
  const to = ports.length ? ports.map((port) => portMatch(build, port)) : [""];
  return from.flatMap((peer) => to.map((port) => [peer, port, "return"].filter(Boolean).join(" ")));
}

function peerMatches(build: Builder, field: string, namespace: string, peers: readonly Peer[]): readonly string[] {
  const blocks = peers.map(({ ipBlock }) => ipBlock).filter((block) => block !== undefined) satisfies readonly IpBlock[];
  const selectors = peers.filter(({ ipBlock }) => !ipBlock);
  const ranges = rangesOf(blocks);
  if (ranges === "all") return [""];
  return [
    ...(ranges.length ? [`${field} { ${ranges.join(", ")} }`] : []),
    ...(selectors.length ? [`${field} @${podSet(build, namespace, selectors)}`] : []),
  ];
}

/** The addresses of all pods that one of the selectors means; rules that select alike share the set. */
function podSet(build: Builder, namespace: string, peers: readonly Peer[]): string {
  const own = peers.some(({ namespaceSelector }) => !namespaceSelector) ? namespace : "";
  const name = `pods-${shortHash([own, peers])}`;
  if (build.sets.has(name)) return name;
  const elements = setOf(build, name, "ipv4_addr");
  for (const { namespaceSelector, podSelector = {} } of peers) {
    for (const [each, pods] of build.pods) {
      const meant = namespaceSelector ? matchesSelector(namespaceSelector, build.namespaceLabels.get(each)) : each === namespace;
      for (const pod of meant ? pods : []) if (matchesSelector(podSelector, pod.labels)) for (const ip of pod.ips) elements.set(ip, "");
    }
  }
  return name;
}

function portMatch(build: Builder, { port, protocol = "TCP", endPort }: Port): string {
  const l4 = protocol.toLowerCase();
  if (port === undefined) return `meta l4proto ${l4}`;
  const wanted: unknown = port;
  if (typeof wanted === "string") return `ip daddr . meta l4proto . th dport @${namedPortSet(build, wanted, l4)}`;
  return `${l4} dport ${endPort ? `${port}-${endPort}` : port}`;
}

/** Which address has the named port at which number: each pod may choose its own. */
function namedPortSet(build: Builder, name: string, protocol: string): string {
  const set = `port-${shortHash([name, protocol])}`;
  if (build.sets.has(set)) return set;
  const elements = setOf(build, set, "ipv4_addr . inet_proto . inet_service");
  for (const pod of [...build.pods.values()].flat()) {
    for (const each of pod.ports) {
      if (each.name === name && each.protocol === protocol) for (const ip of pod.ips) elements.set(`${ip} . ${protocol} . ${each.port}`, "");
    }
  }
  return set;
}
