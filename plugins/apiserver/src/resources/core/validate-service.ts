/** Validation of Services and Endpoints. */
import { isIP } from "node:net";
import { items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notSupported, oneOf, optionalOneOf, required } from "../validate/field.ts";
import { cidr, dns1123Label, dns1123Subdomain, ipAddress, portNumber, portOrName, qualifiedName, validateLabels } from "../validate/names.ts";

const types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const protocols = ["SCTP", "TCP", "UDP"];
const policies = ["Cluster", "Local"];
const ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'";
const DAY = 86_400;

export function validateService({ spec }: Obj): FieldError[] {
  const headless = spec.clusterIPs?.[0] === "None";
  const ports = items(spec, "ports");
  const errors: FieldError[] = [];
  if (ports.length === 0 && !headless && spec.type !== "ExternalName") errors.push(required("spec.ports"));
  if (headless && (spec.type === "LoadBalancer" || spec.type === "NodePort")) {
    errors.push(invalidValue("spec.clusterIPs[0]", "None", `may not be set to 'None' for ${spec.type} services`));
  }
  if (spec.type === "ExternalName") errors.push(...validateExternalName(spec));
  return [
    ...errors,
    ...validatePorts(spec, ports),
    ...validateLabels("spec.selector", spec.selector),
    ...validateAffinity(spec),
    ...oneOf("spec.type", spec.type, types),
    ...validateAddresses(spec),
    ...validateTraffic(spec),
    ...validateLoadBalancer(spec),
  ];
}

function validateExternalName(spec: Obj): FieldError[] {
  const name = (spec.externalName ?? "").replace(/\.$/, "");
  return [
    ...["clusterIPs", "ipFamilies", "ipFamilyPolicy"].filter((field) => spec[field]?.length > 0)
      .map((field) => forbidden(`spec.${field}`, "may not be set for ExternalName services")),
    ...(name ? invalidAll("spec.externalName", name, dns1123Subdomain(name)) : [required("spec.externalName")]),
  ];
}

function validatePorts(spec: Obj, ports: readonly Obj[]): FieldError[] {
  const [names, pairs, nodePorts] = [new Set<string>(), new Set<string>(), new Set<string>()];
  return ports.flatMap((port, i) => {
    const at = `spec.ports[${i}]`;
    const errors = validatePort(at, port, ports.length > 1);
    if (port.name && names.has(port.name)) errors.push(duplicate(`${at}.name`, port.name));
    names.add(port.name);
    const pair = `${port.protocol}/${port.port}`;
    if (pairs.has(pair)) errors.push(duplicate(at, { protocol: port.protocol, port: port.port }));
    pairs.add(pair);
    if (!port.nodePort) return errors;
    if (spec.type === "ClusterIP") errors.push(forbidden(`${at}.nodePort`, "may not be used when `type` is 'ClusterIP'"));
    const node = `${port.protocol}/${port.nodePort}`;
    if (nodePorts.has(node)) errors.push(duplicate(`${at}.nodePort`, port.nodePort));
    nodePorts.add(node);
    return errors;
  });
}

function validatePort(at: string, port: Obj, needsName: boolean): FieldError[] {
  const errors: FieldError[] = [];
  if (port.name) errors.push(...invalidAll(`${at}.name`, port.name, dns1123Label(port.name)));
  else if (needsName) errors.push(required(`${at}.name`));
  errors.push(...invalidAll(`${at}.port`, port.port ?? 0, portNumber(port.port)), ...oneOf(`${at}.protocol`, port.protocol, protocols));
  if (port.targetPort != null) errors.push(...portOrName(`${at}.targetPort`, port.targetPort));
  if (port.appProtocol) errors.push(...invalidAll(`${at}.appProtocol`, port.appProtocol, qualifiedName(port.appProtocol)));
  return errors;
}

function validateAffinity(spec: Obj): FieldError[] {
  const errors = oneOf("spec.sessionAffinity", spec.sessionAffinity, ["ClientIP", "None"]);
  const config = spec.sessionAffinityConfig;
  if (spec.sessionAffinity === "None" && config != null) {
    errors.push(forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None"));
  }
  const seconds = config?.clientIP?.timeoutSeconds;
  if (seconds != null && (seconds <= 0 || seconds > DAY)) {
    errors.push(invalidValue("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, `must be greater than 0 and less than ${DAY}`));
  }
  return errors;
}

function validateAddresses(spec: Obj): FieldError[] {
  const ips: string[] = spec.clusterIPs ?? [];
  const errors: FieldError[] = [];
  if (spec.clusterIP && ips.length === 0) errors.push(required("spec.clusterIPs"));
  if (ips.length > 0 && ips[0] !== (spec.clusterIP ?? "")) errors.push(invalidValue("spec.clusterIPs", ips, "first value must match `clusterIP`"));
  if (ips.length > 2) errors.push(invalidValue("spec.clusterIPs", ips, "may only hold up to 2 values"));
  ips.forEach((ip, i) => {
    if (ip === "None") {
      if (ips.length > 1) errors.push(invalidValue("spec.clusterIPs", ips, "'None' must be the first and only value"));
    } else errors.push(...invalidAll(`spec.clusterIPs[${i}]`, ip, ipAddress(ip)));
  });
  if (ips.length === 2 && isIP(ips[0]!) === isIP(ips[1]!)) errors.push(invalidValue("spec.clusterIPs", ips, "may specify no more than one IP for each IP family"));
  ((spec.ipFamilies ?? []) as string[]).forEach((family, i) => {
    if (family !== "IPv4" && family !== "IPv6") errors.push(notSupported(`spec.ipFamilies[${i}]`, family, ["IPv4", "IPv6"]));
    if (spec.ipFamilies.indexOf(family) < i) errors.push(duplicate(`spec.ipFamilies[${i}]`, family));
  });
  errors.push(...optionalOneOf("spec.ipFamilyPolicy", spec.ipFamilyPolicy, ["SingleStack", "PreferDualStack", "RequireDualStack"]));
  ((spec.externalIPs ?? []) as string[]).forEach((ip, i) => errors.push(...invalidAll(`spec.externalIPs[${i}]`, ip, ipAddress(ip)), ...special(`spec.externalIPs[${i}]`, ip)));
  return errors;
}

/** Addresses that mean one machine or one link cannot be a service's or an endpoint's. */
function special(field: string, ip: string): FieldError[] {
  if (ip === "0.0.0.0" || ip === "::") return [invalidValue(field, ip, `may not be unspecified (${ip})`)];
  if (ip.startsWith("127.") || ip === "::1") return [invalidValue(field, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)")];
  if (ip.startsWith("169.254.") || /^fe[89ab]/i.test(ip)) return [invalidValue(field, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")];
  if (ip.startsWith("224.0.0.") || /^ff02:/i.test(ip)) return [invalidValue(field, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")];
  return [];
}

function validateTraffic(spec: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const external = spec.externalTrafficPolicy;
  const accessible = spec.type === "NodePort" || spec.type === "LoadBalancer" || (spec.type === "ClusterIP" && spec.externalIPs?.length > 0);
  if (external) {
    if (!policies.includes(external)) errors.push(notSupported("spec.externalTrafficPolicy", external, policies));
    else if (!accessible) errors.push(invalidValue("spec.externalTrafficPolicy", external, "may only be set for externally-accessible services"));
  } else if (accessible) errors.push(required("spec.externalTrafficPolicy"));
  if (spec.healthCheckNodePort && !(spec.type === "LoadBalancer" && external === "Local")) {
    errors.push(invalidValue("spec.healthCheckNodePort", spec.healthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"));
  }
  if (spec.internalTrafficPolicy != null) errors.push(...optionalOneOf("spec.internalTrafficPolicy", spec.internalTrafficPolicy, policies));
  return [...errors, ...optionalOneOf("spec.trafficDistribution", spec.trafficDistribution, ["PreferClose", "PreferSameNode", "PreferSameZone"])];
}

function validateLoadBalancer(spec: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.type !== "LoadBalancer") {
    for (const field of ["loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"]) {
      const set = Array.isArray(spec[field]) ? spec[field].length > 0 : spec[field] != null;
      if (set) errors.push(forbidden(`spec.${field}`, ONLY_LOAD_BALANCER));
    }
  }
  ((spec.loadBalancerSourceRanges ?? []) as string[]).forEach((range, i) => {
    errors.push(...invalidAll(`spec.loadBalancerSourceRanges[${i}]`, range, cidr(range.trim())));
  });
  if (spec.loadBalancerClass) errors.push(...invalidAll("spec.loadBalancerClass", spec.loadBalancerClass, qualifiedName(spec.loadBalancerClass)));
  return errors;
}

export function validateServiceUpdate(service: Obj, old: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const [now, before] = [service.spec, old.spec];
  if (now.type !== "ExternalName" && before.type !== "ExternalName") {
    for (const field of ["clusterIPs", "ipFamilies"]) {
      const [values, had] = [now[field] ?? [], before[field] ?? []];
      if (had[0] && values[0] !== had[0]) errors.push(invalidValue(`spec.${field}[0]`, values, "may not change once set"));
      if (had[1] && values[1] && values[1] !== had[1]) errors.push(invalidValue(`spec.${field}[1]`, values, "may not change once set"));
    }
  }
  if (before.type === "LoadBalancer" && now.type === "LoadBalancer" && !same(now.loadBalancerClass, before.loadBalancerClass)) {
    errors.push(invalidValue("spec.loadBalancerClass", now.loadBalancerClass, "may not change once set"));
  }
  return [...errors, ...validateService(service)];
}

export function validateEndpoints(endpoints: Obj): FieldError[] {
  return items(endpoints, "subsets").flatMap((subset, i) => {
    const at = `subsets[${i}]`;
    const errors: FieldError[] = [];
    if (!subset.addresses?.length && !subset.notReadyAddresses?.length) errors.push(required(at, "must specify `addresses` or `notReadyAddresses`"));
    for (const list of ["addresses", "notReadyAddresses"]) {
      items(subset, list).forEach((address, j) => {
        const field = `${at}.${list}[${j}]`;
        errors.push(...invalidAll(`${field}.ip`, address.ip ?? "", ipAddress(address.ip)), ...special(`${field}.ip`, address.ip ?? ""));
        if (address.hostname) errors.push(...invalidAll(`${field}.hostname`, address.hostname, dns1123Label(address.hostname)));
        if (address.nodeName) errors.push(...invalidAll(`${field}.nodeName`, address.nodeName, dns1123Subdomain(address.nodeName)));
      });
    }
    const ports = items(subset, "ports");
    ports.forEach((port, j) => errors.push(...validateEndpointPort(`${at}.ports[${j}]`, port, ports.length > 1)));
    return errors;
  });
}

function validateEndpointPort(at: string, port: Obj, needsName: boolean): FieldError[] {
  const errors: FieldError[] = [];
  if (port.name) errors.push(...invalidAll(`${at}.name`, port.name, dns1123Label(port.name)));
  else if (needsName) errors.push(required(`${at}.name`));
  return [...errors, ...invalidAll(`${at}.port`, port.port ?? 0, portNumber(port.port)), ...oneOf(`${at}.protocol`, port.protocol, protocols)];
}

/** For EndpointSlices too. */
export const validateEndpointAddress = (field: string, type: string, address: string): FieldError[] => {
  const family = type === "IPv4" ? 4 : 6;
  if (type === "FQDN") return invalidAll(field, address, dns1123Subdomain(address));
  if (isIP(address) !== family) return [invalidValue(field, address, `must be an ${type} address`)];
  return special(field, address);
};
