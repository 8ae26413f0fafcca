/** Rules for names, keys, ports and addresses: each answers with the list of what is wrong. */
import { isIP } from "node:net";
import { ipToInt, parseCidr } from "@k3s-p/plugin-api/net";
import type { FieldError } from "./field.ts";
import { invalidAll, invalidValue, required, tooLong } from "./field.ts";

type Rule = (value: string) => string[];

const label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const subdomain = `${label}(\\.${label})*`;
const label1035 = "[a-z]([-a-z0-9]*[a-z0-9])?";
const namePart = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

const regexText = (pattern: string, examples: readonly string[]): string =>
  `(e.g. ${examples.map((e) => `'${e}'`).join(",  or ")}, regex used for validation is '${pattern}')`;

function pattern(source: string, max: number, message: string, ...examples: string[]): Rule {
  const regex = new RegExp(`^(?:${source})$`);
  const full = `${message} ${regexText(source, examples)}`;
  return (value) => [
    ...(Buffer.byteLength(value) > max ? [`must be no more than ${max} bytes`] : []),
    ...(regex.test(value) ? [] : [full]),
  ];
}

export const dns1123Label = pattern(label, 63,
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
  "my-name", "123-abc");
export const dns1123Subdomain = pattern(subdomain, 253,
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
  "example.com");
const labelWithUnderscore = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
/** Of DNS searches, such as `_tcp.example.com`. */
export const dns1123SubdomainWithUnderscore = pattern(`${labelWithUnderscore}(\\.${labelWithUnderscore})*`, 253,
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
  "example.com");
export const dns1035Label = pattern(label1035, 63,
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
  "my-name", "abc-123");
export const wildcardSubdomain = pattern(`\\*\\.${subdomain}`, 253,
  "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
  "*.example.com");
export const labelValue = pattern(`(${namePart})?`, 63,
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
  "MyValue", "my_value", "12345");
const qualifiedPart = pattern(namePart, 63,
  "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
  "MyName", "my.name", "123-abc");
const percentRule = pattern("[0-9]+%", Infinity, "a valid percent string must be a numeric string followed by an ending '%'", "1%", "93%");
const configKeyRule = pattern("[-._a-zA-Z0-9]+", Infinity,
  "a valid config key must consist of alphanumeric characters, '-', '_' or '.'", "key.name", "KEY_NAME", "key-name");

/** `example.com/MyName` or `MyName`: keys of labels, taints and annotations, names of extended resources. */
export function qualifiedName(value: string): string[] {
  const parts = value.split("/");
  if (parts.length > 2) {
    return [`a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character ${regexText(namePart, ["MyName", "my.name", "123-abc"])} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`];
  }
  const name = parts.at(-1)!;
  const prefix = parts.length === 2 ? parts[0]! : undefined;
  const problems: string[] = [];
  if (prefix === "") problems.push("prefix part must be non-empty");
  else if (prefix !== undefined) problems.push(...dns1123Subdomain(prefix).map((why) => `prefix part ${why}`));
  if (name === "") problems.push("name part must be non-empty");
  return [...problems, ...qualifiedPart(name).map((why) => `name part ${why}`)];
}

/** A name that is one segment of a path. */
export function pathSegment(value: string): string[] {
  if (value === "." || value === "..") return [`may not be '${value}'`];
  return ["/", "%"].filter((character) => value.includes(character)).map((character) => `may not contain '${character}'`);
}

const httpPath = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
const isHttpPath = new RegExp(`^${httpPath}$`);

/** `acme.io/foo`: who does something, and what is done. */
export function domainPrefixedPath(field: string, value: string): FieldError[] {
  if (!value) return [required(field)];
  const [, domain = "", path = ""] = /^([^/]*)\/(.*)$/s.exec(value) ?? [];
  if (!domain || !path) return [invalidValue(field, value, 'must be a domain-prefixed path (such as "acme.io/foo")')];
  const errors = invalidAll(field, domain, dns1123Subdomain(domain));
  return isHttpPath.test(path) ? errors : [...errors, invalidValue(field, path, `Invalid path (regex used for validation is '${httpPath}')`)];
}

export const validateLabels = (field: string, labels: unknown): FieldError[] =>
  Object.entries((labels ?? {}) as Record<string, string>).flatMap(([key, value]) => [
    ...invalidAll(field, key, qualifiedName(key)),
    ...invalidAll(field, value, labelValue(String(value))),
  ]);

export const portNumber = (value: unknown): string[] =>
  typeof value === "number" && value >= 1 && value <= 65535 ? [] : ["must be between 1 and 65535, inclusive"];

/** IANA service name: the name of a container's port. */
export function portName(value: string): string[] {
  const problems: string[] = [];
  if (value.length > 15) problems.push("must be no more than 15 characters");
  if (!/^[-a-z0-9]+$/.test(value)) problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  if (!/[a-z]/.test(value)) problems.push("must contain at least one letter (a-z)");
  if (value.includes("--")) problems.push("must not contain consecutive hyphens");
  if (value.startsWith("-") || value.endsWith("-")) problems.push("must not begin or end with a hyphen");
  return problems;
}

/** A port by number or by name. */
export function portOrName(field: string, value: unknown): FieldError[] {
  if (typeof value === "number") return invalidAll(field, value, portNumber(value));
  if (typeof value === "string") return invalidAll(field, value, portName(value));
  return [invalidValue(field, value, "must be between 1 and 65535, inclusive")];
}

export function envVarName(value: string): string[] {
  if (value === "") return ["environment variable name must not be empty"];
  return /^[ -<>-~]+$/.test(value) ? [] : ["a valid environment variable name must consist only of printable ASCII characters other than '='"];
}

export function configKey(value: string): string[] {
  const problems = value.length > 253 ? ["must be no more than 253 characters"] : [];
  problems.push(...configKeyRule(value));
  if (value === ".") problems.push("must not be '.'");
  else if (value === "..") problems.push("must not be '..'");
  else if (value.startsWith("..")) problems.push("must not start with '..'");
  return problems;
}

const NO_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const IPV4_IN_IPV6 = 0xffffn;

/** Programs read them as octal or as decimal. */
const withoutZeros = (ip: string): string => (ip.includes(":") ? ip : ip.replace(/(^|\.)0+(?=\d)/g, "$1"));
const isMapped = (ip: string): boolean => isIP(ip) === 6 && ipToInt(ip) >> 32n === IPV4_IN_IPV6;

export function ipAddress(value: unknown): string[] {
  if (typeof value !== "string" || value.includes("%") || !isIP(withoutZeros(value))) return [NO_IP];
  if (withoutZeros(value) !== value) return ["must not have leading 0s"];
  return isMapped(value) ? ["must not be an IPv4-mapped IPv6 address"] : [];
}

/** A range, written as its first address. */
export function cidr(value: unknown): string[] {
  const [ip = "", bits = "", ...more] = typeof value === "string" ? value.split("/") : [];
  const range = more.length === 0 && !ip.includes("%") ? parseCidr(`${withoutZeros(ip)}/${bits}`) : undefined;
  if (!range) return [NO_CIDR];
  if (withoutZeros(ip) !== ip || /^0\d/.test(bits)) return ["must not have leading 0s in IP or prefix length"];
  if (isMapped(ip)) return ["must not have an IPv4-mapped IPv6 address"];
  return ipToInt(ip) === range.base ? [] : ["must not have bits set beyond the prefix length"];
}

const MAX_DRIVER = 63;

/** Name of a CSI driver; capitals count as small letters. */
export const csiDriverName = (field: string, name: string): FieldError[] => [
  ...(name ? [] : [required(field)]),
  ...(name.length > MAX_DRIVER ? [tooLong(field, MAX_DRIVER)] : []),
  ...invalidAll(field, name, dns1123Subdomain(name.toLowerCase())),
];

export const percent = (value: string): string[] => percentRule(value);

/** A count or a percentage, not negative; `max100` also forbids more than 100%. */
export function intOrPercent(field: string, value: unknown, max100 = false): FieldError[] {
  if (typeof value === "number") return value < 0 ? [invalidValue(field, value, "must be greater than or equal to 0")] : [];
  if (typeof value !== "string") return [invalidValue(field, value, "must be an integer or percentage (e.g '5%%')")];
  return [...invalidAll(field, value, percent(value)), ...(max100 ? atMostAll(field, value) : [])];
}

/** A percentage of no more than everything. */
export const atMostAll = (field: string, value: unknown): FieldError[] =>
  typeof value === "string" && percent(value).length === 0 && Number.parseInt(value, 10) > 100 ? [invalidValue(field, value, "must not be greater than 100%")] : [];

/** 0 or 0%; what is no number at all counts for nothing, too. */
export const isZero = (value: unknown): boolean => value === 0 || (typeof value === "string" && !/^[+-]?0*[1-9]\d*%?$/.test(value));

/** An absolute path component of a volume: no `..`. */
export const noBacksteps = (field: string, path: string): FieldError[] =>
  path.split("/").includes("..") ? [invalidValue(field, path, "must not contain '..'")] : [];

export function relativePath(field: string, path: string): FieldError[] {
  return [...(path.startsWith("/") ? [invalidValue(field, path, "must be a relative path")] : []), ...noBacksteps(field, path)];
}
