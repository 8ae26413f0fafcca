/** Validation of NetworkPolicies. */
import { cidrContains, parseCidr } from "@k3s-p/plugin-api/net";
import { isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, invalidAll, invalidValue, notSupported, required } from "../validate/field.ts";
import { cidr, portName, portNumber } from "../validate/names.ts";
import { validateLabelSelector } from "../validate/selector.ts";

const protocols = ["TCP", "UDP", "SCTP"];
const policyTypes = ["Ingress", "Egress"];
const directions = [["ingress", "from"], ["egress", "to"]] as const;

/** Ranges that the old policy has stay as they are. */
export function validateNetworkPolicy({ spec }: Obj, old?: Obj): FieldError[] {
  const known = new Set(old ? blocksOf(old.spec).flatMap((block): string[] => [block.cidr, ...(block.except ?? [])]) : []);
  const errors = validateLabelSelector("spec.podSelector", spec.podSelector);
  for (const [list, peers] of directions) {
    items(spec, list).forEach((rule, i) => {
      const at = `spec.${list}[${i}]`;
      items(rule, "ports").forEach((port, j) => errors.push(...validatePort(`${at}.ports[${j}]`, port)));
      items(rule, peers).forEach((peer, j) => errors.push(...validatePeer(`${at}.${peers}[${j}]`, peer, known)));
    });
  }
  const types: string[] = spec.policyTypes ?? [];
  if (types.length > policyTypes.length) return [...errors, invalidValue("spec.policyTypes", types, "may not specify more than two policyTypes")];
  return [...errors, ...types.flatMap((type, i) => (policyTypes.includes(type) ? [] : [notSupported(`spec.policyTypes[${i}]`, type, policyTypes)]))];
}

const blocksOf = (spec: Obj): Obj[] => directions.flatMap(([list, peers]) =>
  items(spec, list).flatMap((rule) => items(rule, peers).map(({ ipBlock }) => ipBlock).filter(isObject)));

function validatePort(at: string, { protocol, port, endPort }: Obj): FieldError[] {
  const errors = protocol == null || protocols.includes(protocol) ? [] : [notSupported(`${at}.protocol`, protocol, protocols)];
  if (typeof port === "string") {
    if (endPort != null) errors.push(invalidValue(`${at}.endPort`, endPort, "may not be specified when `port` is non-numeric"));
    return [...errors, ...invalidAll(`${at}.port`, port, portName(port))];
  }
  if (port == null) return endPort == null ? errors : [...errors, invalidValue(`${at}.endPort`, endPort, "may not be specified when `port` is not specified")];
  errors.push(...invalidAll(`${at}.port`, port, portNumber(port)));
  if (endPort == null) return errors;
  if (endPort < port) errors.push(invalidValue(`${at}.endPort`, port, "must be greater than or equal to `port`"));
  return [...errors, ...invalidAll(`${at}.endPort`, endPort, portNumber(endPort))];
}

function validatePeer(at: string, peer: Obj, known: ReadonlySet<string>): FieldError[] {
  const selectors = ["podSelector", "namespaceSelector"].filter((name) => isObject(peer[name]));
  const errors = selectors.flatMap((name) => validateLabelSelector(`${at}.${name}`, peer[name]));
  if (!isObject(peer.ipBlock)) return selectors.length > 0 ? errors : [required(at, "must specify a peer")];
  errors.push(...validateBlock(`${at}.ipBlock`, peer.ipBlock, known));
  return selectors.length > 0 ? [...errors, forbidden(at, "may not specify both ipBlock and another peer")] : errors;
}

function validateBlock(at: string, block: Obj, known: ReadonlySet<string>): FieldError[] {
  if (!block.cidr) return [required(`${at}.cidr`)];
  const judge = (field: string, text: string): FieldError[] => (known.has(text) ? [] : invalidAll(field, text, cidr(text)));
  const range = parseCidr(block.cidr);
  const errors = judge(`${at}.cidr`, block.cidr);
  if (!range) return errors;
  ((block.except ?? []) as string[]).forEach((text, i) => {
    const field = `${at}.except[${i}]`;
    errors.push(...judge(field, text));
    const inner = parseCidr(text);
    if (inner && !(cidrContains(range, text.split("/")[0]!) && inner.prefix > range.prefix)) errors.push(invalidValue(field, text, "must be a strict subset of `cidr`"));
  });
  return errors;
}
