/** What my-cni does to the node: a bridge with one pair of links a pod, host ports and masquerading by nftables. */
import { createHash } from "node:crypto";
import type { CniPortMapping } from "@k3s-p/plugin-api/cni";
import type { Runner } from "@k3s-p/plugin-api/slots";

export interface NetworkOptions {
  /** Of its nftables table: `k3sp-NAME`. */
  readonly name: string;
  readonly bridge: string;
  readonly subnet: string;
  readonly gateway: string;
  /** Length of the subnet's prefix. */
  readonly prefix: number;
}

export interface Attachment {
  readonly owner: string;
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly ifname: string;
  readonly address: string;
  readonly ports?: readonly CniPortMapping[];
}

export interface Network {
  /** Returns the name of the node's end of the pod's link. */
  connect(attachment: Attachment): Promise<string>;
  /** Also of what was never connected, or only in part. */
  disconnect(owner: string, address: string | undefined): Promise<void>;
  /** Rejects when the pod is not connected as it was. */
  check(attachment: Attachment): Promise<void>;
}

/** Makes the bridge and the rules; to make them again changes nothing for the pods that are there. */
export async function openNetwork(runner: Runner, options: NetworkOptions): Promise<Network> {
  const { bridge, gateway, prefix } = options;
  const table = `ip k3sp-${options.name}`;

  async function run(command: string, args: readonly string[], stdin = ""): Promise<string> {
    const { code, stdout, stderr } = await runner.run(command, args, { stdin });
    if (code !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr.trim()}`);
    return stdout;
  }

  async function closePorts(address: string): Promise<void> {
    const rules = await run("nft", ["-a", "list", "chain", ...table.split(" "), "hostports"]);
    const handles = rules.split("\n").filter((rule) => rule.includes(` dnat to ${address}:`)).map((rule) => /# handle (\d+)/.exec(rule)![1]);
    if (handles.length) await run("nft", ["-f", "-"], handles.map((handle) => `delete rule ${table} hostports handle ${handle}\n`).join(""));
  }

  await run("sh", ["-c", bridgeScript(bridge, `${gateway}/${prefix}`)]);
  await run("nft", ["-f", "-"], rulesOf(table, options));
  return {
    async connect({ owner, netns, ifname, address, ports = [] }) {
      const link = linkOf(owner);
      await run("ip", ["-batch", "-"], connectPod(link, bridge, ifname, netns));
      await run("nsenter", [`--net=${netns}`, "ip", "-batch", "-"], configurePod(ifname, `${address}/${prefix}`, gateway));
      if (ports.length) await run("nft", ["-f", "-"], ports.map((port) => portRule(table, port, address)).join(""));
      return link;
    },
    async disconnect(owner, address) {
      const link = linkOf(owner);
      if (address) await closePorts(address);
      await run("sh", ["-c", `! ip link show ${link} 2> /dev/null || ip link delete ${link}`]);
    },
    async check({ owner, netns, ifname, address }) {
      await run("ip", ["link", "show", linkOf(owner)]);
      const shown = await run("nsenter", [`--net=${netns}`, "ip", "-o", "address", "show", "dev", ifname]);
      if (!shown.includes(` ${address}/`)) throw new Error(`${ifname} has lost its address`);
    },
  };
}

/** The node's end of the pod's link; names of links have at most 15 characters. */
const linkOf = (owner: string): string => `veth${createHash("sha256").update(owner).digest("hex").slice(0, 10)}`;

/** The bridge keeps one hardware address: without, it would take that of whichever pod comes and goes. */
const bridgeScript = (bridge: string, address: string) => `
  echo 1 > /proc/sys/net/ipv4/ip_forward
  ip link show ${bridge} > /dev/null 2>&1 || ip link add ${bridge} address 0a:58:6d:79:63:01 type bridge
  ip address replace ${address} dev ${bridge} && ip link set ${bridge} up`;

const connectPod = (link: string, bridge: string, ifname: string, netns: string) => `
  link add ${link} type veth peer name ${ifname} netns ${netns}
  link set ${link} master ${bridge} up
  link set ${link} type bridge_slave hairpin on`;

const configurePod = (ifname: string, address: string, gateway: string) => `
  link set lo up
  address add ${address} dev ${ifname}
  link set ${ifname} up
  route add default via ${gateway}`;

/**
 * What leaves the subnet takes the node's address; so does what reaches a neighbour by a port of the node, since the
 * answer has to come back by the node. The ports of running pods stay when the rules are loaded again.
 */
const rulesOf = (table: string, { subnet, bridge }: NetworkOptions) => `
  add table ${table}
  add chain ${table} hostports
  add chain ${table} prerouting { type nat hook prerouting priority dstnat; }
  add chain ${table} output { type nat hook output priority -100; }
  add chain ${table} postrouting { type nat hook postrouting priority srcnat; }
  flush chain ${table} prerouting
  flush chain ${table} output
  flush chain ${table} postrouting
  add rule ${table} prerouting fib daddr type local jump hostports
  add rule ${table} output ip daddr != 127.0.0.0/8 fib daddr type local jump hostports
  add rule ${table} postrouting ip saddr ${subnet} ip daddr != ${subnet} oifname != "${bridge}" masquerade
  add rule ${table} postrouting ip saddr ${subnet} meta mark & 0x2000 == 0x2000 masquerade`;

const portRule = (table: string, { hostPort, containerPort, protocol, hostIP }: CniPortMapping, address: string): string => {
  const to = hostIP && hostIP !== "0.0.0.0" ? `ip daddr ${hostIP} ` : "";
  return `add rule ${table} hostports ${to}${protocol} dport ${hostPort} meta mark set meta mark or 0x2000 dnat to ${address}:${containerPort}\n`;
};
