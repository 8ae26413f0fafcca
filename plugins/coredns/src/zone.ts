/** The cluster's zone: names of Services, endpoints and Pods after the Kubernetes DNS specification 1.1. */
import { isIP } from "node:net";
import type { EndpointSlice, EndpointSliceEndpoint, Service } from "@k3s-p/plugin-api/kube";
import type { Handler, MaybePromise, Question, Reply, Resolve } from "./handler.ts";
import { address, answerOf, canonicalIp, cname, inZone, ns, ptr, reverseAddress, soa, srv, txt } from "./records.ts";
import { type Answer, Rcode, type Rr, Type } from "./wire.ts";

/** The objects behind the names. Names of objects are lower case already. */
export interface ClusterView {
  service(namespace: string, name: string): Service | undefined;
  slices(namespace: string, service: string): readonly EndpointSlice[];
  servicesByIp(ip: string): readonly Service[];
  slicesByIp(ip: string): readonly EndpointSlice[];
  namespaceExists(name: string): boolean;
  podExists(namespace: string, ip: string): boolean;
  /** Changes with every object that an answer may depend on. */
  readonly generation: number;
}

export interface ZoneOptions {
  /** `cluster.local` */
  readonly domain: string;
  /** `in-addr.arpa`, `ip6.arpa`, or parts of them. */
  readonly reverseZones: readonly string[];
  readonly ttl: number;
  readonly pods: "disabled" | "insecure" | "verified";
  /** Zones whose unknown names go on to the next handler. */
  readonly fallthrough: readonly string[] | undefined;
  /** ClusterIPs of the DNS service: the address of `ns.dns`. */
  readonly dnsIps: readonly string[];
}

/** What is known under a name; undefined instead means that the name does not exist. */
interface Found {
  readonly ips?: readonly string[];
  readonly cname?: string;
  readonly srv?: readonly Target[];
  readonly txt?: string;
}
interface Target {
  readonly host: string;
  readonly port: number;
  readonly ips: readonly string[];
}

const SCHEMA_VERSION = "1.1.0";
/** Something exists below this name. */
const EMPTY: Found = Object.freeze({});

export function clusterZone(view: ClusterView, options: ZoneOptions): Handler {
  const { domain, ttl, reverseZones } = options;
  // The view follows Pods from the first time it is asked for one.
  if (options.pods === "verified") view.podExists("", "");
  const fallsThrough = (name: string) => options.fallthrough?.some((zone) => inZone(name, zone)) ?? false;
  const authority = (): Rr[] => [soa(domain, ttl, view.generation)];

  function answerForward(question: Question, resolve: Resolve): MaybePromise<Reply | undefined> {
    const { name, type } = question;
    if (name === domain) return apex(type);
    const found = lookup(view, options, name.slice(0, -domain.length - 1).split("."));
    if (!found) return fallsThrough(name) ? undefined : { ...answerOf([], { rcode: Rcode.NxDomain, authority: authority() }), cacheable: true };
    if (found.cname !== undefined) return follow(question, found.cname, resolve);
    return render(question, found);
  }

  function apex(type: number): Reply {
    const answers = type === Type.SOA ? authority() : type === Type.NS ? [ns(domain, ttl, `ns.dns.${domain}`)] : [];
    const additional = type === Type.NS ? options.dnsIps.map((ip) => address(`ns.dns.${domain}`, ttl, ip)) : [];
    return { ...answerOf(answers, { additional, authority: answers.length ? [] : authority() }), cacheable: true };
  }

  function render({ name, type }: Question, found: Found): Reply {
    let answers: Rr[] = [];
    const additional: Rr[] = [];
    if (type === Type.A || type === Type.AAAA) {
      answers = (found.ips ?? []).filter((ip) => isIP(ip) === (type === Type.A ? 4 : 6)).map((ip) => address(name, ttl, ip));
    } else if (type === Type.TXT && found.txt) {
      answers = [txt(name, 28_800, found.txt)];
    } else if (type === Type.SRV && found.srv) {
      const weight = Math.max(1, Math.floor(100 / Math.max(1, found.srv.length)));
      answers = found.srv.map((target) => srv(name, ttl, weight, target.port, target.host));
      const hosts = new Map(found.srv.map((target) => [target.host, target.ips]));
      for (const [host, ips] of hosts) additional.push(...ips.map((ip) => address(host, ttl, ip)));
    }
    if (!answers.length) return { ...answerOf([], { authority: authority() }), cacheable: true };
    return { ...answerOf(answers, { additional }), cacheable: answers.length === 1 };
  }

  /** ExternalName: the alias, and where it leads when somebody here knows. */
  function follow(question: Question, target: string, resolve: Resolve): MaybePromise<Reply> {
    const alias = cname(question.name, ttl, target);
    if (question.type === Type.CNAME || question.depth >= 8) return answerOf([alias]);
    const merge = (rest: Answer): Reply => answerOf([alias, ...rest.answers], {
      rcode: rest.rcode === Rcode.ServFail ? Rcode.NoError : rest.rcode, authority: rest.answers.length ? [] : rest.authority,
    });
    const rest = resolve({ ...question, name: target.toLowerCase(), depth: question.depth + 1, rewritten: false });
    return rest instanceof Promise ? rest.then(merge) : merge(rest);
  }

  function answerReverse({ name, type }: Question): Reply | undefined {
    const ip = reverseAddress(name);
    const names = ip ? namesOfIp(view, domain, ip) : [];
    if (names.length) return { ...answerOf(type === Type.PTR ? names.map((target) => ptr(name, ttl, target)) : []), cacheable: true };
    if (fallsThrough(name)) return undefined;
    const zone = reverseZones.find((z) => inZone(name, z))!;
    return { ...answerOf([], { rcode: ip ? Rcode.NxDomain : Rcode.NoError, authority: [soa(zone, ttl, view.generation)] }), cacheable: true };
  }

  return {
    name: "kubernetes",
    answer(question, resolve) {
      if (inZone(question.name, domain)) return answerForward(question, resolve);
      if (reverseZones.some((zone) => inZone(question.name, zone))) return answerReverse(question);
      return undefined;
    },
  };
}

/** `labels` are those before the domain: `["_http", "_tcp", "web", "default", "svc"]`. */
function lookup(view: ClusterView, options: ZoneOptions, labels: readonly string[]): Found | undefined {
  const root = labels.at(-1);
  const rest = labels.slice(0, -1);
  if (root === "svc") return lookupService(view, options, rest);
  if (root === "pod") return options.pods === "disabled" ? undefined : lookupPod(view, options, rest);
  if (root === "dns-version" && !rest.length) return { txt: SCHEMA_VERSION };
  if (root === "dns" && !rest.length) return EMPTY;
  return root === "dns" && rest.length === 1 && rest[0] === "ns" ? { ips: options.dnsIps } : undefined;
}

function lookupPod(view: ClusterView, options: ZoneOptions, labels: readonly string[]): Found | undefined {
  if (!labels.length) return EMPTY;
  const namespace = labels.at(-1)!;
  if (labels.length > 2 || !view.namespaceExists(namespace)) return undefined;
  if (labels.length === 1) return EMPTY;
  const dotted = labels[0]!.replaceAll("-", ".");
  const ip = isIP(dotted) === 4 ? dotted : canonicalIp(labels[0]!.replaceAll("-", ":"));
  if (!isIP(ip)) return undefined;
  return options.pods === "insecure" || view.podExists(namespace, ip) ? { ips: [ip] } : undefined;
}

function lookupService(view: ClusterView, { domain }: ZoneOptions, labels: readonly string[]): Found | undefined {
  if (!labels.length) return EMPTY;
  const namespace = labels.at(-1)!;
  if (labels.length === 1) return view.namespaceExists(namespace) ? EMPTY : undefined;
  const service = view.service(namespace, labels.at(-2)!);
  if (!service || labels.length > 4) return undefined;
  const host = `${service.metadata.name}.${namespace}.svc.${domain}`;
  const spec = service.spec!;
  if (spec.type === "ExternalName") return labels.length === 2 ? { cname: (spec.externalName ?? "").replace(/\.$/, "") } : undefined;
  const headless = !spec.clusterIP || spec.clusterIP === "None";
  const [first = "", second] = labels;
  if (labels.length === 3 && !first.startsWith("_")) return endpointNamed(view, service, host, first);
  if (labels.length === 3) return first === "_tcp" || first === "_udp" || first === "_sctp" ? EMPTY : undefined;
  const wanted = labels.length === 4 ? { port: first.slice(1), protocol: second!.slice(1) } : undefined;
  if (wanted && (!first.startsWith("_") || !second!.startsWith("_"))) return undefined;
  return headless ? headlessRecords(view, service, host, wanted) : clusterIpRecords(service, host, wanted);
}

type PortFilter = { readonly port: string; readonly protocol: string } | undefined;
const portFits = (filter: PortFilter, port: { readonly name?: string; readonly protocol?: string }): boolean =>
  !filter || (port.name?.toLowerCase() === filter.port && (port.protocol ?? "TCP").toLowerCase() === filter.protocol);

function clusterIpRecords(service: Service, host: string, filter: PortFilter): Found | undefined {
  const ips = service.spec!.clusterIPs ?? [service.spec!.clusterIP!];
  const ports = (service.spec!.ports ?? []).filter((port) => portFits(filter, port));
  if (filter && !ports.length) return undefined;
  return { ips, srv: ports.map((port) => ({ host, port: port.port, ips })) };
}

interface Endpoint {
  readonly host: string;
  readonly ip: string;
  readonly ports: NonNullable<EndpointSlice["ports"]>;
}

const isReady = (service: Service, endpoint: EndpointSliceEndpoint): boolean =>
  endpoint.conditions?.ready !== false || service.spec?.publishNotReadyAddresses === true;
const hostnameOf = (endpoint: EndpointSliceEndpoint, ip: string): string => endpoint.hostname?.toLowerCase() || ip.replace(/[.:]/g, "-");

function endpointsOf(view: ClusterView, service: Service): Endpoint[] {
  const found = new Map<string, Endpoint>();
  for (const slice of view.slices(service.metadata.namespace!, service.metadata.name!)) {
    if (slice.addressType === "FQDN") continue;
    for (const endpoint of slice.endpoints ?? []) {
      if (!isReady(service, endpoint)) continue;
      for (const raw of endpoint.addresses) {
        const ip = canonicalIp(raw);
        const before = found.get(ip);
        found.set(ip, { host: hostnameOf(endpoint, ip), ip, ports: [...(before?.ports ?? []), ...(slice.ports ?? [])] });
      }
    }
  }
  return [...found.values()];
}

function headlessRecords(view: ClusterView, service: Service, host: string, filter: PortFilter): Found | undefined {
  const targets = new Map<string, { host: string; port: number; ips: string[] }>();
  const ips: string[] = [];
  for (const endpoint of endpointsOf(view, service)) {
    const ports = endpoint.ports.filter((port) => portFits(filter, port));
    if (filter && !ports.length) continue;
    ips.push(endpoint.ip);
    for (const port of ports) {
      const key = `${endpoint.host}\0${port.port}\0${port.protocol}`;
      const target = targets.get(key) ?? { host: `${endpoint.host}.${host}`, port: port.port ?? 0, ips: [] };
      target.ips.push(endpoint.ip);
      targets.set(key, target);
    }
  }
  return ips.length ? { ips, srv: [...targets.values()] } : undefined;
}

function endpointNamed(view: ClusterView, service: Service, host: string, name: string): Found | undefined {
  const own = endpointsOf(view, service).filter((endpoint) => endpoint.host === name);
  if (!own.length) return undefined;
  const ips = own.map((endpoint) => endpoint.ip);
  const ports = new Map(own[0]!.ports.map((port) => [`${port.port}/${port.protocol}`, port]));
  return { ips, srv: [...ports.values()].map((port) => ({ host: `${name}.${host}`, port: port.port ?? 0, ips })) };
}

function namesOfIp(view: ClusterView, domain: string, ip: string): readonly string[] {
  const services = view.servicesByIp(ip);
  if (services.length) return services.map((s) => `${s.metadata.name}.${s.metadata.namespace}.svc.${domain}`);
  const names = new Set<string>();
  for (const slice of view.slicesByIp(ip)) {
    const name = slice.metadata.labels?.["kubernetes.io/service-name"];
    const service = name && view.service(slice.metadata.namespace!, name);
    if (!service) continue;
    const headless = service.spec?.clusterIP === "None";
    for (const endpoint of slice.endpoints ?? []) {
      const named = headless || endpoint.hostname;
      if (!named || !isReady(service, endpoint) || !endpoint.addresses.some((a) => canonicalIp(a) === ip)) continue;
      names.add(`${hostnameOf(endpoint, ip)}.${name}.${slice.metadata.namespace}.svc.${domain}`);
    }
  }
  return [...names].sort();
}
