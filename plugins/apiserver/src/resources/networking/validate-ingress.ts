/** Validation of Ingresses and IngressClasses. */
import { isIP } from "node:net";
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, notSupported, required, tooLong } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain, domainPrefixedPath, ipAddress, pathSegment, portName, portNumber, wildcardSubdomain } from "../validate/names.ts";

export const CLASS = "kubernetes.io/ingress.class";
const pathTypes = ["Exact", "ImplementationSpecific", "Prefix"];
const NOT_AN_IP = "must be a DNS name, not an IP address";

/** What an Ingress of old has wrong, and may keep. */
interface Tolerance {
  readonly secretNames?: boolean;
  readonly wildcardRules?: boolean;
}

export function validateIngress({ metadata, spec }: Obj): FieldError[] {
  const annotation = metadata?.annotations?.[CLASS];
  const differs = annotation !== undefined && spec.ingressClassName != null && annotation !== spec.ingressClassName;
  const errors = validateSpec(spec, {});
  return differs ? [...errors, invalidValue(`annotations.${CLASS}`, annotation, "must match `ingressClassName` when both are specified")] : errors;
}

export const validateIngressUpdate = ({ spec }: Obj, { spec: old }: Obj): FieldError[] => validateSpec(spec, {
  secretNames: items(old, "tls").some(({ secretName }) => secretName && dns1123Subdomain(secretName).length > 0),
  wildcardRules: items(old, "rules").some((rule) => rule.host?.includes("*") && validateHttp("", rule.http).length > 0),
});

function validateSpec(spec: Obj, tolerance: Tolerance): FieldError[] {
  const errors: FieldError[] = [];
  if (!spec.rules?.length && !isObject(spec.defaultBackend)) {
    errors.push(invalidValue("spec", spec.rules ?? null, "either `defaultBackend` or `rules` must be specified"));
  }
  if (isObject(spec.defaultBackend)) errors.push(...validateBackend("spec.defaultBackend", spec.defaultBackend));
  items(spec, "rules").forEach((rule, i) => errors.push(...validateRule(`spec.rules[${i}]`, rule, tolerance)));
  items(spec, "tls").forEach(({ hosts = [], secretName }, i) => {
    (hosts as string[]).forEach((host, j) => errors.push(...validateHost(`spec.tls[${i}].hosts[${j}]`, host)));
    if (secretName && !tolerance.secretNames) errors.push(...invalidAll(`spec.tls[${i}].secretName`, secretName, dns1123Subdomain(secretName)));
  });
  if (spec.ingressClassName != null) errors.push(...invalidAll("spec.ingressClassName", spec.ingressClassName, dns1123Subdomain(spec.ingressClassName)));
  return errors;
}

const validateHost = (field: string, host: string): FieldError[] =>
  invalidAll(field, host, host.includes("*") ? wildcardSubdomain(host) : dns1123Subdomain(host));

function validateRule(at: string, { host, http }: Obj, { wildcardRules }: Tolerance): FieldError[] {
  const errors = host ? [...(isIP(host) ? [invalidValue(`${at}.host`, host, NOT_AN_IP)] : []), ...validateHost(`${at}.host`, host)] : [];
  return wildcardRules && host?.includes("*") ? errors : [...errors, ...validateHttp(`${at}.http`, http)];
}

function validateHttp(at: string, http: unknown): FieldError[] {
  if (!isObject(http)) return [];
  const paths = items(http, "paths");
  return paths.length === 0 ? [required(`${at}.paths`)] : paths.flatMap((path, i) => validatePath(`${at}.paths[${i}]`, path));
}

const badSequences = ["//", "/./", "/../", "%2f", "%2F"];
const badSuffixes = ["/..", "/."];

function validatePath(at: string, { pathType, path = "", backend = {} }: Obj): FieldError[] {
  if (pathType == null) return [required(`${at}.pathType`, "pathType must be specified")];
  const errors: FieldError[] = [];
  const isWhole = pathType === "Exact" || pathType === "Prefix";
  if (!pathTypes.includes(pathType)) errors.push(notSupported(`${at}.pathType`, pathType, pathTypes));
  else if (!path.startsWith("/") && (isWhole || path)) errors.push(invalidValue(`${at}.path`, path, "must be an absolute path"));
  if (isWhole) {
    for (const bad of badSequences) if (path.includes(bad)) errors.push(invalidValue(`${at}.path`, path, `must not contain '${bad}'`));
    for (const bad of badSuffixes) if (path.endsWith(bad)) errors.push(invalidValue(`${at}.path`, path, `cannot end with '${bad}'`));
  }
  return [...errors, ...validateBackend(`${at}.backend`, backend)];
}

function validateBackend(at: string, { service, resource }: Obj): FieldError[] {
  if (isObject(service) && isObject(resource)) return [invalidValue(at, "", "cannot set both resource and service backends")];
  if (isObject(resource)) return validateReference(`${at}.resource`, resource);
  if (!isObject(service)) return [invalidValue(at, "", "resource or service backend is required")];
  const errors = service.name ? invalidAll(`${at}.service.name`, service.name, dns1123Label(service.name)) : [required(`${at}.service.name`)];
  const { name, number } = service.port ?? {};
  if (name && number) return [...errors, invalidValue(at, "", "cannot set both port name & port number")];
  if (name) return [...errors, ...invalidAll(`${at}.service.port.name`, name, portName(name))];
  if (number) return [...errors, ...invalidAll(`${at}.service.port.number`, number, portNumber(number))];
  return [...errors, required(at, "port name or number is required")];
}

function validateReference(at: string, { apiGroup, kind, name }: Obj): FieldError[] {
  const group = apiGroup == null ? [] : invalidAll(`${at}.apiGroup`, apiGroup, dns1123Subdomain(apiGroup));
  return [...group, ...Object.entries({ kind, name }).flatMap(([field, value]) =>
    value ? invalidAll(`${at}.${field}`, value, pathSegment(value)) : [required(`${at}.${field}`, `${field} is required`)])];
}

/** Where an Ingress is reached. */
export function validateIngressStatus({ status }: Obj): FieldError[] {
  return items(status?.loadBalancer, "ingress").flatMap(({ ip, hostname }, i) => {
    const at = `status.loadBalancer.ingress[${i}]`;
    const errors = ip ? invalidAll(`${at}.ip`, ip, ipAddress(ip)) : [];
    if (hostname) errors.push(...invalidAll(`${at}.hostname`, hostname, dns1123Subdomain(hostname)));
    return isIP(hostname ?? "") ? [...errors, invalidValue(`${at}.hostname`, hostname, NOT_AN_IP)] : errors;
  });
}

const MAX_CONTROLLER = 250;
const scopes = ["Cluster", "Namespace"];

export function validateIngressClass({ spec }: Obj): FieldError[] {
  const controller = spec.controller ?? "";
  return [
    ...(controller.length > MAX_CONTROLLER ? [tooLong("spec.controller", MAX_CONTROLLER)] : []),
    ...domainPrefixedPath("spec.controller", controller),
    ...(isObject(spec.parameters) ? validateParameters("spec.parameters", spec.parameters) : []),
  ];
}

function validateParameters(at: string, parameters: Obj): FieldError[] {
  const { scope, namespace } = parameters;
  const errors = validateReference(at, parameters);
  if (scope == null) return [...errors, required(`${at}.scope`)];
  if (!scopes.includes(scope)) return [...errors, notSupported(`${at}.scope`, scope, scopes)];
  if (scope === "Cluster") return namespace == null ? errors : [...errors, forbidden(`${at}.namespace`, "`parameters.scope` is set to 'Cluster'")];
  if (namespace == null) return [...errors, required(`${at}.namespace`, "`parameters.scope` is set to 'Namespace'")];
  return [...errors, ...invalidAll(`${at}.namespace`, namespace, dns1123Label(namespace))];
}

export const validateIngressClassUpdate = (ingressClass: Obj, old: Obj): FieldError[] => [
  ...(ingressClass.spec.controller === old.spec.controller ? [] : [invalidValue("spec.controller", ingressClass.spec.controller, IMMUTABLE)]),
  ...validateIngressClass(ingressClass),
];
