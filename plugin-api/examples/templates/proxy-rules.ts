/** The nftables table for a set of Services: pure text, loaded in one transaction. */
import type { EndpointSlice, Service } from "@k3s-p/plugin-api/kube";

export function rules(table: string, services: readonly Service[], slices: readonly EndpointSlice[]): string {
  const [maps, lines]: [string[], string[]] = [[], []];
  for (const service of [...services].sort((a, b) => idOf(a).localeCompare(idOf(b)))) {
    const { clusterIP, ports = [], type, sessionAffinity } = service.spec ?? {};
    if (!clusterIP || clusterIP === "None" || clusterIP.includes(":")) continue;
    for (const port of ports) {
      const protocol = (port.protocol ?? "TCP").toLowerCase();
      const targets = endpointsOf(service, port.name ?? "", slices);
      const matches = [`ip daddr ${clusterIP} ${protocol} dport ${port.port}`];
      if (type !== "ClusterIP" && port.nodePort) matches.push(`fib daddr type local ${protocol} dport ${port.nodePort}`);
      const choice = sessionAffinity === "ClientIP" ? `jhash ip saddr mod ${targets.length}` : `numgen random mod ${targets.length}`;
      const lead = `meta mark set meta mark | 0x4000 dnat to ${choice} map { ${targets.map((to, i) => `${i} : ${to}`).join(", ")} }`;
      for (const match of matches) (targets.length ? lines : maps).push(`${match} ${targets.length ? lead : "reject"}`);
    }
  }
  const chain = (name: string, hook: string, body: readonly string[]) => `chain ${name} { ${hook}; ${body.map((line) => `${line}; `).join("")}}`;
  return [
    `add table ip ${table}`, `delete table ip ${table}`, `table ip ${table} {`,
    chain("prerouting", "type nat hook prerouting priority dstnat", lines), chain("output", "type nat hook output priority -100", lines),
    chain("refuse", "type filter hook output priority 0", maps), chain("refuseForwarded", "type filter hook forward priority 0", maps),
    chain("postrouting", "type nat hook postrouting priority srcnat", ["meta mark & 0x4000 == 0x4000 masquerade"]), "}",
  ].join("\n");
}

const idOf = ({ metadata }: Service): string => `${metadata.namespace}/${metadata.name}`;

function endpointsOf({ metadata }: Service, portName: string, slices: readonly EndpointSlice[]): readonly string[] {
  const own = slices.filter((s) => s.addressType === "IPv4" && s.metadata.namespace === metadata.namespace && s.metadata.labels?.["kubernetes.io/service-name"] === metadata.name);
  return own.flatMap((slice) => {
    const port = slice.ports?.find((p) => (p.name ?? "") === portName)?.port;
    return port === undefined ? [] : (slice.endpoints ?? []).filter((e) => e.conditions?.ready !== false).flatMap((e) => e.addresses.map((ip) => `${ip} . ${port}`));
  });
}
