/** Validation of LimitRanges. */
import { compareQuantity, parseNano } from "@k3s-p/plugin-api/kube";
import { items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, required } from "../validate/field.ts";
import { qualifiedName } from "../validate/names.ts";
import { mayOvercommit, ofAnything, ofContainers } from "../validate/resources.ts";

type Quantities = Readonly<Record<string, string>>;

const types = ["Pod", "Container", "PersistentVolumeClaim"];

export function validateLimitRange({ spec }: Obj): FieldError[] {
  const seen = new Set<string>();
  return items(spec, "limits").flatMap((limit, i) => {
    const type: string = limit.type ?? "";
    const again = seen.has(type) ? [duplicate(`spec.limits[${i}].type`, type)] : [];
    seen.add(type);
    return [...validateType(`spec.limits[${i}].type`, type), ...again, ...validateLimit(`spec.limits[${i}]`, type, limit)];
  });
}

function validateType(field: string, type: string): FieldError[] {
  const problems = qualifiedName(type);
  if (problems.length === 0 && !type.includes("/") && !types.includes(type)) problems.push("must be a standard limit type or fully qualified");
  return invalidAll(field, type, problems);
}

function validateLimit(at: string, type: string, limit: Obj): FieldError[] {
  const isPod = type === "Pod";
  const nameRule = isPod || type === "Container" ? ofContainers : ofAnything;
  const names = (list: string): FieldError[] => Object.keys(limit[list] ?? {}).flatMap((name) => nameRule(`${at}.${list}[${name}]`, name));
  const defaults = ["default", "defaultRequest"];
  const lacksStorage = type === "PersistentVolumeClaim" && limit.min?.storage == null && limit.max?.storage == null;
  return [
    ...names("max"), ...names("min"),
    ...defaults.flatMap((list) => (!isPod ? names(list) : Object.keys(limit[list] ?? {}).length > 0 ? [forbidden(`${at}.${list}`, "may not be specified when `type` is 'Pod'")] : [])),
    ...(lacksStorage ? [required(`${at}.limits`, "either minimum or maximum storage value is required, but neither was provided")] : []),
    ...names("maxLimitRequestRatio"),
    ...validateValues(at, isPod ? { ...limit, default: {}, defaultRequest: {} } : limit),
  ];
}

/** Pairs whose first may not exceed the second; where that is told, with which of the two, and in which words. */
const order: readonly (readonly [small: string, large: string, field: string, shown: "small" | "large", words: readonly [string, string]])[] = [
  ["min", "max", "min", "small", ["min value", "max value"]],
  ["min", "defaultRequest", "defaultRequest", "large", ["min value", "default request value"]],
  ["defaultRequest", "max", "defaultRequest", "small", ["default request value", "max value"]],
  ["defaultRequest", "default", "defaultRequest", "small", ["default request value", "default limit value"]],
  ["min", "default", "default", "small", ["min value", "default value"]],
  ["default", "max", "default", "large", ["default value", "max value"]],
];

function validateValues(at: string, limit: Obj): FieldError[] {
  const of = (list: string): Quantities => limit[list] ?? {};
  const names = new Set(["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"].flatMap((list) => Object.keys(of(list))));
  return [...names].sort().flatMap((name) => [
    ...order.flatMap(([small, large, field, shown, words]) => {
      const [a, b] = [of(small)[name], of(large)[name]];
      if (a === undefined || b === undefined || compareQuantity(a, b) <= 0) return [];
      return [invalidValue(`${at}.${field}[${name}]`, shown === "small" ? a : b, `${words[0]} ${a} is greater than ${words[1]} ${b}`)];
    }),
    ...validateRatio(`${at}.maxLimitRequestRatio[${name}]`, of("maxLimitRequestRatio")[name], of("min")[name], of("max")[name]),
    ...validateFixed(`${at}.defaultRequest[${name}]`, name, of("default")[name], of("defaultRequest")[name]),
  ]);
}

/** By how much a limit may exceed its request. */
function validateRatio(field: string, ratio: string | undefined, min: string | undefined, max: string | undefined): FieldError[] {
  if (ratio === undefined) return [];
  const errors = compareQuantity(ratio, "1") < 0 ? [invalidValue(field, ratio, `ratio ${ratio} is less than 1`)] : [];
  if (min === undefined || max === undefined) return errors;
  const widest = Number(parseNano(max)!) / Number(parseNano(min)!);
  return Number(parseNano(ratio)!) / 1e9 > widest ? [...errors, invalidValue(field, ratio, `ratio ${ratio} is greater than max/min = ${widest.toFixed(6)}`)] : errors;
}

/** What is never overcommitted is requested as it is limited. */
function validateFixed(field: string, name: string, limit: string | undefined, request: string | undefined): FieldError[] {
  if (mayOvercommit(name) || limit === undefined || request === undefined || compareQuantity(limit, request) === 0) return [];
  return [invalidValue(field, request, `default value ${limit} must equal to defaultRequest value ${request} in ${name}`)];
}
