/** What becomes of a Service when it is written: families, cluster addresses and node ports, and what a change of type drops. */
import { isIP } from "node:net";
import { apiError, type FieldError, invalid } from "@k3s-p/plugin-api/kube";
import { items, same } from "../fields.ts";
import type { Obj, StrategyContext } from "../types.ts";
import { invalidValue } from "../validate/field.ts";
import { type Allocator, createAllocator } from "./allocator.ts";

type Family = "IPv4" | "IPv6";

export function prepareServiceCreate(service: Obj, ctx: StrategyContext): void {
  service.status = { loadBalancer: {} };
  normalizeClusterIps(service.spec, undefined);
  allocate(service, undefined, ctx);
}

export function prepareServiceUpdate(service: Obj, old: Obj, ctx: StrategyContext): void {
  service.status = old.status;
  normalizeClusterIps(service.spec, old.spec);
  keepAllocated(service.spec, old.spec);
  dropByType(service.spec, old.spec);
  allocate(service, old, ctx);
}

const usesClusterIp = (spec: Obj): boolean => spec.type === "ClusterIP" || spec.type === "NodePort" || spec.type === "LoadBalancer";
const usesNodePorts = (spec: Obj): boolean =>
  spec.type === "NodePort" || (spec.type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false);
const mayHaveNodePorts = (spec: Obj): boolean => spec.type === "NodePort" || spec.type === "LoadBalancer";
const usesHealthCheckPort = (spec: Obj): boolean => spec.type === "LoadBalancer" && spec.externalTrafficPolicy === "Local";

/** `clusterIP` is the first of `clusterIPs`; an old client knows and changes only the former. */
function normalizeClusterIps(spec: Obj, old: Obj | undefined): void {
  const ips: string[] | undefined = spec.clusterIPs;
  if (!old) {
    if (spec.clusterIP && !ips?.length) spec.clusterIPs = [spec.clusterIP];
    return;
  }
  const unchanged = same(ips, old.clusterIPs);
  if (!spec.clusterIP && old.clusterIP && unchanged) delete spec.clusterIPs;
  else if (spec.clusterIP && spec.clusterIP !== old.clusterIP && unchanged) spec.clusterIPs = [spec.clusterIP];
  else if (spec.clusterIP && !old.clusterIP && !ips?.length) spec.clusterIPs = [spec.clusterIP];
}

/** A PUT that leaves out what the server allocated keeps it. */
function keepAllocated(spec: Obj, old: Obj): void {
  if (usesClusterIp(spec) && usesClusterIp(old)) {
    spec.clusterIP ||= old.clusterIP;
    if (!spec.clusterIPs?.length && spec.clusterIP === old.clusterIP) spec.clusterIPs = old.clusterIPs;
  }
  if (mayHaveNodePorts(spec) && mayHaveNodePorts(old)) {
    const before = new Map(items(old, "ports").map((p) => [`${p.protocol}/${p.port}`, p.nodePort]));
    for (const port of items(spec, "ports")) if (!port.nodePort) port.nodePort = before.get(`${port.protocol}/${port.port}`);
    for (const port of items(spec, "ports")) if (!port.nodePort) delete port.nodePort;
  }
  if (usesHealthCheckPort(spec) && usesHealthCheckPort(old)) spec.healthCheckNodePort ||= old.healthCheckNodePort;
}

/** Fields that belong to the old type go, unless the writer set them anew. */
function dropByType(spec: Obj, old: Obj): void {
  const drop = (fields: readonly string[]) => {
    for (const field of fields) if (same(spec[field], old[field])) delete spec[field];
  };
  if (usesClusterIp(old) && !usesClusterIp(spec)) {
    if (spec.clusterIP === old.clusterIP && same(spec.clusterIPs, old.clusterIPs)) drop(["clusterIP", "clusterIPs"]);
    drop(["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
  }
  if (mayHaveNodePorts(old) && !mayHaveNodePorts(spec)) {
    const before = items(old, "ports");
    for (const port of items(spec, "ports")) if (before.some((p) => p.nodePort === port.nodePort)) delete port.nodePort;
  }
  if (usesHealthCheckPort(old) && !usesHealthCheckPort(spec)) drop(["healthCheckNodePort"]);
  if (old.type === "LoadBalancer" && spec.type !== "LoadBalancer") drop(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
  const external = mayHaveNodePorts(spec) || spec.externalIPs?.length > 0;
  if (!external) drop(["externalTrafficPolicy"]);
}

function allocate(service: Obj, old: Obj | undefined, ctx: StrategyContext): void {
  const { spec } = service;
  const allocator = createAllocator(service, ctx);
  const fail = (errors: readonly FieldError[]): never => {
    throw invalid("", "Service", service.metadata?.name ?? "", errors);
  };
  if (usesClusterIp(spec)) {
    const errors = fillFamilies(spec, old?.spec, allocator, ctx);
    if (errors.length > 0) fail(errors);
    allocateIps(spec, old?.spec, allocator, fail);
  }
  allocatePorts(service, old, allocator, fail);
}

const familyOf = (ip: string): Family | undefined => (isIP(ip) === 4 ? "IPv4" : isIP(ip) === 6 ? "IPv6" : undefined);
const other = (family: Family): Family => (family === "IPv4" ? "IPv6" : "IPv4");

/** Settles `ipFamilyPolicy` and `ipFamilies` from what is given and what the cluster has. */
function fillFamilies(spec: Obj, old: Obj | undefined, allocator: Allocator, ctx: StrategyContext): FieldError[] {
  const ips: string[] = spec.clusterIPs ?? [];
  const families: Family[] = [...(spec.ipFamilies ?? [])];
  const hasFamily = (family: Family): boolean => allocator.cidr(family === "IPv4" ? 4 : 6) !== undefined;
  const dual = hasFamily("IPv4") && hasFamily("IPv6");
  const preferred: Family = ctx.cluster.serviceCidr[0]?.includes(":") ? "IPv6" : "IPv4";
  ips.forEach((ip, i) => {
    const family = familyOf(ip);
    if (family && families[i] === undefined) families[i] = family;
  });
  const selectorless = ips[0] === "None" && Object.keys(spec.selector ?? {}).length === 0;
  if (selectorless) return fillSelectorless(spec, families, preferred);

  spec.ipFamilyPolicy ??= families.length === 2 || ips.length === 2 ? "RequireDualStack" : "SingleStack";
  if (old && spec.ipFamilyPolicy === "SingleStack" && old.ipFamilyPolicy !== "SingleStack" && families.length === 2) {
    families.length = 1;
    if (ips.length === 2) spec.clusterIPs = [ips[0]];
  }
  if (families.length === 0) families.push(preferred);
  if (spec.ipFamilyPolicy !== "SingleStack" && families.length === 1 && dual) families.push(other(families[0]!));
  spec.ipFamilies = families;
  if (spec.ipFamilyPolicy === "RequireDualStack" && !dual) {
    return [invalidValue("spec.ipFamilyPolicy", spec.ipFamilyPolicy, "this cluster is not configured for dual-stack services")];
  }
  return families.flatMap((family, i) => (hasFamily(family) ? [] : [invalidValue(`spec.ipFamilies[${i}]`, family, "not configured on this cluster")]));
}

/** Endpoints that somebody else manages may be of any family, whatever the cluster has. */
function fillSelectorless(spec: Obj, families: Family[], preferred: Family): FieldError[] {
  spec.ipFamilyPolicy ??= "RequireDualStack";
  if (families.length === 0) families.push(preferred);
  if (spec.ipFamilyPolicy !== "SingleStack" && families.length === 1) families.push(other(families[0]!));
  spec.ipFamilies = families;
  return [];
}

function allocateIps(spec: Obj, old: Obj | undefined, allocator: Allocator, fail: (errors: readonly FieldError[]) => never): void {
  if (spec.clusterIP === "None" || spec.clusterIPs?.[0] === "None") {
    spec.clusterIP = "None";
    spec.clusterIPs ??= ["None"];
    return;
  }
  const owned = new Set<string>(old && usesClusterIp(old) ? (old.clusterIPs ?? []) : []);
  const ips: string[] = [...(spec.clusterIPs ?? [])];
  (spec.ipFamilies as Family[]).forEach((family, i) => {
    const wanted = ips[i];
    if (wanted && (owned.has(wanted) || !isIP(wanted))) return;
    if (wanted) {
      const why = allocator.takeIp(wanted);
      if (why) fail([invalidValue("spec.clusterIPs", spec.clusterIPs, `failed to allocate IP ${wanted}: ${why}`)]);
      return;
    }
    const ip = allocator.nextIp(family === "IPv4" ? 4 : 6);
    if (!ip) throw apiError(500, "InternalError", "Internal error occurred: failed to allocate a serviceIP: range is full");
    ips[i] = ip;
  });
  spec.clusterIPs = ips;
  spec.clusterIP = ips[0];
}

function allocatePorts(service: Obj, old: Obj | undefined, allocator: Allocator, fail: (errors: readonly FieldError[]) => never): void {
  const { spec } = service;
  const owned = new Set<number>();
  if (old && mayHaveNodePorts(old.spec)) {
    for (const port of items(old.spec, "ports")) if (port.nodePort) owned.add(port.nodePort);
    if (old.spec.healthCheckNodePort) owned.add(old.spec.healthCheckNodePort);
  }
  const full = (): never => {
    throw apiError(500, "InternalError", "Internal error occurred: failed to allocate a nodePort: range is full");
  };
  if (mayHaveNodePorts(spec)) takePorts(spec, owned, allocator, fail);
  if (usesNodePorts(spec)) {
    // One port number with two protocols shares its node port.
    const byPort = new Map<number, { nodePort: number; protocols: Set<string> }>();
    for (const port of items(spec, "ports")) {
      const shared = byPort.get(port.port);
      if (!port.nodePort) port.nodePort = shared && !shared.protocols.has(port.protocol) ? shared.nodePort : (allocator.nextPort() ?? full());
      const entry = byPort.get(port.port) ?? { nodePort: port.nodePort, protocols: new Set<string>() };
      entry.protocols.add(port.protocol);
      byPort.set(port.port, entry);
    }
  }
  if (!usesHealthCheckPort(spec)) return;
  const wanted: number | undefined = spec.healthCheckNodePort;
  if (!wanted) spec.healthCheckNodePort = allocator.nextPort() ?? full();
  else if (!owned.has(wanted)) {
    const why = allocator.takePort(wanted);
    if (why) fail([invalidValue("spec.healthCheckNodePort", wanted, `failed to allocate requested HealthCheck NodePort ${wanted}: ${why}`)]);
  }
}

function takePorts(spec: Obj, owned: ReadonlySet<number>, allocator: Allocator, fail: (errors: readonly FieldError[]) => never): void {
  const taken = new Set<string>();
  const numbers = new Set<number>(owned);
  items(spec, "ports").forEach((port, i) => {
    if (!port.nodePort) return;
    const key = `${port.protocol}/${port.nodePort}`;
    const why = taken.has(key) ? "provided port is already allocated" : numbers.has(port.nodePort) ? undefined : allocator.takePort(port.nodePort);
    if (why) fail([invalidValue(`spec.ports[${i}].nodePort`, port.nodePort, why)]);
    taken.add(key);
    numbers.add(port.nodePort);
  });
}
