/** An authorizer: while a namespace has the label `freeze: "true"`, only superusers may change what is in it. */
import { definePlugin } from "@k3s-p/plugin-api";
import { namespaces } from "@k3s-p/plugin-api/kube";
import { authorizer } from "@k3s-p/plugin-api/points";
import { kube } from "@k3s-p/plugin-api/slots";

const reads = new Set(["get", "list", "watch"]);

export default definePlugin({
  manifest: {
    name: "freeze", version: "1.0.0", contributes: ["apiserver.authorizer"],
    permissions: { kube: [{ groups: [""], resources: ["namespaces"], verbs: ["list", "watch"] }] },
  },
  needs: { kube },
  async start(ctx) {
    const frozen = ctx.needs.kube.informer(namespaces, { labelSelector: "freeze=true" });
    ctx.defer(() => frozen.stop());
    await frozen.synced;
    ctx.contribute(authorizer, {
      name: "freeze",
      authorize({ verb, namespace }) {
        if (reads.has(verb) || !namespace || !frozen.get(namespace)) return undefined;
        return { decision: "deny", reason: `the namespace "${namespace}" is frozen` };
      },
    });
  },
});
