/** What a node may be called, and which addresses its certificate may have: nothing under which clients look for the server. */
import { isIP } from "node:net";
import { apiError, badRequest, conditionIsTrue, type Node } from "@k3s-p/plugin-api/kube";
import { addressAt, cidrContains, intToIp, ipToInt, parseCidr } from "@k3s-p/plugin-api/net";
import type { NodeInfo } from "@k3s-p/plugin-api/slots";

/** Throws 400 for what is no name of a node, and 403 for a name of the server's or of a Service's. */
export function checkNodeName(name: string, server: NodeInfo): void {
  const isName = name.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name) && !isIP(name);
  if (!isName) throw badRequest(`node name ${JSON.stringify(name)} is not valid: a DNS subdomain is expected`);
  const { tlsSan, clusterDomain } = server.cluster;
  const taken = ["kubernetes", "localhost", server.name, ...tlsSan].map((other) => other.toLowerCase());
  const isService = name.endsWith(".svc") || `.${name}`.endsWith(`.${clusterDomain}`) || name.startsWith("kubernetes.");
  if (taken.includes(name) || isService) throw refused(`node name ${JSON.stringify(name)} is one of the server's own: choose another with --node-name`);
}

const refused = (message: string): Error => apiError(403, "Forbidden", message);

const MAX_ADDRESSES = 8;

/** The addresses of the header `k3s-Node-IP` in their shortest form; 400 and 403 as for names. */
export function checkedAddresses(header: string, name: string, server: NodeInfo, nodes: readonly Node[]): string[] {
  const given = header.split(",").map((part) => part.trim()).filter(Boolean);
  if (given.length > MAX_ADDRESSES) throw badRequest(`node addresses: at most ${MAX_ADDRESSES} are possible`);
  const odd = given.find((address) => !isUsable(address));
  if (odd !== undefined) throw badRequest(`node address ${JSON.stringify(odd)} is not valid: an IP address of one machine is expected`);
  const { clusterCidr, serviceCidr } = server.cluster;
  const networks = [...clusterCidr, ...serviceCidr].map((text) => parseCidr(text)).filter((cidr) => cidr !== undefined);
  const [own, others] = [addressesOf(server), addressesOfOthers(name, nodes)];
  return given.map(shortest).map((address) => {
    if (own.has(address)) throw refused(`node address ${address} is one of the server's own`);
    if (networks.some((cidr) => cidrContains(cidr, address))) throw refused(`node address ${address} is one of the cluster's pods or services`);
    const owner = others.get(address);
    if (owner !== undefined) throw refused(`node address ${address} is that of node ${JSON.stringify(owner)}, which is ready: if this machine had that name, stop it or delete the Node`);
    return address;
  });
}

const [multicast4, multicast6, loopback4, mapped] = ["224.0.0.0/3", "ff00::/8", "127.0.0.0/8", "::/8"].map((text) => parseCidr(text)!);

/** Not unspecified, a loopback, a group's, or IPv4 in the clothes of IPv6. */
function isUsable(address: string): boolean {
  if (!isIP(address) || address.includes("%") || (address.includes(":") && address.includes("."))) return false;
  return ![multicast4, multicast6, loopback4, mapped].some((cidr) => cidrContains(cidr!, address)) && !address.startsWith("0.");
}

const shortest = (address: string): string => (isIP(address) === 6 ? intToIp(ipToInt(address), 6) : address);

/** Where clients look for the API server. */
function addressesOf({ ip, externalIp, cluster }: NodeInfo): ReadonlySet<string> {
  const services = cluster.serviceCidr.map((text) => parseCidr(text)).filter((cidr) => cidr !== undefined).map((cidr) => addressAt(cidr, 1));
  const all = [ip, externalIp, cluster.advertiseAddress, cluster.bindAddress, ...services, ...cluster.tlsSan];
  return new Set(all.filter((address): address is string => isIP(address ?? "") !== 0).map(shortest));
}

/** Whoever is not ready may be this machine under the name that it had before. */
function addressesOfOthers(name: string, nodes: readonly Node[]): ReadonlyMap<string, string> {
  const others = nodes.filter(({ metadata, status }) => metadata.name !== name && conditionIsTrue(status?.conditions, "Ready"));
  return new Map(others.flatMap(({ metadata, status }) =>
    (status?.addresses ?? []).filter(({ address }) => isIP(address)).map(({ address }) => [shortest(address), metadata.name!] as const)));
}
