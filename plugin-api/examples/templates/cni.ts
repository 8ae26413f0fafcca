/** The pod network TEMPLATE_NAME: a bridge on each node, addresses from `subnet`, masquerading to the outside. */
import { join } from "node:path";
import { definePlugin } from "@k3s-p/plugin-api";
import { installCni } from "@k3s-p/plugin-api/cni";
import { cni, node, runner, runtime, type CniConfList, type Runner } from "@k3s-p/plugin-api/slots";

interface Config {
  readonly subnet: string;
}

const bridge = "TEMPLATE_LINK";
const needs = { node, runner, runtime };

export default definePlugin<typeof cni, typeof needs, {}, Config>({
  provides: cni,
  needs,
  async start(ctx) {
    const { subnet } = ctx.config;
    const list = confList(subnet, join(ctx.dirs.run, "ipam"));
    await run(ctx.needs.runner, "sh", ["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    // Pods live on when the server stops, so the rules stay; installCni takes its files back by itself.
    await run(ctx.needs.runner, "nft", ["-f", "-"], masquerade(subnet));
    await installCni(ctx, { confList: list, fileName: "10-TEMPLATE_NAME.conflist" });
    ctx.log.info(`pods get addresses from ${subnet}`);
    return { confList: list, status: async () => ({ ready: true }) };
  },
});

/** What the runtime executes for each pod: the distribution's bridge, host-local and portmap programs. */
function confList(subnet: string, dataDir: string): CniConfList {
  const ipam = { type: "host-local", ranges: [[{ subnet }]], dataDir };
  return {
    cniVersion: "1.0.0",
    name: "TEMPLATE_NAME",
    plugins: [
      { type: "bridge", bridge, isDefaultGateway: true, hairpinMode: true, forceAddress: true, ipam },
      { type: "portmap", capabilities: { portMappings: true }, snat: true },
    ],
  };
}

/** Pods that talk to the outside take the node's address; loading it twice gives the same table. */
const masquerade = (subnet: string) => `
  add table ip k3sp-TEMPLATE_NAME
  delete table ip k3sp-TEMPLATE_NAME
  table ip k3sp-TEMPLATE_NAME {
    chain postrouting {
      type nat hook postrouting priority srcnat;
      ip saddr ${subnet} ip daddr != ${subnet} oifname != "${bridge}" masquerade
    }
  }`;

async function run(runner: Runner, command: string, args: readonly string[], stdin = ""): Promise<void> {
  const { code, stderr } = await runner.run(command, args, { stdin });
  if (code !== 0) throw new Error(`${command}: ${stderr}`);
}
