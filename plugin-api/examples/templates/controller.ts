/** The controller TEMPLATE_NAME: writes a note on every Namespace that has the label `note`. */
import { definePlugin } from "@k3s-p/plugin-api";
import { namespaces, workQueue, type Namespace } from "@k3s-p/plugin-api/kube";
import { kube } from "@k3s-p/plugin-api/slots";

interface Config {
  readonly text: string;
}

const annotation = "TEMPLATE_NAME/note";

export default definePlugin<undefined, { kube: typeof kube }, {}, Config>({
  needs: { kube },
  async start(ctx) {
    const client = ctx.needs.kube;
    const informer = client.informer(namespaces, { labelSelector: "note" });
    ctx.defer(() => informer.stop());
    // One key at a time, again with back-off when it fails: reconcile says what should be, and may run at any time.
    const queue = workQueue({
      name: ctx.id,
      async reconcile(name) {
        const namespace = informer.get(name);
        if (!namespace || namespace.metadata.annotations?.[annotation] === ctx.config.text) return;
        await client.patch(namespaces, name, { metadata: { annotations: { [annotation]: ctx.config.text } } });
      },
      onError: (key, error) => ctx.log.warn({ err: error }, `namespace ${key} will be tried again`),
    });
    ctx.defer(() => queue.stop());
    const add = (object: Namespace) => queue.add(object.metadata.name!);
    informer.on({ added: add, updated: add });
    await informer.synced;
  },
});
