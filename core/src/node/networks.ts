/** Which networks of pods and services fit together; refused before anything starts, as what they break shows much later. */
import { cidrContains, intToIp, parseCidr, type Cidr } from "@k3s-p/plugin-api";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import type { Settings } from "../config/load.ts";
import { invalid, refused } from "./checks.ts";

type ListName = "cluster-cidr" | "service-cidr" | "cluster-dns";

/** Upstream's API server takes no larger network of services, and none of fewer than 8 addresses. */
const serviceSizes = { 4: { widest: 12, narrowest: 29 }, 6: { widest: 64, narrowest: 125 } } as const;

/** Of the addresses of a network of services the tenth is that of the DNS service, unless `--cluster-dns` names another. */
const DNS_INDEX = 10n;

/** Both lists as they are in force, their items well-formed. */
export function checkNetworks(clusterCidr: readonly string[], serviceCidr: readonly string[], settings: Settings): void {
  checkFamilies("cluster-cidr", clusterCidr, settings);
  checkFamilies("service-cidr", serviceCidr, settings);
  if (families(clusterCidr).join() !== families(serviceCidr).join()) {
    throw refused("service-cidr", serviceCidr.join(","), settings, `has other IP families than cluster-cidr ${clusterCidr.join(",")}`, "give both --cluster-cidr and --service-cidr one network of each family");
  }
  for (const text of serviceCidr) checkServiceSize(text, settings);
  for (const text of serviceCidr) {
    const pods = clusterCidr.find((other) => overlap(parseCidr(text)!, parseCidr(other)!));
    if (pods !== undefined) throw refused("service-cidr", text, settings, `overlaps with cluster-cidr ${pods}`, "give --cluster-cidr and --service-cidr networks that share no address");
  }
}

/** For clusters that have a DNS service; without one, pods may be sent to any name server. */
export function checkDnsAddresses({ clusterDns, serviceCidr }: ClusterSettings, settings: Settings): void {
  for (const address of clusterDns) {
    if (serviceCidr.some((text) => cidrContains(parseCidr(text)!, address))) continue;
    throw refused("cluster-dns", address, settings, `is not in service-cidr ${serviceCidr.join(",")}`, "give --cluster-dns an address of --service-cidr, leave it out for the tenth one, or disable the DNS service");
  }
}

const families = (cidrs: readonly string[]): number[] => cidrs.map((text) => parseCidr(text)!.family).sort();

function checkFamilies(name: ListName, cidrs: readonly string[], settings: Settings): void {
  const isOneOfEach = cidrs.length > 0 && cidrs.length === new Set(families(cidrs)).size;
  if (!isOneOfEach) throw invalid(name, cidrs.join(","), "one network is expected, or one of IPv4 and one of IPv6", settings);
}

function checkServiceSize(text: string, settings: Settings): void {
  const cidr = parseCidr(text)!;
  const { widest, narrowest } = serviceSizes[cidr.family];
  if (cidr.prefix < widest || cidr.prefix > narrowest) throw invalid("service-cidr", text, `a network from /${widest} to /${narrowest} is expected`, settings);
  if (settings.values.has("cluster-dns") || DNS_INDEX < size(cidr)) return;
  throw refused("service-cidr", text, settings, "has no tenth address for the DNS service", "give a larger --service-cidr, or an address of it with --cluster-dns");
}

const size = ({ family, prefix }: Cidr): bigint => 1n << BigInt((family === 4 ? 32 : 128) - prefix);

const overlap = (a: Cidr, b: Cidr): boolean =>
  cidrContains(a, intToIp(b.base, b.family)) || cidrContains(b, intToIp(a.base, a.family));
