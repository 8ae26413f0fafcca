/** Validation of ServiceCIDRs and IPAddresses. */
import { parseCidr } from "@k3s-p/plugin-api/net";
import { isObject, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, IMMUTABLE, invalidAll, invalidValue, required } from "../validate/field.ts";
import { cidr, dns1123Subdomain, ipAddress, pathSegment } from "../validate/names.ts";

export function validateServiceCidr({ spec }: Obj): FieldError[] {
  const at = "spec.cidrs";
  const cidrs: string[] = spec?.cidrs ?? [];
  if (cidrs.length === 0) return [required(at, "at least one CIDR required")];
  if (cidrs.length > 2) return [invalidValue(at, spec, "may only hold up to 2 values")];
  const [first, second] = cidrs.map((text) => parseCidr(text)?.family);
  if (cidrs.length === 2 && (!first || !second || first === second)) {
    return [invalidValue(at, spec, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")];
  }
  return cidrs.flatMap((text, i) => invalidAll(`${at}[${i}]`, text, cidr(text)));
}

export const validateServiceCidrUpdate = (object: Obj, old: Obj): FieldError[] =>
  same(object.spec?.cidrs, old.spec?.cidrs) ? [] : [invalidValue("spec.cidrs", object.spec?.cidrs, IMMUTABLE)];

export function validateIpAddress({ metadata, spec }: Obj): FieldError[] {
  const errors = validateAddressName(metadata?.name ?? "");
  const ref = spec?.parentRef;
  if (!isObject(ref)) return [...errors, required("spec.parentRef")];
  if (ref.group) errors.push(...invalidAll("spec.parentRef.group", ref.group, dns1123Subdomain(ref.group)));
  for (const name of ["resource", "name", "namespace"]) {
    if (ref[name]) errors.push(...invalidAll(`spec.parentRef.${name}`, ref[name], pathSegment(ref[name])));
    else if (name !== "namespace") errors.push(required(`spec.parentRef.${name}`));
  }
  return errors;
}

/** The name is the address, in its shortest form. */
function validateAddressName(name: string): FieldError[] {
  const problems = ipAddress(name);
  const canonical = problems.length === 0 && name.includes(":") ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name;
  return invalidAll("metadata.name", name, canonical === name ? problems : [`must be in canonical form (${JSON.stringify(canonical)})`]);
}

export const validateIpAddressUpdate = (object: Obj, old: Obj): FieldError[] =>
  same(object.spec?.parentRef, old.spec?.parentRef) ? [] : [invalidValue("spec.parentRef", object.spec?.parentRef, IMMUTABLE)];
