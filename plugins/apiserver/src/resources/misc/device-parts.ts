/** What the validation of claims, of their status and of slices has in common. */
import { isObject } from "../fields.ts";
import type { Obj } from "../types.ts";
import { duplicate, type FieldError, invalidAll, invalidValue, required, tooLong, tooMany } from "../validate/field.ts";
import { csiDriverName, dns1123Label, dns1123Subdomain, labelValue } from "../validate/names.ts";

export const MAX_ITEMS = 32;
const MAX_POOL_NAME = 253;
const MAX_ID = 32;
const MAX_PARAMETERS = 10 * 1024;
const cIdentifier = "[A-Za-z_][A-Za-z0-9_]*";
const isCIdentifier = new RegExp(`^${cIdentifier}$`);

export const taintEffects = ["NoExecute", "NoSchedule", "None"];

/** The items of a list, unless there are too many to look at. */
export function each<T>(at: string, list: readonly T[], max: number, validate: (at: string, item: T) => FieldError[]): FieldError[] {
  return list.length > max ? [tooMany(at, list.length, max)] : list.flatMap((item, i) => validate(`${at}[${i}]`, item));
}

/** The items of a list that has each key once. */
export function eachOnce<T>(at: string, list: readonly T[], max: number, validate: (at: string, item: T) => FieldError[], keyOf: (item: T) => unknown): FieldError[] {
  const errors = each(at, list, max, validate);
  if (list.length > max) return errors;
  const keys = list.map(keyOf);
  return [...errors, ...keys.flatMap((key, i) => (keys.indexOf(key) < i ? [duplicate(`${at}[${i}]`, key)] : []))];
}

export const requestName = (field: string, name = ""): FieldError[] => invalidAll(field, name, dns1123Label(name));
export const deviceName = requestName;

export function poolName(field: string, name = ""): FieldError[] {
  if (!name) return [required(field)];
  return [...(name.length > MAX_POOL_NAME ? [tooLong(field, MAX_POOL_NAME)] : []), ...name.split("/").flatMap((part) => invalidAll(field, part, dns1123Subdomain(part)))];
}

export const optionalLabelValue = (field: string, value = ""): FieldError[] => invalidAll(field, value, labelValue(value));

/** Of an attribute or a capacity: `name` or `domain/name`. */
export function attributeName(field: string, name: string): FieldError[] {
  const parts = name.split("/");
  if (parts.length > 2) return [];
  const [domain, id] = parts.length === 2 ? parts : [undefined, parts[0]];
  const ofDomain = domain === "" ? [invalidValue(field, "", "the domain must not be empty")] : domain === undefined ? [] : csiDriverName(field, domain);
  return [...ofDomain, ...(domain !== undefined && id === "" ? [invalidValue(field, "", "the name must not be empty")] : identifier(field, id!))];
}

const identifier = (field: string, id: string): FieldError[] => [
  ...(id.length > MAX_ID ? [tooLong(field, MAX_ID)] : []),
  ...(isCIdentifier.test(id) ? [] : [invalidValue(field, id,
    `a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '${cIdentifier}')`)]),
];

export const fullName = (field: string, name: string): FieldError[] => [
  ...attributeName(field, name),
  ...(name.includes("/") ? [] : [invalidValue(field, name, "a fully qualified name must be a domain and a name separated by a slash")]),
];

/** JSON that only a driver understands. */
export function driverData(field: string, data: unknown): FieldError[] {
  if (data == null) return [required(field)];
  if (Buffer.byteLength(JSON.stringify(data)) > MAX_PARAMETERS) return [tooLong(field, MAX_PARAMETERS)];
  return isObject(data) ? [] : [invalidValue(field, "<value omitted>", "must be a valid JSON object")];
}

export const validateConfig = (at: string, { opaque }: Obj): FieldError[] => (isObject(opaque)
  ? [...csiDriverName(`${at}.opaque.driver`, opaque.driver ?? ""), ...driverData(`${at}.opaque.parameters`, opaque.parameters)]
  : [required(`${at}.opaque`)]);

const REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/** The judge of references to the requests of a claim. */
export function requestReference(requests: readonly Obj[]): (field: string, name: string) => FieldError[] {
  const known = new Set(requests.flatMap(({ name, firstAvailable }) => [name, ...((firstAvailable ?? []) as Obj[]).map((sub) => `${name}/${sub.name}`)]));
  return (field, name) => {
    const segments = name.split("/");
    if (segments.length > 2) return [invalidValue(field, name, REFERENCE)];
    return [...segments.flatMap((segment) => requestName(field, segment)), ...(known.has(name) ? [] : [invalidValue(field, name, REFERENCE)])];
  };
}
