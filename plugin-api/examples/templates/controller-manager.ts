/** The controllers TEMPLATE_NAME: one work queue for each; here one that gives every Namespace its default ServiceAccount. */
import { definePlugin } from "@k3s-p/plugin-api";
import { isAlreadyExists, namespaces, serviceAccounts, workQueue } from "@k3s-p/plugin-api/kube";
import { controllerManager, kube } from "@k3s-p/plugin-api/slots";

export default definePlugin({
  provides: controllerManager,
  needs: { kube },
  async start(ctx) {
    const client = ctx.needs.kube;
    const informer = client.informer(namespaces);
    ctx.defer(() => informer.stop());
    const queue = workQueue({
      name: "serviceaccount-controller",
      async reconcile(name) {
        if (informer.get(name)?.status?.phase === "Terminating") return;
        await client.create(serviceAccounts, { metadata: { name: "default", namespace: name } }).catch((error) => {
          if (!isAlreadyExists(error)) throw error;
        });
      },
    });
    ctx.defer(() => queue.stop());
    informer.on({ added: (namespace) => queue.add(namespace.metadata.name!) });
    await informer.synced;
    return { controllers: ["serviceaccount-controller"] };
  },
});
