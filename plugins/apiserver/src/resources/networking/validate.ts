/** Validation of networking.k8s.io. */
import { isIP } from "node:net";
import { cidrContains, parseCidr } from "@k3s-p/plugin-api/net";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, notSupported, oneOf, optionalOneOf, required } from "../validate/field.ts";
import { cidr, dns1035Label, dns1123Subdomain, portName, portNumber, portOrName, wildcardSubdomain } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";

export const CLASS = "kubernetes.io/ingress.class";
const pathTypes = ["Exact", "ImplementationSpecific", "Prefix"];
const protocols = ["SCTP", "TCP", "UDP"];

export function validateIngress({ spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (!spec.rules?.length && !isObject(spec.defaultBackend)) {
    errors.push(invalidValue("spec", spec.rules ?? null, "either `defaultBackend` or `rules` must be specified"));
  }
  items(spec, "tls").forEach((tls, i) => {
    ((tls.hosts ?? []) as string[]).forEach((host, j) => errors.push(...validateHost(`spec.tls[${i}].hosts[${j}]`, host)));
    if (tls.secretName) errors.push(...invalidAll(`spec.tls[${i}].secretName`, tls.secretName, dns1123Subdomain(tls.secretName)));
  });
  if (isObject(spec.defaultBackend)) errors.push(...validateBackend("spec.defaultBackend", spec.defaultBackend));
  items(spec, "rules").forEach((rule, i) => errors.push(...validateRule(`spec.rules[${i}]`, rule)));
  if (spec.ingressClassName != null) errors.push(...invalidAll("spec.ingressClassName", spec.ingressClassName, dns1123Subdomain(spec.ingressClassName)));
  return errors;
}

export function validateIngressCreate(ingress: Obj): FieldError[] {
  const annotation = ingress.metadata?.annotations?.[CLASS];
  const both = annotation !== undefined && ingress.spec.ingressClassName != null && annotation !== ingress.spec.ingressClassName;
  const errors = validateIngress(ingress);
  return both ? [...errors, invalidValue(`annotations.${CLASS}`, annotation, "ingressClassName and annotation must match when both are specified")] : errors;
}

const validateHost = (field: string, host: string): FieldError[] =>
  invalidAll(field, host, host.includes("*") ? wildcardSubdomain(host) : dns1123Subdomain(host));

function validateRule(at: string, rule: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (rule.host) {
    if (isIP(rule.host)) errors.push(invalidValue(`${at}.host`, rule.host, "must be a DNS name, not an IP address"));
    else errors.push(...validateHost(`${at}.host`, rule.host));
  }
  if (!isObject(rule.http)) return errors;
  const paths = items(rule.http, "paths");
  if (paths.length === 0) errors.push(required(`${at}.http.paths`));
  paths.forEach((path, i) => errors.push(...validatePath(`${at}.http.paths[${i}]`, path)));
  return errors;
}

const badSequences = ["//", "/./", "/../", "%2f", "%2F"];
const badSuffixes = ["/..", "/."];

function validatePath(at: string, path: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (path.pathType == null) return [required(`${at}.pathType`, "pathType must be specified")];
  const text: string = path.path ?? "";
  if (path.pathType === "Exact" || path.pathType === "Prefix") {
    if (!text.startsWith("/")) errors.push(invalidValue(`${at}.path`, text, "must be an absolute path"));
    if (text) {
      for (const bad of badSequences) if (text.includes(bad)) errors.push(invalidValue(`${at}.path`, text, `must not contain '${bad}'`));
      for (const bad of badSuffixes) if (text.endsWith(bad)) errors.push(invalidValue(`${at}.path`, text, `cannot end with '${bad}'`));
    }
  } else if (path.pathType === "ImplementationSpecific") {
    if (text && !text.startsWith("/")) errors.push(invalidValue(`${at}.path`, text, "must be an absolute path"));
  } else errors.push(notSupported(`${at}.pathType`, path.pathType, pathTypes));
  return [...errors, ...validateBackend(`${at}.backend`, path.backend ?? {})];
}

function validateBackend(at: string, { service, resource }: Obj): FieldError[] {
  if (isObject(service) && isObject(resource)) return [invalidValue(at, "", "cannot set both resource and service backends")];
  if (isObject(resource)) return ["kind", "name"].filter((name) => !resource[name]).map((name) => required(`${at}.resource.${name}`));
  if (!isObject(service)) return [required(at, "resource or service backend is required")];
  const errors = service.name ? invalidAll(`${at}.service.name`, service.name, dns1035Label(service.name)) : [required(`${at}.service.name`)];
  const { name, number } = service.port ?? {};
  if (name && number) errors.push(invalidValue(at, "", "cannot set both port name & port number"));
  else if (name) errors.push(...invalidAll(`${at}.service.port.name`, name, portName(name)));
  else if (number) errors.push(...invalidAll(`${at}.service.port.number`, number, portNumber(number)));
  else errors.push(required(at, "port name or number is required"));
  return errors;
}

export function validateIngressClass({ spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (!spec.controller) errors.push(required("spec.controller"));
  else if (!/^[^/]+\/.+/.test(spec.controller)) errors.push(invalidValue("spec.controller", spec.controller, 'must be a domain-prefixed path (such as "acme.io/foo")'));
  const { parameters } = spec;
  if (!isObject(parameters)) return errors;
  for (const name of ["kind", "name"]) if (!parameters[name]) errors.push(required(`spec.parameters.${name}`));
  errors.push(...oneOf("spec.parameters.scope", parameters.scope, ["Cluster", "Namespace"]));
  if (parameters.scope === "Namespace" && !parameters.namespace) errors.push(required("spec.parameters.namespace", "`parameters.scope` is set to 'Namespace'"));
  if (parameters.scope === "Cluster" && parameters.namespace) errors.push(forbidden("spec.parameters.namespace", "`parameters.scope` is set to 'Cluster'"));
  return errors;
}

export function validateIngressClassUpdate(ingressClass: Obj, old: Obj): FieldError[] {
  const errors = validateIngressClass(ingressClass);
  if (ingressClass.spec.controller === old.spec.controller) return errors;
  return [...errors, invalidValue("spec.controller", ingressClass.spec.controller, IMMUTABLE)];
}

export function validateNetworkPolicy({ spec }: Obj): FieldError[] {
  const errors = validateLabelSelector("spec.podSelector", spec.podSelector);
  for (const [list, peers] of [["ingress", "from"], ["egress", "to"]] as const) {
    items(spec, list).forEach((rule, i) => {
      const at = `spec.${list}[${i}]`;
      items(rule, "ports").forEach((port, j) => errors.push(...validatePolicyPort(`${at}.ports[${j}]`, port)));
      items(rule, peers).forEach((peer, j) => errors.push(...validatePeer(`${at}.${peers}[${j}]`, peer)));
    });
  }
  const types: string[] = spec.policyTypes ?? [];
  if (types.length > 2) return [...errors, invalidValue("spec.policyTypes", types, "may not specify more than two policyTypes")];
  types.forEach((type, i) => {
    if (type !== "Ingress" && type !== "Egress") errors.push(notSupported(`spec.policyTypes[${i}]`, type, ["Ingress", "Egress"]));
  });
  return errors;
}

function validatePolicyPort(at: string, { protocol, port, endPort }: Obj): FieldError[] {
  const errors = optionalOneOf(`${at}.protocol`, protocol, protocols);
  if (port != null) errors.push(...portOrName(`${at}.port`, port));
  if (endPort == null) return errors;
  if (port == null) return [...errors, required(`${at}.port`, "must be specified when `endPort` is specified")];
  if (typeof port === "string") return [...errors, required(`${at}.port`, "must be an integer when `endPort` is specified")];
  if (endPort < port) errors.push(invalidValue(`${at}.endPort`, endPort, "must be greater than or equal to `port`"));
  return [...errors, ...invalidAll(`${at}.endPort`, endPort, portNumber(endPort))];
}

function validatePeer(at: string, peer: Obj): FieldError[] {
  const selectors = ["podSelector", "namespaceSelector"].filter((name) => isObject(peer[name]));
  const errors = selectors.flatMap((name) => validateLabelSelector(`${at}.${name}`, peer[name]));
  if (isObject(peer.ipBlock)) {
    errors.push(...validateBlock(`${at}.ipBlock`, peer.ipBlock));
    if (selectors.length > 0) errors.push(forbidden(at, "may not specify both ipBlock and another peer"));
  } else if (selectors.length === 0) errors.push(required(at, "must specify a peer"));
  return errors;
}

function validateBlock(at: string, block: Obj): FieldError[] {
  if (!block.cidr) return [required(`${at}.cidr`)];
  const range = parseCidr(block.cidr);
  if (!range) return invalidAll(`${at}.cidr`, block.cidr, cidr(block.cidr));
  return ((block.except ?? []) as string[]).flatMap((text, i) => {
    const inner = parseCidr(text);
    if (!inner) return invalidAll(`${at}.except[${i}]`, text, cidr(text));
    const inside = cidrContains(range, text.split("/")[0]!) && inner.prefix > range.prefix;
    return inside ? [] : [invalidValue(`${at}.except[${i}]`, text, "must be a strict subset of `cidr`")];
  });
}

export function validateServiceCidr({ spec }: Obj): FieldError[] {
  const cidrs: string[] = spec?.cidrs ?? [];
  if (cidrs.length === 0) return [required("spec.cidrs", "at least one CIDR required")];
  if (cidrs.length > 2) return [invalidValue("spec", spec, "may only hold up to 2 values")];
  return cidrs.flatMap((text, i) => invalidAll(`spec.cidrs[${i}]`, text, cidr(text)));
}

export function validateServiceCidrUpdate(object: Obj, old: Obj): FieldError[] {
  const kept = ((old.spec?.cidrs ?? []) as string[]).every((text, i) => object.spec?.cidrs?.[i] === text);
  return kept ? validateServiceCidr(object) : [invalidValue("spec.cidrs", object.spec?.cidrs, IMMUTABLE)];
}

export function validateIpAddress({ metadata, spec }: Obj): FieldError[] {
  const errors: FieldError[] = isIP(metadata?.name ?? "") ? [] : [invalidValue("metadata.name", metadata?.name, "must be a valid IP address in canonical form")];
  const ref = spec?.parentRef;
  if (!isObject(ref)) return [...errors, required("spec.parentRef")];
  return [...errors, ...["resource", "name"].filter((name) => !ref[name]).map((name) => required(`spec.parentRef.${name}`))];
}

export const validateIpAddressUpdate = (object: Obj, old: Obj): FieldError[] =>
  same(object.spec, old.spec) ? [] : [invalidValue("spec.parentRef", object.spec?.parentRef, IMMUTABLE)];
