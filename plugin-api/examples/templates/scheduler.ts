/** The scheduler TEMPLATE_NAME: binds each pod that names it to the ready node with the fewest pods. */
import { definePlugin } from "@k3s-p/plugin-api";
import { conditionIsTrue, keyOf, nodes, pods, splitKey, workQueue, type Pod } from "@k3s-p/plugin-api/kube";
import { kube, scheduler } from "@k3s-p/plugin-api/slots";

/** The name of the default one takes over all pods; give it one of its own to run for some. */
const schedulerName = "default-scheduler";

export default definePlugin({
  provides: scheduler,
  needs: { kube },
  async start(ctx) {
    const client = ctx.needs.kube;
    const informers = { nodes: client.informer(nodes), pods: client.informer(pods, { indexes: { node: (pod) => [pod.spec?.nodeName ?? ""] } }) };
    ctx.defer(() => (informers.nodes.stop(), informers.pods.stop()));
    await Promise.all([informers.nodes.synced, informers.pods.synced]);
    const queue = workQueue({
      name: ctx.id,
      // One at a time: each decision sees the one before.
      workers: 1,
      async reconcile(key) {
        const [namespace, name] = splitKey(key);
        const pod = informers.pods.get(name, namespace);
        if (!pod || pod.spec?.nodeName || pod.spec?.schedulerName !== schedulerName) return;
        const ready = informers.nodes.list().filter((node) => !node.spec?.unschedulable && conditionIsTrue(node.status?.conditions, "Ready"));
        const [best] = ready.map((node) => node.metadata.name!).sort((a, b) => informers.pods.byIndex("node", a).length - informers.pods.byIndex("node", b).length);
        if (!best) return 10_000;
        const target = { apiVersion: "v1", kind: "Node", name: best };
        await client.create(pods, { metadata: { name, namespace }, target } as object, { name, namespace, subresource: "binding" });
      },
    });
    ctx.defer(() => queue.stop());
    const add = (pod: Pod) => queue.add(keyOf(pod));
    informers.pods.on({ added: add, updated: add });
    return { schedulerName };
  },
});
