/** Validation of dynamic resource allocation: claims, their templates and device classes. */
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, IMMUTABLE, invalidAll, invalidValue, notSupported, optionalOneOf, required, tooLong } from "../validate/field.ts";
import { dns1123Subdomain, qualifiedName } from "../validate/names.ts";
import { each, eachOnce, fullName, MAX_ITEMS, optionalLabelValue, requestName, requestReference, taintEffects, validateConfig } from "./device-parts.ts";

const MAX_ALTERNATIVES = 8;
const MAX_EXPRESSION = 10 * 1024;

export const validateResourceClaim = ({ spec }: Obj): FieldError[] => validateDevices("spec.devices", spec?.devices);
export const validateResourceClaimTemplate = ({ spec }: Obj): FieldError[] => validateDevices("spec.spec.devices", spec?.spec?.devices);
export const validateResourceClaimUpdate = (claim: Obj, old: Obj): FieldError[] =>
  same(claim.spec, old.spec) ? [] : [invalidValue("spec", claim.spec, IMMUTABLE)];

function validateDevices(at: string, devices: unknown): FieldError[] {
  if (!isObject(devices)) return [];
  const requests = items(devices, "requests");
  const reference = requestReference(requests);
  const references = (field: string, names: readonly string[] = []): FieldError[] => eachOnce(field, names, MAX_ITEMS, reference, (name) => name);
  return [
    ...eachOnce(`${at}.requests`, requests, MAX_ITEMS, validateRequest, ({ name }) => name),
    ...each(`${at}.constraints`, items(devices, "constraints"), MAX_ITEMS, (field, constraint) => [
      ...references(`${field}.requests`, constraint.requests), ...validateConstraint(field, constraint),
    ]),
    ...each(`${at}.config`, items(devices, "config"), MAX_ITEMS, (field, entry) => [...references(`${field}.requests`, entry.requests), ...validateConfig(field, entry)]),
  ];
}

function validateConstraint(at: string, { matchAttribute, distinctAttribute }: Obj): FieldError[] {
  if (matchAttribute != null) return fullName(`${at}.matchAttribute`, matchAttribute);
  if (distinctAttribute != null) return fullName(`${at}.distinctAttribute`, distinctAttribute);
  return [required(at, 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set')];
}

const ONE_WAY = "exactly one of `exactly` or `firstAvailable` is required";

function validateRequest(at: string, request: Obj): FieldError[] {
  const alternatives = items(request, "firstAvailable");
  return [...requestName(`${at}.name`, request.name), ...validateWays()];

  function validateWays(): FieldError[] {
    if (!isObject(request.exactly) && alternatives.length === 0) return [required(at, ONE_WAY)];
    if (isObject(request.exactly) && alternatives.length > 0) return [invalidValue(at, null, `${ONE_WAY}, but multiple fields are set`)];
    if (isObject(request.exactly)) return validateWanted(`${at}.exactly`, request.exactly);
    return eachOnce(`${at}.firstAvailable`, alternatives, MAX_ALTERNATIVES,
      (field, wanted) => [...requestName(`${field}.name`, wanted.name), ...validateWanted(field, wanted)], ({ name }) => name);
  }
}

function validateWanted(at: string, wanted: Obj): FieldError[] {
  const { deviceClassName: name, allocationMode: mode, count } = wanted;
  const errors = [
    ...(name ? invalidAll(`${at}.deviceClassName`, name, dns1123Subdomain(name)) : [required(`${at}.deviceClassName`)]),
    ...each(`${at}.selectors`, items(wanted, "selectors"), MAX_ITEMS, validateSelector),
  ];
  if (mode === "ExactCount" && !(count > 0)) errors.push(invalidValue(`${at}.count`, count ?? 0, "must be greater than zero"));
  else if (mode === "All" && count) errors.push(invalidValue(`${at}.count`, count, `must not be specified when allocationMode is '${mode}'`));
  else if (mode !== "ExactCount" && mode !== "All") errors.push(notSupported(`${at}.allocationMode`, mode ?? "", ["All", "ExactCount"]));
  return [...errors, ...items(wanted, "tolerations").flatMap((toleration, i) => validateToleration(`${at}.tolerations[${i}]`, toleration))];
}

function validateSelector(at: string, { cel }: Obj): FieldError[] {
  if (!isObject(cel)) return [required(`${at}.cel`)];
  return cel.expression?.length > MAX_EXPRESSION ? [tooLong(`${at}.cel.expression`, MAX_EXPRESSION)] : [];
}

/** Of devices: other effects than those of nodes, and an operator without a key means any. */
function validateToleration(at: string, { key, operator, value, effect }: Obj): FieldError[] {
  const errors = key ? invalidAll(`${at}.key`, key, qualifiedName(key)) : [];
  if (operator === "Exists") {
    if (value) errors.push(invalidValue(`${at}.value`, value, "must be empty for operator `Exists`"));
  } else if (operator === "Equal") errors.push(...optionalLabelValue(`${at}.value`, value));
  else errors.push(operator ? notSupported(`${at}.operator`, operator, ["Equal", "Exists"]) : required(`${at}.operator`));
  return [...errors, ...optionalOneOf(`${at}.effect`, effect || undefined, taintEffects)];
}

export function validateDeviceClass({ spec = {} }: Obj): FieldError[] {
  return [
    ...each("spec.selectors", items(spec, "selectors"), MAX_ITEMS, validateSelector),
    ...each("spec.config", items(spec, "config"), MAX_ITEMS, validateConfig),
  ];
}
