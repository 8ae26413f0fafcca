/** Validation of EndpointSlices. */
import { isIP } from "node:net";
import { notSpecial, protocols } from "../core/validate-endpoints.ts";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, IMMUTABLE, invalidAll, invalidValue, oneOf, required, tooMany } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain, labelValue, qualifiedName, validateLabels } from "../validate/names.ts";

const MAX_ENDPOINTS = 1000;
const MAX_ADDRESSES = 100;
const MAX_PORTS = 20_000;
const MAX_TOPOLOGY = 16;
const MAX_HINTS = 8;
const addressTypes = ["FQDN", "IPv4", "IPv6"];

export const validateEndpointSlice = (slice: Obj): FieldError[] => [...validateHead(slice), ...validateEndpoints(items(slice, "endpoints"), slice.addressType)];

/** Endpoints that there are stay, also those of whose addresses more is asked by now. */
export const validateEndpointSliceUpdate = (slice: Obj, old: Obj): FieldError[] => [
  ...(same(slice.endpoints, old.endpoints) ? validateHead(slice) : validateEndpointSlice(slice)),
  ...(slice.addressType === old.addressType ? [] : [invalidValue("addressType", slice.addressType, IMMUTABLE)]),
];

const validateHead = (slice: Obj): FieldError[] => [...oneOf("addressType", slice.addressType, addressTypes), ...validatePorts(items(slice, "ports"))];

function validateEndpoints(endpoints: readonly Obj[], type: string): FieldError[] {
  if (endpoints.length > MAX_ENDPOINTS) return [tooMany("endpoints", endpoints.length, MAX_ENDPOINTS)];
  return endpoints.flatMap((endpoint, i) => validateEndpoint(`endpoints[${i}]`, endpoint, type));
}

function validateEndpoint(at: string, { addresses, nodeName, deprecatedTopology, hostname, hints }: Obj, type: string): FieldError[] {
  const list: string[] = addresses ?? [];
  const topology = Object.keys(deprecatedTopology ?? {}).length;
  return [
    ...(list.length === 0 ? [required(`${at}.addresses`, "must contain at least 1 address")] : []),
    ...(list.length > MAX_ADDRESSES ? [tooMany(`${at}.addresses`, list.length, MAX_ADDRESSES)] : []),
    ...list.flatMap((address, i) => validateAddress(`${at}.addresses[${i}]`, type, address)),
    ...(nodeName != null ? invalidAll(`${at}.nodeName`, nodeName, dns1123Subdomain(nodeName)) : []),
    ...(topology > MAX_TOPOLOGY ? [tooMany(`${at}.deprecatedTopology`, topology, MAX_TOPOLOGY)] : []),
    ...validateLabels(`${at}.deprecatedTopology`, deprecatedTopology),
    ...(hostname != null ? invalidAll(`${at}.hostname`, hostname, dns1123Label(hostname)) : []),
    ...(isObject(hints) ? ["forZones", "forNodes"].flatMap((name) => validateHints(`${at}.hints.${name}`, items(hints, name), name === "forNodes" ? dns1123Subdomain : labelValue)) : []),
  ];
}

function validateAddress(field: string, type: string, address: string): FieldError[] {
  if (type === "FQDN") return validateDomain(field, address);
  if (type !== "IPv4" && type !== "IPv6") return [];
  const isOfType = `IPv${isIP(address)}` === type;
  return [...(isOfType ? [] : [invalidValue(field, address, `must be a valid ${type} address`)]), ...notSpecial(field, address)];
}

function validateDomain(field: string, address: string): FieldError[] {
  if (!address) return [required(field)];
  const name = address.replace(/\.$/, "");
  const problems = dns1123Subdomain(name);
  if (problems.length === 0 && !name.includes(".")) problems.push("should be a domain with at least two segments separated by dots");
  return invalidAll(field, address, problems);
}

function validateHints(field: string, hints: readonly Obj[], rule: (name: string) => string[]): FieldError[] {
  if (hints.length > MAX_HINTS) return [tooMany(field, hints.length, MAX_HINTS)];
  return hints.flatMap(({ name = "" }, i) => [
    ...(hints.slice(0, i).some((other) => (other.name ?? "") === name) ? [duplicate(`${field}[${i}].name`, name)] : []),
    ...invalidAll(`${field}[${i}].name`, name, rule(name)),
  ]);
}

function validatePorts(ports: readonly Obj[]): FieldError[] {
  if (ports.length > MAX_PORTS) return [tooMany("ports", ports.length, MAX_PORTS)];
  const names = new Set<string>();
  return ports.flatMap(({ name = "", protocol, appProtocol }, i) => {
    const at = `ports[${i}]`;
    const errors: FieldError[] = name ? invalidAll(`${at}.name`, name, dns1123Label(name)) : [];
    if (names.has(name)) errors.push(duplicate(`${at}.name`, name));
    names.add(name);
    errors.push(...oneOf(`${at}.protocol`, protocol, protocols));
    if (appProtocol != null) errors.push(...invalidAll(`${at}.appProtocol`, appProtocol, qualifiedName(appProtocol)));
    return errors;
  });
}
