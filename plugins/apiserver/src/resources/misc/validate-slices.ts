/** Validation of ResourceSlices: what devices a driver offers, and where. */
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validateNodeSelector } from "../core/validate-scheduling.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, oneOf, required, tooLong } from "../validate/field.ts";
import { csiDriverName, dns1123Label, dns1123Subdomain, qualifiedName } from "../validate/names.ts";
import { attributeName, deviceName, each, eachOnce, MAX_ITEMS, optionalLabelValue, poolName, taintEffects } from "./device-parts.ts";

const MAX_DEVICES = 128;
/** With taints or counters, devices are larger. */
const MAX_LARGE_DEVICES = 64;
const MAX_TAINTS = 16;
const MAX_COUNTER_SETS = 8;
const MAX_COUNTERS = 32;
const MAX_CONSUMPTIONS = 2;
const MAX_VALUE = 64;

const listed = (fields: readonly string[], last: string): string => {
  const quoted = fields.map((field) => `\`${field}\``);
  return `${quoted.slice(0, -1).join(", ")}${last}${quoted.at(-1)}`;
};
const places = ["nodeName", "nodeSelector", "allNodes"] as const;
const ONE_PLACE = `exactly one of ${listed([...places, "perDeviceNodeSelection"], ", ")} is required`;
const PER_DEVICE = "`perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const ONE_PLACE_OF_DEVICE = `exactly one of ${listed(places, ", or ")} is required when ${PER_DEVICE}`;

export const validateResourceSlice = (slice: Obj): FieldError[] => validateSpec(slice.spec);
export const validateResourceSliceUpdate = ({ spec }: Obj, old: Obj): FieldError[] => validateSpec(spec, old.spec);

function validateSpec(spec: unknown, old?: Obj): FieldError[] {
  if (!isObject(spec)) return [required("spec")];
  const { devices, sharedCounters } = spec;
  const isLarge = items(spec, "devices").some((device) => device.taints?.length > 0 || device.consumesCounters?.length > 0);
  return [
    ...csiDriverName("spec.driver", spec.driver ?? ""), ...validatePool(spec.pool ?? {}),
    ...(old ? validateFrozen(spec, old) : []), ...validatePlace(spec),
    ...(devices && sharedCounters ? [invalidValue("spec", "", "only one of `sharedCounters` or `devices` is allowed")] : []),
    ...eachOnce("spec.devices", items(spec, "devices"), isLarge ? MAX_LARGE_DEVICES : MAX_DEVICES,
      (at, device) => validateDevice(at, device, spec.perDeviceNodeSelection === true, items(old, "devices").find(({ name }) => name === device.name)), ({ name }) => name),
    ...eachOnce("spec.sharedCounters", items(spec, "sharedCounters"), MAX_COUNTER_SETS, (at, set) => validateCounters(at, set, "name"), ({ name }) => name),
  ];
}

function validatePool({ name, resourceSliceCount: count = 0, generation }: Obj): FieldError[] {
  return [
    ...poolName("spec.pool.name", name),
    ...(count > 0 ? [] : [invalidValue("spec.pool.resourceSliceCount", count, "must be greater than zero")]),
    ...(generation < 0 ? [invalidValue("spec.pool.generation", generation, "must be greater than or equal to zero")] : []),
  ];
}

function validateFrozen(spec: Obj, old: Obj): FieldError[] {
  const frozen: readonly [string, unknown, unknown][] = [
    ["spec.pool.name", spec.pool?.name, old.pool?.name], ["spec.driver", spec.driver, old.driver], ["spec.nodeName", spec.nodeName, old.nodeName],
  ];
  return frozen.filter(([, now, before]) => now !== before).map(([field, now]) => invalidValue(field, now, IMMUTABLE));
}

function validatePlace(spec: Obj): FieldError[] {
  const { nodeName, nodeSelector } = spec;
  const errors: FieldError[] = [];
  if (nodeName === "") errors.push(invalidValue("spec.nodeName", "", "must be either unset or set to a non-empty string"));
  else if (nodeName) errors.push(...invalidAll("spec.nodeName", nodeName, dns1123Subdomain(nodeName)));
  if (isObject(nodeSelector)) {
    errors.push(...validateNodeSelector("spec.nodeSelector", nodeSelector));
    const terms = items(nodeSelector, "nodeSelectorTerms");
    if (terms.length !== 1) errors.push(invalidValue("spec.nodeSelector.nodeSelectorTerms", terms, "must have exactly one node selector term"));
  }
  for (const flag of ["allNodes", "perDeviceNodeSelection"]) if (spec[flag] === false) errors.push(invalidValue(`spec.${flag}`, false, "must be either unset or set to true"));
  const given = [...places, "perDeviceNodeSelection"].filter((place) => spec[place]);
  if (given.length === 0) errors.push(required("spec", ONE_PLACE));
  if (given.length > 1) errors.push(invalidValue("spec", `{${listed(given, ", ")}}`, `${ONE_PLACE}, but multiple fields are set`));
  return errors;
}

function validateDevice(at: string, device: Obj, hasOwnPlace: boolean, old: Obj | undefined): FieldError[] {
  const [attributes, capacity] = [Object.entries((device.attributes ?? {}) as Obj), Object.entries((device.capacity ?? {}) as Obj)];
  const total = attributes.length + capacity.length;
  return [
    ...deviceName(`${at}.name`, device.name),
    ...(total > MAX_ITEMS ? [invalidValue(at, total, `the total number of attributes and capacities must not exceed ${MAX_ITEMS}`)] : []),
    ...attributes.flatMap(([name, value]) => [...attributeName(`${at}.attributes[${name}]`, name), ...validateAttribute(`${at}.attributes[${name}]`, value as Obj)]),
    ...capacity.flatMap(([name, value]) => [
      ...attributeName(`${at}.capacity[${name}]`, name),
      ...((value as Obj).requestPolicy && !device.allowMultipleAllocations ? [forbidden(`${at}.capacity[${name}].requestPolicy`, "allowMultipleAllocations must be true")] : []),
    ]),
    ...(old && same(old.taints, device.taints) ? [] : each(`${at}.taints`, items(device, "taints"), MAX_TAINTS, validateTaint)),
    ...eachOnce(`${at}.consumesCounters`, items(device, "consumesCounters"), MAX_CONSUMPTIONS, (field, set) => validateCounters(field, set, "counterSet"), ({ counterSet }) => counterSet),
    ...(hasOwnPlace ? validateOwnPlace(at, device) : validateNoPlace(at, device)),
  ];
}

const isVersion = /^(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$/;

function validateAttribute(at: string, attribute: Obj): FieldError[] {
  const { string, version } = attribute;
  const errors = string?.length > MAX_VALUE ? [tooLong(`${at}.string`, MAX_VALUE)] : [];
  if (version != null && !isVersion.test(version)) errors.push(invalidValue(`${at}.version`, version, "must be a string compatible with semver.org spec 2.0.0"));
  if (version?.length > MAX_VALUE) errors.push(tooLong(`${at}.version`, MAX_VALUE));
  const given = ["bool", "int", "string", "version"].filter((type) => attribute[type] != null);
  return given.length === 1 ? errors : [...errors, invalidValue(at, given.length === 0 ? "" : attribute, "exactly one value must be specified")];
}

const validateTaint = (at: string, { key = "", value, effect }: Obj): FieldError[] => [
  ...invalidAll(`${at}.key`, key, qualifiedName(key)), ...optionalLabelValue(`${at}.value`, value), ...oneOf(`${at}.effect`, effect, taintEffects),
];

/** What a set offers, or what a device takes of one. */
function validateCounters(at: string, set: Obj, nameField: "name" | "counterSet"): FieldError[] {
  const [name, counters] = [set[nameField], Object.keys((set.counters ?? {}) as Obj)];
  const named = name ? invalidAll(`${at}.${nameField}`, name, dns1123Label(name)) : [required(`${at}.${nameField}`)];
  if (counters.length === 0) return [...named, required(`${at}.counters`)];
  const ofMany = each(`${at}.counters`, counters, MAX_COUNTERS, () => []);
  return [...named, ...(ofMany.length > 0 ? ofMany : counters.flatMap((counter) => invalidAll(`${at}.counters[${counter}]`, counter, dns1123Label(counter))))];
}

function validateOwnPlace(at: string, device: Obj): FieldError[] {
  const { nodeName, nodeSelector, allNodes } = device;
  const errors: FieldError[] = [];
  if (nodeName === "") errors.push(invalidValue(`${at}.nodeName`, "", "must not be empty"));
  else if (nodeName) errors.push(...invalidAll(`${at}.nodeName`, nodeName, dns1123Subdomain(nodeName)));
  if (isObject(nodeSelector)) errors.push(...validateNodeSelector(`${at}.nodeSelector`, nodeSelector));
  if (allNodes === false) errors.push(invalidValue(`${at}.allNodes`, false, "must be either unset or set to true"));
  const given = places.filter((place) => device[place]);
  if (given.length === 0) errors.push(required(at, ONE_PLACE_OF_DEVICE));
  if (given.length > 1) errors.push(invalidValue(at, `{${listed(given, ", ")}}`, ONE_PLACE_OF_DEVICE));
  return errors;
}

const validateNoPlace = (at: string, device: Obj): FieldError[] =>
  places.some((place) => device[place] != null) ? [invalidValue(at, null, `${listed(places, " and ")} can only be set if ${PER_DEVICE}`)] : [];
