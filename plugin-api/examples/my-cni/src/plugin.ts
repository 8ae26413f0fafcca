/** A pod network of your own in one file: a bridge, addresses from `subnet`, masquerading to the outside. */
import { join } from "node:path";
import { definePlugin } from "@k3s-p/plugin-api";
import { installCni } from "@k3s-p/plugin-api/cni";
import { cni, node, runner, runtime, type CniConfList, type Runner } from "@k3s-p/plugin-api/slots";

interface Config {
  readonly subnet?: string;
}

const bridge = "mycni0";
const needs = { node, runner, runtime };

// The slot named in `provides` is what this plugin takes over: `k3s-p server --plugin ./my-cni` replaces flannel.
export default definePlugin<typeof cni, typeof needs, {}, Config>({
  provides: cni,
  needs,
  async start(ctx) {
    const { subnet = "10.77.0.0/24" } = ctx.config;
    const list = confList(subnet, join(ctx.dirs.run, "ipam"));
    await sh(ctx.needs.runner, "echo 1 > /proc/sys/net/ipv4/ip_forward");
    await nft(ctx.needs.runner, masquerade(subnet));
    // Pods live on when the server stops, so the rules stay. Whatever must go on a stop is given to `ctx.defer`;
    // installCni does so for the files that it writes.
    await installCni(ctx, { confList: list, fileName: "10-my-cni.conflist" });
    ctx.log.info(`pods get addresses from ${subnet}`);
    return { confList: list, status: async () => ({ ready: true }) };
  },
});

/** What the runtime executes for each pod: the distribution's bridge, host-local and portmap programs. */
function confList(subnet: string, dataDir: string): CniConfList {
  const ipam = { type: "host-local", ranges: [[{ subnet }]], dataDir };
  return {
    cniVersion: "1.0.0",
    name: "my-cni",
    plugins: [
      { type: "bridge", bridge, isDefaultGateway: true, hairpinMode: true, forceAddress: true, ipam },
      { type: "portmap", capabilities: { portMappings: true }, snat: true },
    ],
  };
}

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

async function nft(runner: Runner, rules: string): Promise<void> {
  const { code, stderr } = await runner.run("nft", ["-f", "-"], { stdin: rules });
  if (code !== 0) throw new Error(`nft: ${stderr}`);
}

async function sh(runner: Runner, script: string): Promise<void> {
  const { code, stderr } = await runner.run("sh", ["-c", script]);
  if (code !== 0) throw new Error(`${script}: ${stderr}`);
}
