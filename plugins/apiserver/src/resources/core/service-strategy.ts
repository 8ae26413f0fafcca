/** What becomes of a Service when it is written: families, cluster addresses and node ports, and what a change of type drops. */
import { isIP } from "node:net";
import { apiError, type FieldError, invalid } from "@k3s-p/plugin-api/kube";
import { items, same } from "../fields.ts";
import type { Obj, StrategyContext } from "../types.ts";
import { invalidValue } from "../validate/field.ts";
import { type Allocator, createAllocator } from "./allocator.ts";
import { type Family, settleFamilies } from "./service-families.ts";
import { isAccessible } from "./validate-service.ts";

type Fail = (errors: readonly FieldError[]) => never;

export function prepareServiceCreate(service: Obj, ctx: StrategyContext): void {
  const { spec } = service;
  service.status = { loadBalancer: {} };
  if (spec.clusterIP && !spec.clusterIPs?.length) spec.clusterIPs = [spec.clusterIP];
  allocate(service, undefined, ctx);
}

export function prepareServiceUpdate(service: Obj, old: Obj, ctx: StrategyContext): void {
  const { spec } = service;
  // What a load balancer was is of no interest once there is none, although it takes a while to go.
  service.status = spec.type === "LoadBalancer" ? old.status : { ...old.status, loadBalancer: {} };
  keepAllocated(spec, old.spec);
  normalizeClusterIps(spec, old.spec);
  dropByType(spec, old.spec);
  allocate(service, old, ctx);
}

const needsClusterIp = (spec: Obj): boolean => spec.type !== "ExternalName";
const usesNodePorts = (spec: Obj): boolean =>
  spec.type === "NodePort" || (spec.type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false);
const mayHaveNodePorts = (spec: Obj): boolean => spec.type === "NodePort" || spec.type === "LoadBalancer";
const usesHealthCheckPort = (spec: Obj): boolean => spec.type === "LoadBalancer" && spec.externalTrafficPolicy === "Local";
const nodePortsOf = (spec: Obj): Set<number> => new Set(items(spec, "ports").map(({ nodePort }) => nodePort).filter(Boolean));

/** A PUT that leaves out what the server allocated keeps it; ports are known by their names. */
function keepAllocated(spec: Obj, old: Obj): void {
  if (needsClusterIp(spec) && needsClusterIp(old)) {
    spec.clusterIP ||= old.clusterIP;
    if (!spec.clusterIPs?.length && spec.clusterIP === old.clusterIP) spec.clusterIPs = old.clusterIPs;
  }
  if (mayHaveNodePorts(spec) && mayHaveNodePorts(old)) {
    const given = nodePortsOf(spec);
    const before = new Map(items(old, "ports").map(({ name = "", nodePort }) => [name, nodePort]));
    for (const port of items(spec, "ports")) {
      const kept = before.get(port.name ?? "");
      if (!port.nodePort && kept && !given.has(kept)) port.nodePort = kept;
      if (!port.nodePort) delete port.nodePort;
    }
  }
  if (usesHealthCheckPort(spec) && usesHealthCheckPort(old)) spec.healthCheckNodePort ||= old.healthCheckNodePort;
}

/** `clusterIP` is the first of `clusterIPs`; an old client knows and changes only the former. */
function normalizeClusterIps(spec: Obj, old: Obj): void {
  if (spec.clusterIP === old.clusterIP) return;
  const isUnchanged = same(spec.clusterIPs, old.clusterIPs);
  if (!isUnchanged) return;
  if (spec.clusterIP) spec.clusterIPs = [spec.clusterIP];
  else delete spec.clusterIPs;
}

/** Fields that belong to the old type go, unless the writer set them anew. */
function dropByType(spec: Obj, old: Obj): void {
  const drop = (fields: readonly string[]) => {
    for (const field of fields) if (same(spec[field], old[field])) delete spec[field];
  };
  if (needsClusterIp(old) && !needsClusterIp(spec)) {
    if ((spec.clusterIP ?? "") === (old.clusterIP ?? "") && same(spec.clusterIPs, old.clusterIPs)) drop(["clusterIP", "clusterIPs"]);
    drop(["ipFamilies", "ipFamilyPolicy"]);
  }
  if (mayHaveNodePorts(old) && !mayHaveNodePorts(spec)) {
    const before = nodePortsOf(old);
    if ([...nodePortsOf(spec)].every((port) => before.has(port))) for (const port of items(spec, "ports")) delete port.nodePort;
  }
  if (usesHealthCheckPort(old) && !usesHealthCheckPort(spec)) drop(["healthCheckNodePort"]);
  if (old.type === "LoadBalancer" && spec.type !== "LoadBalancer") drop(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
  if (isAccessible(old) && !isAccessible(spec)) drop(["externalTrafficPolicy"]);
}

function allocate(service: Obj, old: Obj | undefined, ctx: StrategyContext): void {
  const { spec } = service;
  const allocator = createAllocator(service, ctx);
  const fail: Fail = (errors) => {
    throw invalid("", "Service", service.metadata?.name ?? "", errors);
  };
  if (needsClusterIp(spec)) {
    const first: Family = ctx.cluster.serviceCidr[0]?.includes(":") ? "IPv6" : "IPv4";
    const both: readonly Family[] = first === "IPv4" ? ["IPv4", "IPv6"] : ["IPv6", "IPv4"];
    const errors = settleFamilies(spec, old?.spec, both.filter((family) => allocator.cidr(family === "IPv4" ? 4 : 6)));
    if (errors.length > 0) fail(errors);
    allocateIps(spec, old?.spec, allocator, fail);
  }
  if (mayHaveNodePorts(spec)) allocatePorts(spec, old?.spec, allocator, fail);
  if (usesHealthCheckPort(spec) && !(old && usesHealthCheckPort(old.spec))) allocateHealthCheckPort(spec, allocator, fail);
}

/** Each family gets an address; those that there were do not change, as validation tells. */
function allocateIps(spec: Obj, old: Obj | undefined, allocator: Allocator, fail: Fail): void {
  const kept = old && needsClusterIp(old) ? (old.clusterIPs?.length ?? 0) : 0;
  if (spec.clusterIP === "None" || (kept > 0 && old!.clusterIP === "None")) return;
  const ips: string[] = [...(spec.clusterIPs ?? [])];
  (spec.ipFamilies as Family[]).forEach((family, i) => {
    if (i < kept && ips[i]) return;
    const wanted = ips[i];
    const why = wanted && isIP(wanted) ? allocator.takeIp(wanted) : undefined;
    if (why) fail([invalidValue("spec.clusterIPs", spec.clusterIPs, `failed to allocate IP ${wanted}: ${why}`)]);
    ips[i] = wanted ?? allocator.nextIp(family === "IPv4" ? 4 : 6) ?? full("a serviceIP");
  });
  spec.clusterIPs = ips;
  spec.clusterIP ||= ips[0];
}

function full(what: string): never {
  throw apiError(500, "InternalError", `Internal error occurred: failed to allocate ${what}: range is full`);
}

/** In a new service, the protocols of one port number share a node port. */
function allocatePorts(spec: Obj, old: Obj | undefined, allocator: Allocator, fail: Fail): void {
  const ports = items(spec, "ports");
  const owned = old && mayHaveNodePorts(old) ? nodePortsOf(old) : new Set<number>();
  const byPort = new Map<number, number>();
  const taken = new Set<number>();
  const asked = (port: number): number | undefined => ports.find((other) => other.port === port && other.nodePort)?.nodePort;
  ports.forEach((port, i) => {
    const shared = old ? undefined : (byPort.get(port.port) ?? asked(port.port));
    if (!port.nodePort && !usesNodePorts(spec)) return;
    const wanted: number | undefined = port.nodePort || shared;
    const isHad = wanted !== undefined && (owned.has(wanted) || (old ? taken.has(wanted) : byPort.get(port.port) === wanted));
    const why = wanted === undefined || isHad ? undefined : taken.has(wanted) ? "provided port is already allocated" : allocator.takePort(wanted);
    if (why) fail([invalidValue(`spec.ports[${i}].nodePort`, wanted, why)]);
    port.nodePort = wanted ?? allocator.nextPort() ?? full("a nodePort");
    taken.add(port.nodePort);
    if (!byPort.has(port.port)) byPort.set(port.port, port.nodePort);
  });
}

function allocateHealthCheckPort(spec: Obj, allocator: Allocator, fail: Fail): void {
  const wanted: number | undefined = spec.healthCheckNodePort;
  if (!wanted) {
    spec.healthCheckNodePort = allocator.nextPort() ?? full("a nodePort");
    return;
  }
  const why = allocator.takePort(wanted);
  if (why) fail([invalidValue("spec.healthCheckNodePort", wanted, `failed to allocate requested HealthCheck NodePort ${wanted}: ${why}`)]);
}
