/** The proxy TEMPLATE_NAME: Service addresses and node ports as one nftables table that is written as a whole. */
import { definePlugin } from "@k3s-p/plugin-api";
import { endpointSlices, services, workQueue } from "@k3s-p/plugin-api/kube";
import { kube, node, proxy, runner } from "@k3s-p/plugin-api/slots";
import { rules } from "./proxy-rules.ts";

export default definePlugin({
  provides: proxy,
  needs: { kube, node, runner },
  async start(ctx) {
    const { kube: client, runner: run } = ctx.needs;
    const informers = { services: client.informer(services), slices: client.informer(endpointSlices) };
    ctx.defer(() => (informers.services.stop(), informers.slices.stop()));
    await Promise.all([informers.services.synced, informers.slices.synced]);

    async function write(): Promise<void> {
      const stdin = rules("k3sp-TEMPLATE_NAME", informers.services.list(), informers.slices.list());
      const { code, stderr } = await run.run("nft", ["-f", "-"], { stdin });
      if (code !== 0) throw new Error(`nft: ${stderr}`);
    }
    // One after the other: older rules must not be written over newer ones.
    let last = Promise.resolve();
    const sync = (): Promise<void> => (last = last.catch(() => undefined).then(write));
    // Rules stay over a restart, and with them connections; but not when nobody will look after them.
    ctx.defer(async (why) => {
      await last.catch(() => undefined);
      if (why === "retired") await run.run("nft", ["delete", "table", "ip", "k3sp-TEMPLATE_NAME"]);
    });
    // One key for the whole table: a burst of changes is one run.
    const queue = workQueue({ name: ctx.id, workers: 1, reconcile: sync, onError: (_, error) => ctx.log.warn({ err: error }, "rules are not in place") });
    ctx.defer(() => queue.stop());
    const changed = () => queue.add("rules");
    for (const informer of Object.values(informers)) informer.on({ added: changed, updated: changed, deleted: changed });
    await sync();
    return { synced: sync };
  },
});
