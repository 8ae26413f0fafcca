/** Resource records and answers in the words of the zone. */
import { isIP } from "node:net";
import { intToIp, ipToInt } from "@k3s-p/plugin-api/net";
import { type Answer, Rcode, type Rr, Type } from "./wire.ts";

const uint16 = (...values: readonly number[]): Buffer => {
  const buffer = Buffer.allocUnsafe(values.length * 2);
  values.forEach((value, i) => buffer.writeUInt16BE(value, i * 2));
  return buffer;
};

function addressBytes(ip: string): Buffer {
  if (isIP(ip) === 4) return Buffer.from(ip.split(".").map(Number));
  return Buffer.from(ipToInt(ip).toString(16).padStart(32, "0"), "hex");
}

/** An A or AAAA record, by the address's family. */
export const address = (name: string, ttl: number, ip: string): Rr =>
  ({ name, ttl, type: isIP(ip) === 4 ? Type.A : Type.AAAA, rdata: [addressBytes(ip)] });
export const cname = (name: string, ttl: number, target: string): Rr => ({ name, ttl, type: Type.CNAME, rdata: [target] });
export const ptr = (name: string, ttl: number, target: string): Rr => ({ name, ttl, type: Type.PTR, rdata: [target] });
export const ns = (name: string, ttl: number, target: string): Rr => ({ name, ttl, type: Type.NS, rdata: [target] });
export const mx = (name: string, ttl: number, preference: number, target: string): Rr =>
  ({ name, ttl, type: Type.MX, rdata: [uint16(preference), target] });
export const srv = (name: string, ttl: number, weight: number, port: number, target: string, priority = 0): Rr =>
  ({ name, ttl, type: Type.SRV, rdata: [uint16(priority, weight, port), target] });

export function txt(name: string, ttl: number, ...texts: readonly string[]): Rr {
  const strings = texts.map((text) => Buffer.from(text).subarray(0, 255));
  return { name, ttl, type: Type.TXT, rdata: [Buffer.concat(strings.flatMap((s) => [Buffer.from([s.length]), s]))] };
}

export function soa(zone: string, ttl: number, serial: number): Rr {
  const timers = Buffer.allocUnsafe(20);
  [serial, 7200, 1800, 86_400, ttl].forEach((value, i) => timers.writeUInt32BE(value >>> 0, i * 4));
  return { name: zone, ttl, type: Type.SOA, rdata: [`ns.dns.${zone}`, `hostmaster.${zone}`, timers] };
}

/** How long the absence of a record may be remembered (RFC 2308): the lower of the SOA's TTL and its minimum. */
export function negativeTtl(authority: readonly Rr[]): number | undefined {
  const record = authority.find((rr) => rr.type === Type.SOA);
  const timers = record?.rdata[2];
  return record && Buffer.isBuffer(timers) && timers.length >= 20 ? Math.min(record.ttl, timers.readUInt32BE(16)) : undefined;
}

export const answerOf = (answers: readonly Rr[], more: Partial<Answer> = {}): Answer =>
  ({ rcode: Rcode.NoError, authoritative: true, answers, authority: [], additional: [], ...more });
export const failure = (rcode: number): Answer => ({ rcode, authoritative: false, answers: [], authority: [], additional: [] });

/** `4.3.2.1.in-addr.arpa` as an address; undefined when the name is not a whole address. */
export function reverseAddress(name: string): string | undefined {
  if (name.endsWith(".in-addr.arpa")) {
    const ip = name.slice(0, -".in-addr.arpa".length).split(".").reverse().join(".");
    return isIP(ip) === 4 ? ip : undefined;
  }
  if (!name.endsWith(".ip6.arpa")) return undefined;
  const nibbles = name.slice(0, -".ip6.arpa".length).split(".").reverse();
  if (nibbles.length !== 32 || !nibbles.every((n) => /^[0-9a-f]$/.test(n))) return undefined;
  return intToIp(BigInt(`0x${nibbles.join("")}`), 6);
}

/** One spelling for each address. */
export const canonicalIp = (ip: string): string => (isIP(ip) === 6 ? intToIp(ipToInt(ip), 6) : ip);

/** Whether a name is the zone's or below it; the empty zone is the root. */
export const inZone = (name: string, zone: string): boolean => !zone || name === zone || name.endsWith(`.${zone}`);
export const normalName = (name: string): string => name.toLowerCase().replace(/\.$/, "");
