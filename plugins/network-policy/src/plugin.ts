/** Fills the `network-policy` slot: NetworkPolicies of this node's pods as one nftables table. */
import { definePlugin, k3spError } from "@k3s-p/plugin-api";
import { kube, networkPolicy, node, runner, type Runner } from "@k3s-p/plugin-api/slots";
import { startController } from "./controller.ts";
import { removal } from "./table.ts";

interface Config {
  readonly table?: string;
}

const needs = { kube, node, runner };

export default definePlugin<typeof networkPolicy, typeof needs, {}, Config>({
  provides: networkPolicy,
  needs,
  async start(ctx) {
    if (process.getuid?.() !== 0) {
      throw k3spError("K3SP_ROOT_REQUIRED", { message: "network-policy writes nftables rules", fix: "run the server as root, or with --disable-network-policy" });
    }
    const { table = "k3sp-policy" } = ctx.config;
    const apply = (transaction: string) => load(ctx.needs.runner, transaction);
    // Pods outlive the server, and so does what protects them; but nobody is kept out by what nobody maintains.
    ctx.defer((why) => (why === "retired" ? apply(removal(table).join("\n")) : undefined));
    const controller = startController({ kube: ctx.needs.kube, nodeName: ctx.needs.node.name, table, apply, log: ctx.log });
    ctx.defer(() => controller.stop());
    return { synced: () => controller.synced() };
  },
  ready: (impl) => impl.synced(),
});

async function load(runner: Runner, transaction: string): Promise<void> {
  const { code, stderr } = await runner.run("nft", ["-f", "-"], { stdin: transaction, timeout: 120_000 }).catch((cause) => {
    throw k3spError("K3SP_PROGRAM_MISSING", { message: '"nft" cannot be run', fix: "apt-get install nftables", cause, plugin: "network-policy" });
  });
  if (code !== 0) throw new Error(stderr.trim().slice(0, 2000));
}
