/** What flannel does to the host's network, all through the runner. */
import { isK3spError, k3spError } from "@k3s-p/plugin-api";
import type { Runner } from "@k3s-p/plugin-api/slots";

export interface Link {
  readonly name: string;
  readonly mtu: number;
  readonly addresses: readonly string[];
}

export async function must(runner: Runner, command: string, args: readonly string[], stdin?: string): Promise<string> {
  const result = await runner.run(command, args, { ...(stdin !== undefined && { stdin }) }).catch((cause) => {
    throw k3spError("K3SP_PROGRAM_MISSING", { message: `"${command}" cannot be run`, cause, plugin: "flannel", fix: `apt-get install ${packageOf[command] ?? command}` });
  });
  if (result.code === 0) return result.stdout;
  throw new Error(`${command} ${args.join(" ")}: ${result.stderr.trim() || `exit ${result.code}`}`);
}

/** In Debian. */
const packageOf: Readonly<Record<string, string>> = { ip: "iproute2", bridge: "iproute2", nft: "nftables" };

/** Its rules are right: what refuses them is a kernel that lacks a part. */
export async function loadRules(runner: Runner, rules: string): Promise<void> {
  await must(runner, "nft", ["-f", "-"], rules).catch((cause: Error) => {
    if (isK3spError(cause)) throw cause;
    throw k3spError("K3SP_PLUGIN_START_FAILED", {
      message: `flannel: the kernel does not take the rules for masquerading: ${cause.message.split("\n")[0]}`, plugin: "flannel",
      fix: "load nf_tables, nft_masq and nf_conntrack, or take a kernel that has them: k3s-p check-config says what is missing",
    });
  });
}

export async function links(runner: Runner): Promise<Link[]> {
  interface Row {
    readonly ifname?: string;
    readonly mtu: number;
    readonly addr_info?: readonly { readonly local: string }[];
  }
  const rows = JSON.parse(await must(runner, "ip", ["-j", "address", "show"])) as readonly Row[];
  return rows
    .filter((row) => row.ifname)
    .map((row) => ({ name: row.ifname!, mtu: row.mtu, addresses: (row.addr_info ?? []).map((each) => each.local) }));
}

/** The interface that carries traffic between nodes: the one named, else the one that has the node's address. */
export function chooseLink(all: readonly Link[], nodeIp: string, wanted: string | undefined): Link {
  const found = wanted ? all.find((link) => link.name === wanted) : all.find((link) => link.addresses.includes(nodeIp));
  if (found) return found;
  throw k3spError("K3SP_CONFIG_INVALID", {
    message: wanted ? `flannel-iface: there is no interface "${wanted}"` : `no interface has the node's address ${nodeIp}`,
    detail: [`interfaces: ${all.map((link) => link.name).sort().join(", ")}`],
    fix: "name one with --flannel-iface, or the node's address with --node-ip",
    plugin: "flannel",
  });
}

/**
 * Forwarding on, and bridged packets shown to the packet filter: only so is the answer of a pod on the same bridge
 * translated back to the Service's address. False when the kernel has no bridge filter.
 */
export async function prepareKernel(runner: Runner): Promise<boolean> {
  await must(runner, "sh", ["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
  const filter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
  const script = `[ -e ${filter} ] || modprobe br_netfilter 2>/dev/null; echo 1 > ${filter}`;
  return (await runner.run("sh", ["-c", script])).code === 0;
}

/**
 * Other programs (Docker) let iptables drop what is forwarded, and no rule in a table of our own can undo a drop. So
 * pod traffic is accepted there too, as flannel does. Without iptables there is nothing to undo.
 */
export async function acceptForwarding(runner: Runner, clusterCidr: string): Promise<void> {
  const script = `command -v iptables >/dev/null || exit 0
for way in -s -d; do
  rule="FORWARD $way $1 -m comment --comment k3sp-flannel -j ACCEPT"
  iptables -w -C $rule 2>/dev/null || iptables -w -I $rule || exit 1
done`;
  await must(runner, "sh", ["-c", script, "sh", clusterCidr]);
}
