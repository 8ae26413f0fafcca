/** Registers the embedded cluster DNS: its objects, its sockets, and the Service that leads to them. */
import { definePlugin } from "@k3s-p/plugin-api";
import { deployer, dns, kube, node } from "@k3s-p/plugin-api/slots";

interface Config {
  readonly address?: string;
  readonly port: number;
}

const servers = new WeakMap<object, { readonly healthy: () => string | undefined }>();

export default definePlugin({
  provides: dns,
  needs: { kube, node, deployer },
  async start(ctx) {
    const { startDns } = await import("./start.ts");
    const config = ctx.config as unknown as Config;
    const running = await startDns({
      client: ctx.needs.kube, deployer: ctx.needs.deployer, node: ctx.needs.node, log: ctx.log, stateDir: ctx.dirs.data,
      address: config.address ?? ctx.needs.node.ip, port: config.port, defer: (undo) => ctx.defer(undo),
    });
    const slot = { address: running.address, port: running.port };
    servers.set(slot, running);
    return slot;
  },
  health(slot) {
    const problem = servers.get(slot)?.healthy();
    return problem ? { ok: false, message: problem } : { ok: true };
  },
});
