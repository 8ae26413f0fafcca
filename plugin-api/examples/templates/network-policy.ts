/** The network policy TEMPLATE_NAME: follows NetworkPolicies; `apply` is where the rules of this node are written. */
import { definePlugin } from "@k3s-p/plugin-api";
import { networkPolicies, pods, workQueue, type NetworkPolicy, type Pod } from "@k3s-p/plugin-api/kube";
import { kube, networkPolicy, node } from "@k3s-p/plugin-api/slots";

export default definePlugin({
  provides: networkPolicy,
  needs: { kube, node },
  async start(ctx) {
    const { kube: client, node: self } = ctx.needs;
    const informers = { policies: client.informer(networkPolicies), pods: client.informer(pods) };
    ctx.defer(() => (informers.policies.stop(), informers.pods.stop()));
    await Promise.all([informers.policies.synced, informers.pods.synced]);
    const local = () => informers.pods.list().filter((pod) => pod.spec?.nodeName === self.name);
    // One key for the whole table: a burst of changes is one run.
    const queue = workQueue({ name: ctx.id, workers: 1, reconcile: async () => apply(informers.policies.list(), local()) });
    ctx.defer(() => queue.stop());
    const changed = () => queue.add("rules");
    for (const informer of Object.values(informers)) informer.on({ added: changed, updated: changed, deleted: changed });
    return { synced: () => apply(informers.policies.list(), local()) };
  },
});

/** Rules for these pods, in the kernel when it resolves; an nftables set a policy is a good start. */
async function apply(_policies: readonly NetworkPolicy[], _pods: readonly Pod[]): Promise<void> {}
