/** Validation of Services. */
import { isIP } from "node:net";
import { items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, notSupported, oneOf, optionalOneOf, required } from "../validate/field.ts";
import { cidr, dns1123Label, dns1123Subdomain, ipAddress, portNumber, portOrName, qualifiedName, validateLabels } from "../validate/names.ts";
import { notSpecial, protocols } from "./validate-endpoints.ts";

const types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const policies = ["Cluster", "Local"];
const ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'";
const ONCE = "may not change once set";
const DAY = 86_400;
const [HINTS, MODE] = ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
const RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges";

const isHeadless = ({ clusterIPs }: Obj): boolean => clusterIPs?.length === 1 && clusterIPs[0] === "None";
/** Can the spec's service be reached from outside of the cluster? */
export const isAccessible = ({ type, externalIPs }: Obj): boolean =>
  type === "NodePort" || type === "LoadBalancer" || (type === "ClusterIP" && externalIPs?.length > 0);

/** Addresses and ranges that were taken once, when less was asked of them. */
type Known = ReadonlySet<string>;

const textsOf = ({ clusterIPs, externalIPs, loadBalancerSourceRanges }: Obj): string[] => [clusterIPs, externalIPs, loadBalancerSourceRanges].flatMap((list) => list ?? []);

export const validateService = (service: Obj): FieldError[] => validateWith(service, new Set());

function validateWith({ metadata, spec }: Obj, known: Known): FieldError[] {
  const ports = items(spec, "ports");
  const isExternal = spec.type === "ExternalName";
  return [
    ...validateTopology(metadata?.annotations ?? {}),
    ...(ports.length === 0 && !isHeadless(spec) && !isExternal ? [required("spec.ports")] : []),
    ...(isHeadless(spec) && (spec.type === "LoadBalancer" || spec.type === "NodePort") ? [invalidValue("spec.clusterIPs[0]", "None", `may not be set to 'None' for ${spec.type} services`)] : []),
    ...(isExternal ? validateExternalName(spec) : []),
    ...validatePorts(ports),
    ...validateLabels("spec.selector", spec.selector),
    ...validateAffinity(spec),
    ...validateAddresses(spec, known),
    ...((spec.externalIPs ?? []) as string[]).flatMap((ip, i) => validateExternalIp(`spec.externalIPs[${i}]`, ip, known)),
    ...oneOf("spec.type", spec.type, types),
    ...(spec.type === "ClusterIP" ? ports.flatMap(({ nodePort }, i) => (nodePort ? [forbidden(`spec.ports[${i}].nodePort`, "may not be used when `type` is 'ClusterIP'")] : [])) : []),
    ...validateUnique(ports),
    ...validateSourceRanges(spec, metadata?.annotations?.[RANGES], known),
    ...(spec.allocateLoadBalancerNodePorts != null && spec.type !== "LoadBalancer" ? [forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER)] : []),
    ...validateClass(spec),
    ...validateTraffic(spec),
  ];
}

const validateTopology = (annotations: Readonly<Record<string, string>>): FieldError[] => {
  const [hints, mode] = [annotations[HINTS], annotations[MODE]];
  return hints === undefined || mode === undefined || hints === mode ? []
    : [invalidValue(`metadata.annotations[${MODE}]`, mode, `must match annotations[${HINTS}] when both are specified`)];
};

function validateExternalName(spec: Obj): FieldError[] {
  const name = (spec.externalName ?? "").replace(/\.$/, "");
  return [
    ...["clusterIPs", "ipFamilies", "ipFamilyPolicy"].filter((field) => spec[field]?.length > 0)
      .map((field) => forbidden(`spec.${field}`, "may not be set for ExternalName services")),
    ...(name ? invalidAll("spec.externalName", name, dns1123Subdomain(name)) : [required("spec.externalName")]),
  ];
}

function validatePorts(ports: readonly Obj[]): FieldError[] {
  const names = new Set<string>();
  return ports.flatMap((port, i) => {
    const at = `spec.ports[${i}]`;
    const errors: FieldError[] = [];
    if (!port.name && ports.length > 1) errors.push(required(`${at}.name`));
    else if (port.name) {
      errors.push(...invalidAll(`${at}.name`, port.name, dns1123Label(port.name)));
      if (names.has(port.name)) errors.push(duplicate(`${at}.name`, port.name));
      names.add(port.name);
    }
    errors.push(...invalidAll(`${at}.port`, port.port ?? 0, portNumber(port.port)), ...oneOf(`${at}.protocol`, port.protocol, protocols));
    if (port.targetPort != null) errors.push(...portOrName(`${at}.targetPort`, port.targetPort));
    if (port.appProtocol != null) errors.push(...invalidAll(`${at}.appProtocol`, port.appProtocol, qualifiedName(port.appProtocol)));
    return errors;
  });
}

/** Node ports, and then ports, are of one entry alone with their protocol. */
function validateUnique(ports: readonly Obj[]): FieldError[] {
  const isAgain = (field: string, i: number): boolean =>
    ports.slice(0, i).some((other) => other.protocol === ports[i]!.protocol && other[field] === ports[i]![field]);
  return [
    ...ports.flatMap(({ nodePort }, i) => (nodePort && isAgain("nodePort", i) ? [duplicate(`spec.ports[${i}].nodePort`, nodePort)] : [])),
    ...ports.flatMap(({ protocol, port }, i) => (isAgain("port", i) ? [duplicate(`spec.ports[${i}]`, internalPort(protocol, port))] : [])),
  ];
}

/** As upstream shows the two of its internal type. */
const internalPort = (Protocol: string, Port: number): object => ({ Name: "", Protocol, AppProtocol: null, Port, TargetPort: 0, NodePort: 0 });

function validateAffinity(spec: Obj): FieldError[] {
  const errors = oneOf("spec.sessionAffinity", spec.sessionAffinity, ["ClientIP", "None"]);
  const config = spec.sessionAffinityConfig;
  if (spec.sessionAffinity === "None" && config != null) {
    errors.push(forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None"));
  }
  const seconds = config?.clientIP?.timeoutSeconds;
  if (spec.sessionAffinity === "ClientIP" && seconds != null && (seconds <= 0 || seconds > DAY)) {
    errors.push(invalidValue("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, `must be greater than 0 and less than ${DAY}`));
  }
  return errors;
}

/** Cluster addresses and families, which depend on one another; also checked before addresses are allocated. */
export function validateAddresses(spec: Obj, known: Known = new Set()): FieldError[] {
  if (spec.type === "ExternalName") return [];
  const ips: string[] = spec.clusterIPs ?? [];
  const families: string[] = spec.ipFamilies ?? [];
  const at = "spec.clusterIPs";
  const errors: FieldError[] = [];
  if (spec.clusterIP && ips.length === 0) errors.push(required(at));
  else if (spec.clusterIP && ips[0] !== spec.clusterIP) errors.push(invalidValue(at, ips, "first value must match `clusterIP`"));
  else if (!spec.clusterIP && ips.length > 0) errors.push(invalidValue(at, ips, "must be empty when `clusterIP` is not specified"));
  families.forEach((family, i) => {
    if (family !== "IPv4" && family !== "IPv6") errors.push(notSupported(`spec.ipFamilies[${i}]`, family, ["IPv4", "IPv6"]));
    if (families.indexOf(family) < i) errors.push(duplicate(`spec.ipFamilies[${i}]`, family));
  });
  errors.push(...optionalOneOf("spec.ipFamilyPolicy", spec.ipFamilyPolicy, ["PreferDualStack", "RequireDualStack", "SingleStack"]));
  const malformed = ips.flatMap((ip, i) => {
    if (i > 0 || ip !== "None") return known.has(ip) ? [] : invalidAll(`${at}[${i}]`, ip, ipAddress(ip));
    return ips.length > 1 ? [invalidValue(at, ips, "'None' must be the first and only value")] : [];
  });
  errors.push(...malformed);
  if (ips.length > 2) errors.push(invalidValue(at, ips, "may only hold up to 2 values"));
  return malformed.length > 0 || isHeadless(spec) ? errors : [...errors, ...validateFamilies(ips, families)];
}

function validateFamilies(ips: readonly string[], families: readonly string[]): FieldError[] {
  const isDual = ips.some((ip) => isIP(ip) === 4) && ips.some((ip) => isIP(ip) === 6);
  return [
    ...(ips.length > 1 && !isDual ? [invalidValue("spec.clusterIPs", ips, "may specify no more than one IP for each IP family")] : []),
    ...ips.slice(0, families.length).flatMap((ip, i) => (`IPv${isIP(ip)}` === families[i] || !/^IPv[46]$/.test(families[i]!) ? []
      : [invalidValue(`spec.clusterIPs[${i}]`, ip, `expected an ${families[i]} value as indicated by \`ipFamilies[${i}]\``)])),
  ];
}

function validateExternalIp(field: string, ip: string, known: Known): FieldError[] {
  const malformed = known.has(ip) ? [] : invalidAll(field, ip, ipAddress(ip));
  return malformed.length > 0 ? malformed : notSpecial(field, ip);
}

/** The annotation is what there was before the field. */
function validateSourceRanges({ type, loadBalancerSourceRanges }: Obj, annotation: string | undefined, known: Known): FieldError[] {
  const ranges: string[] = loadBalancerSourceRanges ?? [];
  const isField = ranges.length > 0;
  if (!isField && annotation === undefined) return [];
  const at = isField ? "spec.LoadBalancerSourceRanges" : `metadata.annotations[${RANGES}]`;
  const given = isField ? ranges : (annotation!.trim() ? annotation!.split(",") : []);
  return [
    ...(type === "LoadBalancer" ? [] : [forbidden(at, ONLY_LOAD_BALANCER)]),
    ...given.flatMap((text, i) => (known.has(text) ? [] : invalidAll(isField ? `${at}[${i}]` : at, text.trim(), cidr(text.trim())))),
  ];
}

function validateClass({ type, loadBalancerClass }: Obj): FieldError[] {
  if (loadBalancerClass == null) return [];
  return type === "LoadBalancer" ? invalidAll("spec.loadBalancerClass", loadBalancerClass, qualifiedName(loadBalancerClass))
    : [forbidden("spec.loadBalancerClass", ONLY_LOAD_BALANCER)];
}

function validateTraffic(spec: Obj): FieldError[] {
  const [external, port] = ["spec.externalTrafficPolicy", "spec.healthCheckNodePort"] as const;
  const errors: FieldError[] = [];
  if (isAccessible(spec)) errors.push(...oneOf(external, spec.externalTrafficPolicy, policies));
  else if (spec.externalTrafficPolicy) errors.push(invalidValue(external, spec.externalTrafficPolicy, "may only be set for externally-accessible services"));
  if (needsHealthCheck(spec)) errors.push(...(spec.healthCheckNodePort ? invalidAll(port, spec.healthCheckNodePort, portNumber(spec.healthCheckNodePort)) : [required(port)]));
  else if (spec.healthCheckNodePort) {
    errors.push(invalidValue(port, spec.healthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"));
  }
  return [
    ...errors, ...optionalOneOf("spec.internalTrafficPolicy", spec.internalTrafficPolicy, policies),
    ...optionalOneOf("spec.trafficDistribution", spec.trafficDistribution, ["PreferClose", "PreferSameNode", "PreferSameZone"]),
  ];
}

const needsHealthCheck = ({ type, externalTrafficPolicy }: Obj): boolean => type === "LoadBalancer" && externalTrafficPolicy === "Local";

export function validateServiceUpdate(service: Obj, old: Obj): FieldError[] {
  const [now, before] = [service.spec, old.spec];
  const errors = now.type === "ExternalName" || before.type === "ExternalName" ? [] : [...validateIpsUpdate(now, before), ...validateFamiliesUpdate(now, before)];
  if (before.type === "LoadBalancer" && now.type === "LoadBalancer" && !same(now.loadBalancerClass, before.loadBalancerClass)) {
    errors.push(invalidValue("spec.loadBalancerClass", now.loadBalancerClass, ONCE));
  }
  if (needsHealthCheck(now) && needsHealthCheck(before) && now.healthCheckNodePort !== before.healthCheckNodePort) {
    errors.push(forbidden("spec.healthCheckNodePort", IMMUTABLE));
  }
  const annotation: string | undefined = old.metadata?.annotations?.[RANGES];
  return [...errors, ...validateWith(service, new Set([...textsOf(before), ...(annotation?.split(",") ?? [])]))];
}

function validateIpsUpdate(now: Obj, before: Obj): FieldError[] {
  if (isHeadless(now) && isHeadless(before)) return [];
  const [ips, had]: string[][] = [now.clusterIPs ?? [], before.clusterIPs ?? []];
  if (ips!.length === had!.length) return had!.flatMap((ip, i) => (ip === ips![i] ? [] : [invalidValue(`spec.clusterIPs[${i}]`, ips, ONCE)]));
  if (ips!.length === 0) return [invalidValue("spec.clusterIPs[0]", null, "primary clusterIP can not be unset")];
  const errors = had!.length > 0 && ips![0] !== had![0] ? [invalidValue("spec.clusterIPs[0]", ips, ONCE)] : [];
  return had!.length > ips!.length && now.ipFamilyPolicy !== "SingleStack"
    ? [...errors, invalidValue("spec.ipFamilyPolicy", now.ipFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary clusterIP")] : errors;
}

function validateFamiliesUpdate(now: Obj, before: Obj): FieldError[] {
  if (isHeadless(now) || isHeadless(before)) return [];
  const [families, had]: string[][] = [now.ipFamilies ?? [], before.ipFamilies ?? []];
  const isSame = families!.length === had!.length ? same(families, had) : had!.length === 0 || families!.length === 0 || families![0] === had![0];
  return isSame ? [] : [invalidValue("spec.ipFamilies[0]", families, ONCE)];
}
