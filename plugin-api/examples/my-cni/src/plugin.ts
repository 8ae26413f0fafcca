/** The pod network my-cni as TypeScript functions: a bridge, addresses from `subnet`, host ports, masquerading. */
import { join } from "node:path";
import { addressAt, definePlugin, parseCidr } from "@k3s-p/plugin-api";
import { serveCni } from "@k3s-p/plugin-api/cni";
import { cni, runner, runtime } from "@k3s-p/plugin-api/slots";
import { openLeases } from "./leases.ts";
import { openNetwork } from "./network.ts";

interface Config {
  readonly subnet?: string;
}

const needs = { runner, runtime };

// The slot named in `provides` is what this plugin takes over: `k3s-p server --plugin ./my-cni` replaces flannel.
export default definePlugin<typeof cni, typeof needs, {}, Config>({
  provides: cni,
  needs,
  async start(ctx) {
    const { subnet = "10.77.0.0/24" } = ctx.config;
    const { prefix } = parseCidr(subnet)!;
    const gateway = addressAt(parseCidr(subnet)!, 1);
    const leases = openLeases(join(ctx.dirs.run, "addresses"), parseCidr(subnet)!);
    // Pods live on when the server stops, so bridge and rules stay. Whatever must go on a stop is given to `ctx.defer`;
    // serveCni does so for its files and its socket.
    const network = await openNetwork(ctx.needs.runner, { name: "my-cni", bridge: "mycni0", subnet, gateway, prefix });
    ctx.log.info(`pods get addresses from ${subnet}`);
    async function remove(owner: string): Promise<void> {
      await network.disconnect(owner, leases.of(owner));
      leases.release(owner);
    }
    return serveCni(ctx, {
      name: "my-cni",
      capabilities: { portMappings: true },
      async add({ containerId, ifname, netns, portMappings }) {
        const owner = `${containerId} ${ifname}`;
        const address = leases.take(owner);
        const link = await network.connect({ owner, netns, ifname, address, ports: portMappings });
        return {
          interfaces: [{ name: link }, { name: ifname, sandbox: netns }],
          ips: [{ address: `${address}/${prefix}`, gateway, interface: 1 }],
          routes: [{ dst: "0.0.0.0/0", gw: gateway }],
        };
      },
      del: ({ containerId, ifname }) => remove(`${containerId} ${ifname}`),
      check({ containerId, ifname, netns }) {
        const owner = `${containerId} ${ifname}`;
        return network.check({ owner, netns, ifname, address: leases.of(owner) ?? "none" });
      },
      async gc(valid) {
        const known = valid.map(({ containerID, ifname }) => `${containerID} ${ifname}`);
        for (const owner of leases.owners()) if (!known.includes(owner)) await remove(owner);
      },
    });
  },
});
