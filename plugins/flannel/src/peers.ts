/**
 * How packets reach the pods of other nodes: a route for each of them, by the node itself (`host-gw`) or through a VXLAN
 * device (`vxlan`), with flannel's own names and annotations, so that nodes with upstream's flannel are understood.
 */
import { addressAt, parseCidr, type Cidr } from "@k3s-p/plugin-api";
import { cidrContains } from "@k3s-p/plugin-api/net";
import type { Node } from "@k3s-p/plugin-api/kube";
import type { Runner } from "@k3s-p/plugin-api/slots";
import { must, type Link } from "./host.ts";

export interface Backend {
  readonly type: "vxlan" | "host-gw";
  readonly nodeName: string;
  readonly nodeIp: string;
  readonly link: Link;
  /** `10.42.0.0/16` */
  readonly clusterCidr: string;
  /** This node's part. */
  readonly podCidr: string;
  readonly mtu: number;
  /** VXLAN network identifier; the device has it in its name. */
  readonly vni: number;
}

/** What one other node needs here. */
export interface Peer {
  readonly podCidr: string;
  readonly publicIp: string;
  /** Hardware address of its VXLAN device. */
  readonly mac?: string;
}

const deviceOf = ({ vni }: Pick<Backend, "vni">): string => `flannel.${vni}`;
const port = 8472;
const prefix = "flannel.alpha.coreos.com/";

/** The address of a node's VXLAN device: the first of its pod range. */
const vtepOf = (podCidr: string): string => addressAt(parseCidr(podCidr)!, 0);

/** Nodes that lack their range, or whose device is not up yet, come with their next update. */
export function peersOf(backend: Pick<Backend, "type" | "nodeName">, nodes: readonly Node[]): readonly Peer[] {
  return nodes.filter(({ metadata }) => metadata.name !== backend.nodeName).flatMap(({ metadata, spec, status }) => {
    const annotations = metadata.annotations ?? {};
    const publicIp = annotations[`${prefix}public-ip`] ?? status?.addresses?.find(({ type }) => type === "InternalIP")?.address;
    if (!spec?.podCIDR || !publicIp) return [];
    if (backend.type === "host-gw") return [{ podCidr: spec.podCIDR, publicIp }];
    const mac = annotations[`${prefix}backend-type`] === "vxlan" ? macOf(annotations[`${prefix}backend-data`]) : undefined;
    return mac ? [{ podCidr: spec.podCIDR, publicIp, mac }] : [];
  });
}

/** `{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}` */
function macOf(data = ""): string | undefined {
  return /"VtepMAC":"([0-9a-f:]{17})"/i.exec(data)?.[1]?.toLowerCase();
}

export const annotationsOf = ({ type, nodeIp, vni }: Backend, mac: string | undefined): Readonly<Record<string, string>> => ({
  [`${prefix}backend-type`]: type, [`${prefix}backend-data`]: mac ? JSON.stringify({ VNI: vni, VtepMAC: mac }) : "null",
  [`${prefix}kube-subnet-manager`]: "true", [`${prefix}public-ip`]: nodeIp,
});

/** Makes the VXLAN device unless it is there as it should be; its hardware address. */
export async function ensureVxlan(runner: Runner, { link, nodeIp, podCidr, mtu, vni }: Backend): Promise<string> {
  const device = deviceOf({ vni });
  const describe = `vxlan id ${vni} local ${nodeIp} dev ${link.name}`;
  const script = `
    ip -d link show ${device} 2> /dev/null | grep -q "${describe}" || {
      ip link delete ${device} 2> /dev/null
      ip link add ${device} type vxlan id ${vni} dev ${link.name} local ${nodeIp} dstport ${port} nolearning
    } && ip link set ${device} mtu ${mtu} up && {
      ip -o address show dev ${device} | grep -qF " ${vtepOf(podCidr)}/32 " || ip address flush dev ${device}
    } && ip address replace ${vtepOf(podCidr)}/32 dev ${device} && cat /sys/class/net/${device}/address`;
  return (await must(runner, "sh", ["-c", script])).trim();
}

interface Route {
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
}

interface FdbEntry {
  readonly mac: string;
  readonly dst?: string;
}

/** Brings routes and, for VXLAN, the tables of neighbours in step with the peers; what is right already is not touched. */
export async function syncPeers(runner: Runner, backend: Backend, peers: readonly Peer[]): Promise<void> {
  const routes = JSON.parse(await must(runner, "ip", ["-j", "route", "show"])) as readonly Route[];
  const fdb = backend.type === "vxlan" ? (JSON.parse(await must(runner, "bridge", ["-j", "fdb", "show", "dev", deviceOf(backend)])) as readonly FdbEntry[]) : [];
  const { ip, bridge } = commands(backend, peers, routes, fdb);
  if (bridge.length) await must(runner, "bridge", ["-force", "-batch", "-"], `${bridge.join("\n")}\n`);
  if (ip.length) await must(runner, "ip", ["-batch", "-"], `${ip.join("\n")}\n`);
}

/** Pure: lines for `ip -batch` and `bridge -batch`. */
export function commands(
  backend: Pick<Backend, "type" | "clusterCidr" | "podCidr" | "link" | "vni">, peers: readonly Peer[], routes: readonly Route[], fdb: readonly FdbEntry[],
): { readonly ip: readonly string[]; readonly bridge: readonly string[] } {
  const isVxlan = backend.type === "vxlan";
  const dev = isVxlan ? deviceOf(backend) : backend.link.name;
  const cluster = parseCidr(backend.clusterCidr)!;
  const wanted = new Map(peers.map((peer) => [peer.podCidr, { peer, via: isVxlan ? vtepOf(peer.podCidr) : peer.publicIp }]));
  // Routes of the cluster's range that lead to another machine are ours: pods hang on the bridge, without a gateway.
  const known = routes.filter(({ dst, gateway }) => gateway && isInside(cluster, dst) && dst !== backend.podCidr);
  const isRight = ({ dst, gateway, dev: by }: Route) => wanted.get(dst)?.via === gateway && by === dev;
  const gone = known.filter((route) => !isRight(route));
  const fresh = [...wanted].filter(([cidr]) => !known.some((route) => route.dst === cidr && isRight(route)));
  const ip = [
    ...gone.map(({ dst, gateway, dev: by }) => `route delete ${dst} via ${gateway} dev ${by}`),
    ...(isVxlan ? [...wanted.values()].map(({ peer, via }) => `neighbour replace ${via} lladdr ${peer.mac} dev ${dev} nud permanent`) : []),
    ...fresh.map(([cidr, { via }]) => `route replace ${cidr} via ${via} dev ${dev}${isVxlan ? " onlink" : ""}`),
  ];
  const macs = new Map(peers.map(({ mac, publicIp }) => [mac, publicIp]));
  const bridge = isVxlan ? [
    ...fdb.filter(({ mac, dst }) => dst && macs.get(mac) !== dst).map(({ mac, dst }) => `fdb delete ${mac} dev ${dev} dst ${dst}`),
    ...peers.filter(({ mac, publicIp }) => !fdb.some((each) => each.mac === mac && each.dst === publicIp)).map(({ mac, publicIp }) => `fdb append ${mac} dev ${dev} dst ${publicIp}`),
  ] : [];
  return { ip, bridge };
}

const isInside = (cluster: Cidr, dst: string): boolean => {
  const range = parseCidr(dst.includes("/") ? dst : `${dst}/32`);
  return range?.family === cluster.family && range.prefix > cluster.prefix && cidrContains(cluster, addressAt(range, 0));
};
