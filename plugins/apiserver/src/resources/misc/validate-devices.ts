/** Validation of dynamic resource allocation: claims, their templates, device classes and slices. */
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validateNodeSelector, validateTolerations } from "../core/validate-scheduling.ts";
import {
  duplicate, type FieldError, IMMUTABLE, invalidAll, invalidRule, invalidValue, nonNegative, notSupported, required, tooLong, tooMany,
} from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain } from "../validate/names.ts";

const MAX_ITEMS = 32;
const MAX_DEVICES = 128;
const MAX_EXPRESSION = 10 * 1024;

const atMost = (field: string, list: readonly unknown[], max: number): FieldError[] => (list.length > max ? [tooMany(field, list.length, max)] : []);

function named(field: string, value: unknown, rule: (value: string) => string[]): FieldError[] {
  return typeof value === "string" && value !== "" ? invalidAll(field, value, rule(value)) : [required(field)];
}

function unique(fields: readonly { readonly field: string; readonly name: unknown }[]): FieldError[] {
  const seen = new Set<unknown>();
  return fields.flatMap(({ field, name }) => (name && seen.size === seen.add(name).size ? [duplicate(field, name)] : []));
}

export const validateResourceClaim = ({ spec }: Obj): FieldError[] => validateDevices("spec.devices", spec?.devices);
export const validateResourceClaimTemplate = ({ spec }: Obj): FieldError[] => validateDevices("spec.spec.devices", spec?.spec?.devices);
export const validateResourceClaimUpdate = (claim: Obj, old: Obj): FieldError[] =>
  same(claim.spec, old.spec) ? [] : [invalidValue("spec", claim.spec, IMMUTABLE)];

function validateDevices(at: string, devices: unknown): FieldError[] {
  if (!isObject(devices)) return [];
  const [requests, constraints, config] = [items(devices, "requests"), items(devices, "constraints"), items(devices, "config")];
  const known = new Set(requests.flatMap(({ name, firstAvailable }) => [name, ...((firstAvailable ?? []) as Obj[]).map((sub) => `${name}/${sub.name}`)]));
  const refersTo = (field: string, names: readonly string[] = []): FieldError[] => names.flatMap((name, i) => (known.has(name) ? []
    : [invalidValue(`${field}[${i}]`, name, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'")]));
  return [
    ...atMost(`${at}.requests`, requests, MAX_ITEMS), ...requests.flatMap((request, i) => validateRequest(`${at}.requests[${i}]`, request)),
    ...unique(requests.map(({ name }, i) => ({ field: `${at}.requests[${i}].name`, name }))),
    ...atMost(`${at}.constraints`, constraints, MAX_ITEMS),
    ...constraints.flatMap((constraint, i) => [
      ...refersTo(`${at}.constraints[${i}].requests`, constraint.requests),
      ...(constraint.matchAttribute || constraint.distinctAttribute ? [] : [required(`${at}.constraints[${i}]`, "exactly one of `matchAttribute` or `distinctAttribute` is required")]),
    ]),
    ...atMost(`${at}.config`, config, MAX_ITEMS),
    ...config.flatMap((entry, i) => [...refersTo(`${at}.config[${i}].requests`, entry.requests), ...validateConfig(`${at}.config[${i}]`, entry)]),
  ];
}

function validateRequest(at: string, request: Obj): FieldError[] {
  const errors = named(`${at}.name`, request.name, dns1123Label);
  const alternatives = items(request, "firstAvailable");
  const [exact, several] = [isObject(request.exactly), alternatives.length > 0];
  if (exact === several) errors.push(exact ? invalidRule(at, "exactly one of `exactly` or `firstAvailable` is required") : required(at, "exactly one of `exactly` or `firstAvailable` is required"));
  if (exact) errors.push(...validateWanted(`${at}.exactly`, request.exactly));
  return [
    ...errors, ...atMost(`${at}.firstAvailable`, alternatives, 8),
    ...alternatives.flatMap((wanted, i) => [...named(`${at}.firstAvailable[${i}].name`, wanted.name, dns1123Label), ...validateWanted(`${at}.firstAvailable[${i}]`, wanted)]),
    ...unique(alternatives.map(({ name }, i) => ({ field: `${at}.firstAvailable[${i}].name`, name }))),
  ];
}

function validateWanted(at: string, wanted: Obj): FieldError[] {
  const { deviceClassName, allocationMode: mode, count } = wanted;
  const errors = [...named(`${at}.deviceClassName`, deviceClassName, dns1123Subdomain), ...validateSelectors(`${at}.selectors`, items(wanted, "selectors"))];
  if (mode === "ExactCount" && !(count > 0)) errors.push(invalidValue(`${at}.count`, count ?? 0, "must be greater than zero"));
  else if (mode === "All" && count) errors.push(invalidValue(`${at}.count`, count, `must not be specified when allocationMode is '${mode}'`));
  else if (mode !== "ExactCount" && mode !== "All") errors.push(notSupported(`${at}.allocationMode`, mode ?? "", ["All", "ExactCount"]));
  return [...errors, ...validateTolerations(`${at}.tolerations`, items(wanted, "tolerations"))];
}

function validateSelectors(at: string, selectors: readonly Obj[]): FieldError[] {
  return [...atMost(at, selectors, MAX_ITEMS), ...selectors.flatMap(({ cel }, i) => {
    if (!isObject(cel)) return [required(`${at}[${i}].cel`)];
    return cel.expression?.length > MAX_EXPRESSION ? [tooLong(`${at}[${i}].cel.expression`, MAX_EXPRESSION)] : [];
  })];
}

function validateConfig(at: string, { opaque }: Obj): FieldError[] {
  if (!isObject(opaque)) return [required(`${at}.opaque`)];
  const errors = named(`${at}.opaque.driver`, opaque.driver, dns1123Subdomain);
  if (opaque.parameters == null) errors.push(required(`${at}.opaque.parameters`));
  else if (!isObject(opaque.parameters)) errors.push(invalidValue(`${at}.opaque.parameters`, "<value omitted>", "must be a valid JSON object"));
  return errors;
}

export function validateDeviceClass({ spec = {} }: Obj): FieldError[] {
  const config = items(spec, "config");
  return [
    ...validateSelectors("spec.selectors", items(spec, "selectors")),
    ...atMost("spec.config", config, MAX_ITEMS), ...config.flatMap((entry, i) => validateConfig(`spec.config[${i}]`, entry)),
  ];
}

const places = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"] as const;
const ONE_PLACE = `exactly one of ${places.map((place) => `\`${place}\``).join(", ")} is required`;

export function validateResourceSlice({ spec }: Obj): FieldError[] {
  if (!isObject(spec)) return [required("spec")];
  const { pool = {}, driver, nodeName, nodeSelector } = spec;
  const devices = items(spec, "devices");
  const errors = [
    ...named("spec.driver", driver, dns1123Subdomain), ...named("spec.pool.name", pool.name, (name) => name.split("/").flatMap(dns1123Subdomain)),
    ...(pool.resourceSliceCount > 0 ? [] : [invalidValue("spec.pool.resourceSliceCount", pool.resourceSliceCount ?? 0, "must be greater than zero")]),
    ...nonNegative("spec.pool.generation", pool.generation),
  ];
  const given = places.filter((place) => spec[place]);
  if (given.length === 0) errors.push(required("spec", ONE_PLACE));
  if (given.length > 1) errors.push(invalidValue("spec", `{${given.map((place) => `\`${place}\``).join(", ")}}`, ONE_PLACE));
  if (nodeName) errors.push(...invalidAll("spec.nodeName", nodeName, dns1123Subdomain(nodeName)));
  if (isObject(nodeSelector)) errors.push(...validateNodeSelector("spec.nodeSelector", nodeSelector));
  return [
    ...errors, ...atMost("spec.devices", devices, MAX_DEVICES),
    ...devices.flatMap(({ name, attributes = {}, capacity = {} }, i) => [
      ...named(`spec.devices[${i}].name`, name, dns1123Label),
      ...atMost(`spec.devices[${i}]`, [...Object.keys(attributes as object), ...Object.keys(capacity as object)], MAX_ITEMS),
    ]),
    ...unique(devices.map(({ name }, i) => ({ field: `spec.devices[${i}].name`, name }))),
  ];
}

export function validateResourceSliceUpdate(slice: Obj, old: Obj): FieldError[] {
  const frozen: readonly [string, (spec: Obj) => unknown][] = [["spec.driver", (s) => s.driver], ["spec.pool.name", (s) => s.pool?.name], ["spec.nodeName", (s) => s.nodeName]];
  const changed = frozen.filter(([, read]) => read(slice.spec) !== read(old.spec)).map(([field, read]) => invalidValue(field, read(slice.spec), IMMUTABLE));
  return [...validateResourceSlice(slice), ...changed];
}
