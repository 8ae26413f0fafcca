/** IPv4 and IPv6 address arithmetic on CIDR blocks. */
import { isIP } from "node:net";

export interface Cidr {
  readonly family: 4 | 6;
  readonly base: bigint;
  readonly prefix: number;
}

export function ipToInt(ip: string): bigint {
  if (isIP(ip) === 4) return ip.split(".").reduce((sum, part) => (sum << 8n) + BigInt(part), 0n);
  const [head = "", tail] = inGroups(ip).split("::");
  const left = head ? head.split(":") : [];
  const right = tail ? tail.split(":") : [];
  const fill = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => "0");
  return [...left, ...fill, ...right].reduce((sum, part) => (sum << 16n) + BigInt(`0x${part}`), 0n);
}

/** An IPv6 address whose end is written as IPv4 (`::ffff:10.0.0.1`), in groups of 16 bits. */
const inGroups = (ip: string): string => ip.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
  const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
});

export function intToIp(value: bigint, family: 4 | 6): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
  const text = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16)).join(":");
  // The longest run of zeros is left out, the first of equally long ones (RFC 5952).
  const lengthOf = (run: readonly string[]): number => run[0]!.replaceAll(":", "").length;
  const [zeros] = [...text.matchAll(/(?:^|:)0(?::0)+(?:$|:)/g)].sort((a, b) => lengthOf(b) - lengthOf(a));
  return zeros ? `${text.slice(0, zeros.index)}::${text.slice(zeros.index + zeros[0].length)}` : text;
}

/** Parses `10.42.0.0/16`; undefined when it is not a CIDR. The base has its host bits cleared. */
export function parseCidr(text: string): Cidr | undefined {
  const [ip = "", bits = ""] = text.split("/");
  const family = isIP(ip);
  const size = family === 4 ? 32 : 128;
  if (!family || !/^\d+$/.test(bits) || Number(bits) > size) return undefined;
  const prefix = Number(bits);
  const shift = BigInt(size - prefix);
  return { family: family as 4 | 6, base: (ipToInt(ip) >> shift) << shift, prefix };
}

export const formatCidr = (cidr: Cidr): string => `${intToIp(cidr.base, cidr.family)}/${cidr.prefix}`;

/** Address number `index` of the block (0 = the network address). */
export const addressAt = (cidr: Cidr, index: number | bigint): string => intToIp(cidr.base + BigInt(index), cidr.family);

export function cidrContains(cidr: Cidr, ip: string): boolean {
  if (isIP(ip) !== cidr.family) return false;
  const shift = BigInt((cidr.family === 4 ? 32 : 128) - cidr.prefix);
  return ipToInt(ip) >> shift === cidr.base >> shift;
}

/** Block number `index` of size `/prefix` inside `cidr`. */
export function subnetAt(cidr: Cidr, prefix: number, index: number): Cidr {
  const size = cidr.family === 4 ? 32 : 128;
  return { family: cidr.family, prefix, base: cidr.base + (BigInt(index) << BigInt(size - prefix)) };
}
