/** Which records a name has, after the Kubernetes DNS specification: pure lookups in what the informers hold. */
import type { EndpointSlice, Informer, Service } from "@k3s-p/plugin-api/kube";

export interface DnsRecord {
  readonly type: "A" | "AAAA" | "CNAME" | "PTR" | "SRV";
  readonly ttl: number;
  /** An address, a name, or for SRV `port name`. */
  readonly data: string;
}

/** Undefined for a name that does not exist; an empty list for one that does, without records. */
export type Zone = (name: string) => readonly DnsRecord[] | undefined;

interface Sources {
  readonly services: Informer<Service>;
  readonly slices: Informer<EndpointSlice>;
}

export function createZone({ services, slices }: Sources, domain: string, ttl: number): Zone {
  const address = (ip: string): DnsRecord => ({ type: ip.includes(":") ? "AAAA" : "A", ttl, data: ip });
  const hostName = (of: Service) => `${of.metadata.name}.${of.metadata.namespace}.svc.${domain}`;
  const headless = (of: Service) => of.spec?.clusterIP === "None";
  const clusterIps = (of: Service) => (headless(of) ? [] : (of.spec?.clusterIPs ?? [of.spec?.clusterIP ?? ""]).filter(Boolean));

  function endpointsOf(of: Service): { readonly ip: string; readonly host: string; readonly ports: EndpointSlice["ports"] }[] {
    const own = slices.list(of.metadata.namespace).filter((slice) => slice.metadata.labels?.["kubernetes.io/service-name"] === of.metadata.name);
    return own.flatMap((slice) => (slice.endpoints ?? []).filter((e) => e.conditions?.ready !== false).flatMap((e) =>
      e.addresses.map((ip) => ({ ip, host: e.hostname ?? ip.replaceAll(/[.:]/g, "-"), ports: slice.ports }))));
  }

  function ofService(of: Service, rest: readonly string[]): readonly DnsRecord[] | undefined {
    if (of.spec?.type === "ExternalName") return rest.length ? undefined : [{ type: "CNAME", ttl, data: of.spec.externalName ?? "" }];
    if (!rest.length) return headless(of) ? endpointsOf(of).map((e) => address(e.ip)) : clusterIps(of).map(address);
    if (rest.length === 1 && headless(of)) return some(endpointsOf(of).filter((e) => e.host === rest[0]).map((e) => address(e.ip)));
    const [port, protocol] = rest.map((label) => label.replace(/^_/, ""));
    const is = (p: { readonly name?: string; readonly protocol?: string }) => p.name === port && (p.protocol ?? "TCP").toLowerCase() === protocol;
    const srv = (number: number, target: string): DnsRecord => ({ type: "SRV", ttl, data: `${number} ${target}` });
    if (!headless(of)) return some((of.spec?.ports ?? []).filter(is).map((p) => srv(p.port, hostName(of))));
    return some(endpointsOf(of).flatMap((e) => (e.ports ?? []).filter(is).map((p) => srv(p.port ?? 0, `${e.host}.${hostName(of)}`))));
  }

  function reverse(ip: string): readonly DnsRecord[] | undefined {
    const named = services.list().filter((of) => clusterIps(of).includes(ip)).map(hostName);
    const pods = services.list().filter(headless).flatMap((of) => endpointsOf(of).filter((e) => e.ip === ip).map((e) => `${e.host}.${hostName(of)}`));
    return some([...named, ...pods].map((data): DnsRecord => ({ type: "PTR", ttl, data })));
  }

  return (name) => {
    const ip = /^([\d.]+)\.in-addr\.arpa$/.exec(name)?.[1];
    if (ip) return reverse(ip.split(".").reverse().join("."));
    if (name === domain || name === `svc.${domain}`) return [];
    if (!name.endsWith(`.svc.${domain}`)) return undefined;
    const [namespace = "", service = "", ...rest] = name.slice(0, -`.svc.${domain}`.length).split(".").reverse();
    const found = services.get(service, namespace);
    return found && ofService(found, rest.reverse());
  };
}

const some = (records: readonly DnsRecord[]) => (records.length ? records : undefined);
