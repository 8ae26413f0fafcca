/** What flannel writes down: the CNI list, `subnet.env` and the masquerading rules. Pure text from a few facts. */
import { addressAt, parseCidr } from "@k3s-p/plugin-api";
import type { CniConfList } from "@k3s-p/plugin-api/slots";

export interface PodNetwork {
  /** The whole cluster's pod range: `10.42.0.0/16`. */
  readonly clusterCidr: string;
  /** This node's part: `10.42.0.0/24`. */
  readonly podCidr: string;
  readonly mtu: number;
  readonly bridge: string;
  /** Where host-local keeps its reservations. */
  readonly ipamDir: string;
}

/**
 * K3s's list, with the bridge and host-local plugins named directly where K3s has the `flannel` program write them:
 * distributions do not ship that program.
 */
export function confList({ podCidr, mtu, bridge, ipamDir }: PodNetwork): CniConfList {
  const ipam = { type: "host-local", ranges: [[{ subnet: podCidr }]], dataDir: ipamDir };
  return {
    cniVersion: "1.0.0",
    name: "cbr0",
    // The `bandwidth` of the CNI plugins before 1.2 crashes at a CHECK of a pod that has no limit.
    disableCheck: true,
    plugins: [
      { type: "bridge", bridge, mtu, isDefaultGateway: true, hairpinMode: true, forceAddress: true, ipMasq: false, ipam },
      { type: "portmap", capabilities: { portMappings: true }, snat: true },
      { type: "bandwidth", capabilities: { bandwidth: true } },
    ],
  };
}

/** `/run/flannel/subnet.env`; the subnet is written with the gateway's address, as flannel does. */
export function subnetEnv({ clusterCidr, podCidr, mtu }: PodNetwork): string {
  const cidr = parseCidr(podCidr);
  if (!cidr) throw new TypeError(`"${podCidr}" is not a CIDR`);
  const lines = [
    `FLANNEL_NETWORK=${clusterCidr}`, `FLANNEL_SUBNET=${addressAt(cidr, 1)}/${cidr.prefix}`, `FLANNEL_MTU=${mtu}`, "FLANNEL_IPMASQ=true",
  ];
  return `${lines.join("\n")}\n`;
}

/** One table a bridge, so that two clusters on one host do not share it. */
export const tableName = (bridge: string) => (bridge === "cni0" ? "k3sp-flannel" : `k3sp-flannel-${bridge}`);

/**
 * Pod traffic that leaves the cluster takes the node's address; what enters for pods of other nodes too, so that the
 * answer comes back this way. Traffic between pods is left alone. The table is replaced in one transaction.
 */
export function masqueradeRules({ clusterCidr, podCidr, bridge }: PodNetwork): string {
  const table = `ip ${tableName(bridge)}`;
  return `
add table ${table}
delete table ${table}
table ${table} {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${clusterCidr} ip daddr ${clusterCidr} return
    ip saddr ${clusterCidr} ip daddr != 224.0.0.0/4 masquerade fully-random
    ip saddr != ${clusterCidr} ip daddr ${podCidr} return
    ip saddr != ${clusterCidr} ip daddr ${clusterCidr} masquerade fully-random
  }
}
`;
}
