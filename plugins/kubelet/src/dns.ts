/** A pod's resolv.conf and /etc/hosts. */
import { readFile } from "node:fs/promises";
import type { Pod } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import { isHostNetwork, nameOf, namespaceOf } from "./pod.ts";

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

const MAX_SERVERS = 3;
const MAX_SEARCHES = 32;
const MAX_SEARCH_CHARS = 2048;
const HOSTNAME_MAX = 63;

export function parseResolvConf(text: string): DnsConfig {
  const servers: string[] = [];
  let searches: string[] = [];
  let options: string[] = [];
  for (const line of text.split("\n")) {
    const [keyword, ...rest] = line.trim().split(/\s+/);
    if (keyword === "nameserver" && rest[0]) servers.push(rest[0]);
    else if (keyword === "search") searches = rest.map((s) => s.replace(/(.)\.$/, "$1"));
    else if (keyword === "options") options = rest;
  }
  return { servers, searches, options };
}

/** The host's resolver. As K3s, a host with only loopback or no servers is given 8.8.8.8. */
export async function hostDns(path: string): Promise<DnsConfig> {
  const host = parseResolvConf(path === "" ? "" : await readFile(path, "utf8").catch(() => ""));
  const usable = host.servers.some((ip) => !/^(127\.|::1$|0\.0\.0\.0$)/.test(ip));
  return usable ? host : { ...host, servers: ["8.8.8.8"] };
}

/** By `dnsPolicy` and `dnsConfig`; pods on the host's network that ask for ClusterFirst get the host's resolver. */
export function podDns(pod: Pod, cluster: ClusterSettings, host: DnsConfig): DnsConfig {
  const extra = pod.spec?.dnsConfig;
  const base = policyDns(pod, cluster, host);
  const searches: string[] = [];
  for (const domain of new Set([...base.searches, ...(extra?.searches ?? [])])) {
    if (searches.length === MAX_SEARCHES || [...searches, domain].join(" ").length > MAX_SEARCH_CHARS) break;
    searches.push(domain);
  }
  return {
    servers: [...new Set([...base.servers, ...(extra?.nameservers ?? [])])].slice(0, MAX_SERVERS),
    searches,
    options: mergeOptions(base.options, extra?.options ?? []),
  };
}

function policyDns(pod: Pod, cluster: ClusterSettings, host: DnsConfig): DnsConfig {
  const policy = pod.spec?.dnsPolicy ?? "ClusterFirst";
  if (policy === "None") return { servers: [], searches: [], options: [] };
  if (policy === "Default" || (policy === "ClusterFirst" && isHostNetwork(pod))) return host;
  if (cluster.clusterDns.length === 0) return host;
  const domain = cluster.clusterDomain;
  return {
    servers: cluster.clusterDns,
    searches: [`${namespaceOf(pod)}.svc.${domain}`, `svc.${domain}`, domain, ...host.searches],
    options: ["ndots:5"],
  };
}

function mergeOptions(
  base: readonly string[], extra: readonly { readonly name?: string; readonly value?: string }[],
): string[] {
  const merged = new Map(base.map((option) => [option.split(":")[0]!, option]));
  for (const { name, value } of extra) if (name) merged.set(name, value ? `${name}:${value}` : name);
  return [...merged.values()];
}

export interface PodHostname {
  /** Short name, at most 63 characters. */
  readonly hostname: string;
  /** `subdomain.namespace.svc.domain`, or empty. */
  readonly domain: string;
}

export function podHostname(pod: Pod, clusterDomain: string): PodHostname {
  const { hostname, subdomain, hostnameOverride } = pod.spec ?? {};
  if (hostnameOverride) return { hostname: hostnameOverride, domain: "" };
  const short = (hostname || nameOf(pod)).slice(0, HOSTNAME_MAX).replace(/[-.]+$/, "");
  return { hostname: short, domain: subdomain ? `${subdomain}.${namespaceOf(pod)}.svc.${clusterDomain}` : "" };
}

/** What the sandbox's UTS namespace is called: the FQDN when `setHostnameAsFQDN`. */
export function sandboxHostname(pod: Pod, clusterDomain: string): string {
  const { hostname, domain } = podHostname(pod, clusterDomain);
  if (!pod.spec?.setHostnameAsFQDN || !domain) return hostname;
  const fqdn = `${hostname}.${domain}`;
  if (fqdn.length <= 64) return fqdn;
  throw new Error(`failed to construct FQDN from pod hostname and cluster domain, FQDN ${fqdn} is too long (64 characters is the max, ${fqdn.length} characters requested)`);
}

const localNames = [
  "127.0.0.1\tlocalhost",
  "::1\tlocalhost ip6-localhost ip6-loopback",
  "fe00::0\tip6-localnet",
  "fe00::0\tip6-mcastprefix",
  "fe00::1\tip6-allnodes",
  "fe00::2\tip6-allrouters",
];

/** The managed /etc/hosts: `hostFile` is the node's own, used by pods on its network. */
export function etcHosts(pod: Pod, ips: readonly string[], clusterDomain: string, hostFile: string): string {
  const { hostname, domain } = podHostname(pod, clusterDomain);
  const names = domain ? `${hostname}.${domain}\t${hostname}` : hostname;
  const head = isHostNetwork(pod)
    ? `# Kubernetes-managed hosts file (host network).\n${hostFile}`
    : ["# Kubernetes-managed hosts file.", ...localNames, ...ips.map((ip) => `${ip}\t${names}`), ""].join("\n");
  const aliases = pod.spec?.hostAliases ?? [];
  if (aliases.length === 0) return head;
  const lines = aliases.map((alias) => `${alias.ip}\t${(alias.hostnames ?? []).join("\t")}`);
  return `${head}\n# Entries added by HostAliases.\n${lines.join("\n")}\n`;
}
