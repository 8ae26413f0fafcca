/** A pod network of your own in TypeScript: a bridge, addresses from `subnet`, masquerading to the outside. */
import { definePlugin, addressAt, parseCidr } from "@k3s-p/plugin-api";
import { serveCni, type CniCall, type CniResult } from "@k3s-p/plugin-api/cni";
import { cni, runner, runtime, type Runner } from "@k3s-p/plugin-api/slots";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { openLeases } from "./leases.ts";

interface Config {
  readonly subnet?: string;
}

const bridge = "mycni0";
const needs = { runner, runtime };

// The slot named in `provides` is what this plugin takes over: `k3s-p server --plugin ./my-cni` replaces flannel.
export default definePlugin<typeof cni, typeof needs, {}, Config>({
  provides: cni,
  needs,
  async start(ctx) {
    const { subnet = "10.77.0.0/24" } = ctx.config;
    const range = parseCidr(subnet)!;
    const gateway = addressAt(range, 1);
    const run = commandsOf(ctx.needs.runner);
    const leases = openLeases(join(ctx.dirs.run, "addresses"), range);
    // Pods live on when the server stops, so bridge and rules stay. Whatever must go on a stop is given to `ctx.defer`;
    // serveCni does so for its files and its socket.
    await run("sh", ["-c", bridgeScript(`${gateway}/${range.prefix}`)]);
    await run("nft", ["-f", "-"], masquerade(subnet));
    ctx.log.info(`pods get addresses from ${subnet}`);
    return serveCni(ctx, {
      name: "my-cni",
      async add(call): Promise<CniResult> {
        const address = `${leases.take(ownerOf(call))}/${range.prefix}`;
        await run("ip", ["-batch", "-"], connectPod(call));
        await run("nsenter", [`--net=${call.netns}`, "ip", "-batch", "-"], configurePod(call, address, gateway));
        return {
          interfaces: [{ name: linkOf(call) }, { name: call.ifname, sandbox: call.netns }],
          ips: [{ address, gateway, interface: 1 }],
          routes: [{ dst: "0.0.0.0/0", gw: gateway }],
        };
      },
      async del(call) {
        await run("sh", ["-c", `! ip link show ${linkOf(call)} 2> /dev/null || ip link delete ${linkOf(call)}`]);
        leases.release(ownerOf(call));
      },
      async check(call) {
        await run("ip", ["link", "show", linkOf(call)]);
        const shown = await run("nsenter", [`--net=${call.netns}`, "ip", "-o", "address", "show", "dev", call.ifname]);
        if (!shown.includes(` ${leases.take(ownerOf(call))}/`)) throw new Error(`${call.ifname} has lost its address`);
      },
      gc: async (valid) => leases.keep(valid.map(({ containerID, ifname }) => `${containerID} ${ifname}`)),
      // The distribution's own program does the host ports.
      chain: [{ type: "portmap", capabilities: { portMappings: true }, snat: true }],
    });
  },
});

const ownerOf = ({ containerId, ifname }: CniCall): string => `${containerId} ${ifname}`;
/** The node's end of the pod's link; names of links have at most 15 characters. */
const linkOf = (call: CniCall): string => `veth${createHash("sha256").update(ownerOf(call)).digest("hex").slice(0, 10)}`;

/** The bridge keeps one hardware address: without, it would take that of whichever pod comes and goes. */
const bridgeScript = (address: string) => `
  echo 1 > /proc/sys/net/ipv4/ip_forward
  ip link show ${bridge} > /dev/null 2>&1 || ip link add ${bridge} address 0a:58:6d:79:63:01 type bridge
  ip address replace ${address} dev ${bridge} && ip link set ${bridge} up`;

const connectPod = (call: CniCall) => `
  link add ${linkOf(call)} type veth peer name ${call.ifname} netns ${call.netns}
  link set ${linkOf(call)} master ${bridge} up
  link set ${linkOf(call)} type bridge_slave hairpin on`;

const configurePod = ({ ifname }: CniCall, address: string, gateway: string) => `
  link set lo up
  address add ${address} dev ${ifname}
  link set ${ifname} up
  route add default via ${gateway}`;

/** Pods that talk to the outside take the node's address; loading it twice gives the same table. */
const masquerade = (subnet: string) => `
  add table ip k3sp-my-cni
  delete table ip k3sp-my-cni
  table ip k3sp-my-cni {
    chain postrouting {
      type nat hook postrouting priority srcnat;
      ip saddr ${subnet} ip daddr != ${subnet} oifname != "${bridge}" masquerade
    }
  }`;

const commandsOf = (runner: Runner) => async (command: string, args: readonly string[], stdin = ""): Promise<string> => {
  const { code, stdout, stderr } = await runner.run(command, args, { stdin });
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr.trim()}`);
  return stdout;
};
