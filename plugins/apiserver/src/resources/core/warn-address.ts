/** Warnings of addresses and ranges that are not written as everybody writes them (RFC 5952). */
import { isIP } from "node:net";
import { formatCidr, intToIp, ipToInt, parseCidr } from "@k3s-p/plugin-api/net";

const warn = (field: string, what: string, text: string, canonical: string): string[] =>
  (text === canonical ? [] : [`${field}: IPv6 ${what} ${JSON.stringify(text)} should be in RFC 5952 canonical format (${JSON.stringify(canonical)})`]);

export const warnOfAddress = (field: string, ip: string): string[] => (isIP(ip) === 6 ? warn(field, "address", ip, intToIp(ipToInt(ip), 6)) : []);

export function warnOfRange(field: string, text: string): string[] {
  const range = parseCidr(text);
  return range?.family === 6 ? warn(field, "CIDR value", text, formatCidr(range)) : [];
}
