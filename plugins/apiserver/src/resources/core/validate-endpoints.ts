/** Validation of Endpoints, and of the addresses of endpoints and load balancers. */
import { isIP } from "node:net";
import { items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidAll, invalidValue, notSupported, oneOf, required } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain, ipAddress, portNumber, qualifiedName } from "../validate/names.ts";

export const protocols = ["SCTP", "TCP", "UDP"];

export const validateEndpoints = (endpoints: Obj): FieldError[] => validateSubsets(endpoints, new Set());

/** Addresses that there are stay, also those of which more is asked by now. */
export const validateEndpointsUpdate = (endpoints: Obj, old: Obj): FieldError[] =>
  validateSubsets(endpoints, new Set(items(old, "subsets").flatMap((subset) => [...items(subset, "addresses"), ...items(subset, "notReadyAddresses")]).map(({ ip }) => ip)));

function validateSubsets(endpoints: Obj, known: ReadonlySet<string>): FieldError[] {
  return items(endpoints, "subsets").flatMap((subset, i) => {
    const at = `subsets[${i}]`;
    const isEmpty = !subset.addresses?.length && !subset.notReadyAddresses?.length;
    const ports = items(subset, "ports");
    return [
      ...(isEmpty ? [required(at, "must specify `addresses` or `notReadyAddresses`")] : []),
      ...["addresses", "notReadyAddresses"].flatMap((list) => items(subset, list).flatMap((address, j) => validateAddress(`${at}.${list}[${j}]`, address, known))),
      ...ports.flatMap((port, j) => validatePort(`${at}.ports[${j}]`, port, ports.length > 1)),
    ];
  });
}

function validateAddress(at: string, { ip = "", hostname, nodeName }: Obj, known: ReadonlySet<string>): FieldError[] {
  return [
    ...(known.has(ip) ? [] : invalidAll(`${at}.ip`, ip, ipAddress(ip))),
    ...(hostname ? invalidAll(`${at}.hostname`, hostname, dns1123Label(hostname)) : []),
    ...(nodeName != null ? invalidAll(`${at}.nodeName`, nodeName, dns1123Subdomain(nodeName)) : []),
    ...notSpecial(`${at}.ip`, ip),
  ];
}

function validatePort(at: string, { name, port = 0, protocol, appProtocol }: Obj, needsName: boolean): FieldError[] {
  return [
    ...(name ? invalidAll(`${at}.name`, name, dns1123Label(name)) : needsName ? [required(`${at}.name`)] : []),
    ...invalidAll(`${at}.port`, port, portNumber(port)),
    ...oneOf(`${at}.protocol`, protocol, protocols),
    ...(appProtocol != null ? invalidAll(`${at}.appProtocol`, appProtocol, qualifiedName(appProtocol)) : []),
  ];
}

/** Addresses that mean one machine or one link cannot be a service's or an endpoint's. */
export function notSpecial(field: string, ip: string): FieldError[] {
  if (!isIP(ip)) return [invalidValue(field, ip, "must be a valid IP address")];
  if (ip === "0.0.0.0" || ip === "::") return [invalidValue(field, ip, `may not be unspecified (${ip})`)];
  if (ip.startsWith("127.") || ip === "::1") return [invalidValue(field, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)")];
  if (ip.startsWith("169.254.") || /^fe[89ab]/i.test(ip)) return [invalidValue(field, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")];
  if (ip.startsWith("224.0.0.") || /^ff02:/i.test(ip)) return [invalidValue(field, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")];
  return [];
}

/** Only what has a load balancer may tell of one. */
export function validateLoadBalancerStatus({ spec, status }: Obj): FieldError[] {
  const at = "status.loadBalancer.ingress";
  const ingress = items(status?.loadBalancer, "ingress");
  if (spec.type !== "LoadBalancer" && ingress.length > 0) return [forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")];
  return ingress.flatMap((point, i) => validateIngressPoint(`${at}[${i}]`, point));
}

const MODES = ["Proxy", "VIP"];

function validateIngressPoint(at: string, { ip, ipMode, hostname }: Obj): FieldError[] {
  const errors: FieldError[] = ip ? invalidAll(`${at}.ip`, ip, ipAddress(ip)) : [];
  if (ip && ipMode == null) errors.push(required(`${at}.ipMode`, "must be specified when `ip` is set"));
  else if (!ip && ipMode != null) errors.push(forbidden(`${at}.ipMode`, "may not be specified when `ip` is not set"));
  else if (ipMode != null && !MODES.includes(ipMode)) errors.push(notSupported(`${at}.ipMode`, ipMode, MODES));
  if (!hostname) return errors;
  errors.push(...invalidAll(`${at}.hostname`, hostname, dns1123Subdomain(hostname)));
  return isIP(hostname) ? [...errors, invalidValue(`${at}.hostname`, hostname, "must be a DNS name, not an IP address")] : errors;
}
