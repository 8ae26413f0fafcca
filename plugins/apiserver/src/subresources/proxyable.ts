/** Where proxies may lead: the server's own loopback, and what is link-local to its machine, are not the client's to see. */
import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";

/** Unspecified, loopback, link-local and multicast within a link or interface; metadata services answer there. */
const refused = new BlockList();
for (const [network, bits] of [["0.0.0.0", 8], ["127.0.0.0", 8], ["169.254.0.0", 16], ["224.0.0.0", 24]] as const) refused.addSubnet(network, bits, "ipv4");
for (const [network, bits] of [["::", 128], ["::1", 128], ["fe80::", 10], ["ff01::", 16], ["ff02::", 16]] as const) refused.addSubnet(network, bits, "ipv6");

/** A name is as good as the worst of its addresses; one without any leads nowhere. */
export async function isProxyable(host: string): Promise<boolean> {
  if (isIP(host) > 0) return isProxyableIp(host);
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.length > 0 && found.every(({ address }) => isProxyableIp(address));
}

/** IPv4 addresses in the clothes of IPv6 count as what they are. */
export function isProxyableIp(address: string): boolean {
  return !refused.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}
