/** Functions that Kubernetes adds to CEL: https://kubernetes.io/docs/reference/using-api/cel/ */
import { isIPv4, isIPv6 } from "node:net";
import { parseNano } from "@k3s-p/plugin-api/kube";
import { type Cidr, cidrContains, intToIp, parseCidr } from "@k3s-p/plugin-api/net";
import type { Environment } from "@marcbachmann/cel-js";
import { registerComprehensions } from "./comprehensions.ts";
import { optional } from "./engine.ts";
import { durationText, format, timeText } from "./format.ts";
import { registerFormats } from "./formats.ts";
import { patternOf } from "./pattern.ts";
import { registerSemver } from "./semver.ts";
import { compare, equal } from "./values.ts";

type Value = any;
type Functions = Readonly<Record<string, (...values: Value[]) => unknown>>;

/** Handles: the library tells types by their classes. */
class Quantity {
  readonly nano: bigint;
  constructor(nano: bigint) { this.nano = nano; }
  equals(other: unknown): boolean { return other instanceof Quantity && other.nano === this.nano; }
}
class Ip {
  readonly text: string;
  constructor(text: string) { this.text = text; }
  equals(other: unknown): boolean { return other instanceof Ip && canonicalIp(other.text) === canonicalIp(this.text); }
}
class Block {
  readonly cidr: Cidr;
  readonly ip: string;
  constructor(cidr: Cidr, ip: string) {
    this.cidr = cidr;
    this.ip = ip;
  }
  equals(other: unknown): boolean { return other instanceof Block && other.text === this.text; }
  get text(): string { return `${canonicalIp(this.ip)}/${this.cidr.prefix}`; }
}
class Link {
  readonly url: URL;
  readonly text: string;
  constructor(url: URL, text: string) {
    this.url = url;
    this.text = text;
  }
  equals(other: unknown): boolean { return other instanceof Link && other.text === this.text; }
  /** As it was written: the parser writes it in lower case, and leaves the usual port out. */
  get host(): string { return /^[^:/?#]+:\/\/(?:[^/?#@]*@)?([^/?#]*)/.exec(this.text)?.[1] ?? ""; }
}
class SetFunctions {}
class MathFunctions {}
class ListFunctions {}
class StringFunctions {}
class IpFunctions {}

const namespaces = { sets: SetFunctions, math: MathFunctions, lists: ListFunctions, strings: StringFunctions, ip: IpFunctions } as const;

export function register(environment: Environment): void {
  environment.registerFunction("hasField(ast): bool", hasField as never);
  for (const [name, ctor] of Object.entries({ Quantity, IP: Ip, CIDR: Block, URL: Link })) {
    environment.registerType(name, ctor as never);
    environment.registerOperator(`${name} == ${name}`, (a: Value, b: Value) => a.equals(b));
  }
  for (const [name, ctor] of Object.entries(namespaces)) {
    environment.registerType(ctor.name, ctor as never);
    environment.registerConstant(name, ctor.name, new ctor());
  }
  for (const table of [conversions, texts, lists, sets, maths, quantities, addresses, links]) {
    for (const [signature, handler] of Object.entries(table)) environment.registerFunction(signature, handler);
  }
  registerFormats(environment);
  registerSemver(environment);
  registerComprehensions(environment);
}

/** `has(a.b[0].c)`: whether the last field is there; what leads to it must be. */
function hasField({ args: [field] }: Value): object {
  return {
    typeCheck(checker: Value, _macro: Value, ctx: Value) {
      if (field.op !== "." && field.op !== ".?") throw checker.createError("invalid_macro_argument", "invalid argument to has() macro", field);
      // A field that the type does not have is never there: that is a mistake.
      if (checker.check(field.args[0], ctx).kind === "message") checker.check(field, ctx);
      return checker.getType("bool");
    },
    evaluate(evaluator: Value, _macro: Value, ctx: Value) {
      const found = evaluator.run(field.args[0], ctx);
      const owner = typeof found?.hasValue === "function" ? (found.hasValue() ? found.value() : {}) : found;
      return owner instanceof Map ? owner.has(field.args[1]) : typeof owner === "object" && owner !== null && Object.hasOwn(owner, field.args[1]);
    },
  };
}

const fail = (why: string): never => {
  throw new Error(why);
};

const conversions: Functions = {
  "string(google.protobuf.Duration): string": (value) => durationText(value),
  "string(google.protobuf.Timestamp): string": (value) => timeText(value),
  "int(google.protobuf.Timestamp): int": (value: Date) => BigInt(Math.floor(value.getTime() / 1000)),
  "string(IP): string": ({ text }) => text,
  "string(CIDR): string": ({ cidr, ip }) => `${ip}/${cidr.prefix}`,
  "OptionalNamespace.ofNonZeroValue(dyn): optional<dyn>": (_, value) => optional(isZero(value) ? undefined : value),
};

const isZero = (value: Value): boolean =>
  value === null || value === "" || value === false || value == 0 || (typeof value === "object" && Object.keys(value).length === 0 && [Object, Array].includes(value.constructor));

const texts: Functions = {
  "matches(string, string): bool": (text, pattern) => patternOf(pattern).test(text),
  "string.matchesPattern(string): bool": (text, pattern) => patternOf(pattern).test(text),
  "string.find(string): string": (text: string, pattern) => patternOf(pattern).exec(text)?.[0] ?? "",
  "string.findAll(string): list<string>": (text: string, pattern) => findAll(text, pattern),
  "string.findAll(string, int): list<string>": (text: string, pattern, limit: bigint) => (limit < 0n ? findAll(text, pattern) : findAll(text, pattern).slice(0, Number(limit))),
  "string.replace(string, string): string": (text: string, old, next) => text.split(old).join(next),
  "string.replace(string, string, int): string": (text: string, old: string, next: string, count: bigint) => {
    if (count < 0n) return text.split(old).join(next);
    const parts = text.split(old);
    const head = parts.slice(0, Number(count) + 1).join(next);
    return [head, ...parts.slice(Number(count) + 1)].join(old);
  },
  "string.charAt(int): string": (text: string, at: bigint) => [...text][Number(at)] ?? (Number(at) === [...text].length ? "" : fail(`index out of range: ${at}`)),
  "string.reverse(): string": (text: string) => [...text].reverse().join(""),
  "StringFunctions.quote(string): string": (_, text: string) => JSON.stringify(text),
  "string.format(list): string": (text: string, values: readonly Value[]) => format(text, values),
};

const findAll = (text: string, pattern: string): string[] => {
  const { source, flags } = patternOf(pattern);
  return [...text.matchAll(new RegExp(source, `${flags}g`))].map(([match]) => match);
};

const extreme = (list: readonly Value[], sign: number, name: string): Value =>
  list.length === 0 ? fail(`${name} called on empty list`) : list.reduce((best, item) => (compare(item, best) * sign > 0 ? item : best));

const lists: Functions = {
  "list.isSorted(): bool": (list: readonly Value[]) => list.every((item, i) => i === 0 || compare(list[i - 1], item) <= 0),
  "list.sum(): dyn": (list: readonly Value[]) => (list.length === 0 ? 0n : list.reduce((sum, item) => (sum.addDuration ? sum.addDuration(item) : sum + item))),
  "list.min(): dyn": (list) => extreme(list, -1, "min"),
  "list.max(): dyn": (list) => extreme(list, 1, "max"),
  "list.indexOf(dyn): int": (list: readonly Value[], wanted) => BigInt(list.findIndex((item) => equal(item, wanted))),
  "list.lastIndexOf(dyn): int": (list: readonly Value[], wanted) => BigInt(list.findLastIndex((item) => equal(item, wanted))),
  "list.slice(int, int): list": (list: readonly Value[], from: bigint, to: bigint) => list.slice(Number(from), Number(to)),
  "list.flatten(): list": (list: readonly Value[]) => list.flat(),
  "list.flatten(int): list": (list: readonly Value[], depth: bigint) => list.flat(Number(depth)),
  "list.first(): optional<dyn>": (list: readonly Value[]) => optional(list[0]),
  "list.last(): optional<dyn>": (list: readonly Value[]) => optional(list.at(-1)),
  "ListFunctions.range(int): list<int>": (_, count: bigint) => Array.from({ length: Number(count) }, (__, i) => BigInt(i)),
  "list.reverse(): list": (list: readonly Value[]) => list.toReversed(),
  "list.sort(): list": (list: readonly Value[]) => list.toSorted(compare),
  "list.distinct(): list": (list: readonly Value[]) => list.filter((item, i) => list.findIndex((other) => equal(other, item)) === i),
};

const within = (list: readonly Value[], wanted: Value): boolean => list.some((item) => equal(item, wanted));

const sets: Functions = {
  "SetFunctions.contains(list, list): bool": (_, list, part) => part.every((item: Value) => within(list, item)),
  "SetFunctions.equivalent(list, list): bool": (_, a, b) => a.every((item: Value) => within(b, item)) && b.every((item: Value) => within(a, item)),
  "SetFunctions.intersects(list, list): bool": (_, a, b) => a.some((item: Value) => within(b, item)),
};

const maths: Functions = {
  "MathFunctions.greatest(list): dyn": (_, list) => extreme(list, 1, "greatest"),
  "MathFunctions.least(list): dyn": (_, list) => extreme(list, -1, "least"),
  "MathFunctions.greatest(dyn, dyn): dyn": (_, a, b) => extreme([a, b], 1, "greatest"),
  "MathFunctions.least(dyn, dyn): dyn": (_, a, b) => extreme([a, b], -1, "least"),
  "MathFunctions.greatest(dyn, dyn, dyn): dyn": (_, a, b, c) => extreme([a, b, c], 1, "greatest"),
  "MathFunctions.least(dyn, dyn, dyn): dyn": (_, a, b, c) => extreme([a, b, c], -1, "least"),
  "MathFunctions.abs(dyn): dyn": (_, a) => (a < 0 ? -a : a),
  "MathFunctions.ceil(double): double": (_, a) => Math.ceil(a),
  "MathFunctions.floor(double): double": (_, a) => Math.floor(a),
  "MathFunctions.round(double): double": (_, a) => Math.sign(a) * Math.round(Math.abs(a)),
};

const GIGA = 1_000_000_000n;
const toQuantity = (text: string): Quantity => new Quantity(parseNano(text) ?? fail("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"));

const quantities: Functions = {
  "quantity(string): Quantity": toQuantity,
  "isQuantity(string): bool": (text) => parseNano(text) !== undefined,
  "Quantity.isGreaterThan(Quantity): bool": (a, b) => a.nano > b.nano,
  "Quantity.isLessThan(Quantity): bool": (a, b) => a.nano < b.nano,
  "Quantity.compareTo(Quantity): int": (a, b) => BigInt(compare(a.nano, b.nano)),
  "Quantity.add(Quantity): Quantity": (a, b) => new Quantity(a.nano + b.nano),
  "Quantity.add(int): Quantity": (a, b) => new Quantity(a.nano + b * GIGA),
  "Quantity.sub(Quantity): Quantity": (a, b) => new Quantity(BigInt(a.nano - b.nano)),
  "Quantity.sub(int): Quantity": (a, b) => new Quantity(BigInt(a.nano - b * GIGA)),
  "Quantity.sign(): int": ({ nano }) => (nano < 0n ? -1n : nano > 0n ? 1n : 0n),
  "Quantity.isInteger(): bool": (a) => a.nano % GIGA === 0n,
  "Quantity.asInteger(): int": (a) => (a.nano % GIGA === 0n ? a.nano / GIGA : fail("cannot convert value to integer")),
  "Quantity.asApproximateFloat(): double": (a) => Number(a.nano) / 1e9,
};

const isIp = (text: string): boolean => (isIPv4(text) || isIPv6(text)) && !text.includes("%") && !/^::ffff:.*\./i.test(text);
const toIp = (text: string): Ip => (isIp(text) ? new Ip(text) : fail(`IP Address ${JSON.stringify(text)} parse error during conversion from string: ParseAddr(${JSON.stringify(text)}): unable to parse IP`));
const canonicalIp = (text: string): string => (isIPv4(text) ? text : new URL(`http://[${text}]`).hostname.slice(1, -1));
const familyOf = ({ text }: Ip): number => (isIPv4(text) ? 4 : 6);
const toBlock = (text: string): Block => {
  const cidr = parseCidr(text);
  return cidr ? new Block(cidr, text.split("/")[0]!) : fail(`network address parse error during conversion from string: netip.ParsePrefix(${JSON.stringify(text)}): no '/'`);
};
const inside = ({ cidr }: Block, ip: Ip): boolean => familyOf(ip) === cidr.family && cidrContains(cidr, ip.text);
const inRange = (ip: Ip, ...blocks: readonly string[]): boolean => blocks.some((text) => inside(toBlock(text), ip));

const addresses: Functions = {
  "ip(string): IP": toIp,
  "isIP(string): bool": isIp,
  "IpFunctions.isCanonical(string): bool": (_, text: string) => canonicalIp(toIp(text).text) === text,
  "IP.family(): int": (ip) => BigInt(familyOf(ip)),
  "IP.isUnspecified(): bool": (ip) => inRange(ip, "0.0.0.0/32", "::/128"),
  "IP.isLoopback(): bool": (ip) => inRange(ip, "127.0.0.0/8", "::1/128"),
  "IP.isLinkLocalMulticast(): bool": (ip) => inRange(ip, "224.0.0.0/24", "ff02::/16"),
  "IP.isLinkLocalUnicast(): bool": (ip) => inRange(ip, "169.254.0.0/16", "fe80::/10"),
  "IP.isGlobalUnicast(): bool": (ip) => !inRange(ip, "0.0.0.0/32", "255.255.255.255/32", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::/127", "fe80::/10", "ff00::/8"),
  "cidr(string): CIDR": toBlock,
  "isCIDR(string): bool": (text) => parseCidr(text) !== undefined,
  "CIDR.containsIP(IP): bool": inside,
  "CIDR.containsIP(string): bool": (block, text) => inside(block, toIp(text)),
  "CIDR.containsCIDR(CIDR): bool": (block, other) => other.cidr.prefix >= block.cidr.prefix && inside(block, toIp(other.ip)),
  "CIDR.containsCIDR(string): bool": (block, text) => {
    const other = toBlock(text);
    return other.cidr.prefix >= block.cidr.prefix && inside(block, toIp(other.ip));
  },
  "CIDR.ip(): IP": (block) => toIp(block.ip),
  "CIDR.masked(): CIDR": ({ cidr }) => new Block(cidr, intToIp(cidr.base, cidr.family)),
  "CIDR.prefixLength(): int": (block) => BigInt(block.cidr.prefix),
};

/** Absolute URLs and absolute paths, as Go's ParseRequestURI. */
const parseUrl = (text: string): URL | undefined => URL.parse(text) ?? (text.startsWith("/") ? URL.parse(text, "path://") : null) ?? undefined;

const links: Functions = {
  "url(string): URL": (text) => new Link(parseUrl(text) ?? fail(`URL parse error during conversion from string: parse ${JSON.stringify(text)}: invalid URI for request`), text),
  "isURL(string): bool": (text) => parseUrl(text) !== undefined,
  "URL.getScheme(): string": ({ url }) => (url.protocol === "path:" ? "" : url.protocol.slice(0, -1)),
  "URL.getHost(): string": ({ host }) => host,
  "URL.getHostname(): string": ({ host }) => host.replace(/:\d*$/, "").replace(/^\[|\]$/g, ""),
  "URL.getPort(): string": ({ host }) => /:(\d+)$/.exec(host)?.[1] ?? "",
  "URL.getEscapedPath(): string": ({ url, text }) => (url.pathname === "/" && !/^[^:]+:\/\/[^/?#]*\//.test(text) && !text.startsWith("/") ? "" : url.pathname),
  "URL.getQuery(): map": ({ url }) => {
    const query: Record<string, string[]> = {};
    for (const [key, value] of url.searchParams) (query[key] ??= []).push(value);
    return query;
  },
};

