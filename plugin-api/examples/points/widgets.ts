/** A resource: `widgets.example.com`, served as built-in ones are, without a definition in the cluster. */
import { definePlugin } from "@k3s-p/plugin-api";
import { nativeResource } from "@k3s-p/plugin-api/points";

export default definePlugin({
  manifest: { name: "widgets", version: "1.0.0", contributes: ["apiserver.resource"] },
  start(ctx) {
    ctx.contribute(nativeResource, {
      group: "example.com", version: "v1", kind: "Widget", plural: "widgets", shortNames: ["wd"], categories: ["all"], namespaced: true,
      subresources: ["status", "scale"],
      columns: [{ name: "Color", type: "string", path: ".spec.color" }, { name: "Ready", type: "integer", path: ".status.replicas" }],
      schema: {
        type: "object", description: "A widget.", required: ["spec"],
        properties: {
          spec: {
            type: "object", required: ["color"],
            properties: {
              color: { type: "string", description: "What it looks like.", enum: ["red", "green", "blue"] },
              replicas: { type: "integer", default: 1, minimum: 0 },
            },
            "x-kubernetes-validations": [{ rule: "self.color != 'red' || self.replicas <= 3", message: "no more than three red ones" }],
          },
          status: { type: "object", properties: { replicas: { type: "integer" } } },
        },
      },
    });
  },
});
