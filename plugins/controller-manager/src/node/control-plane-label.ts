/** Marks the node of a server, as K3s does: a node may not give itself a role (NodeRestriction). */
import { nodes } from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";

const LABEL = "node-role.kubernetes.io/control-plane";

export function start(deps: ControllerDeps): void {
  const { client, self } = deps;
  const c = createController(deps, "control-plane-label-controller");
  const informer = c.follow(nodes, ({ metadata }) => (metadata.name === self.name ? metadata.name : undefined));
  c.run(async (name) => {
    const node = informer.get(name);
    if (!node || node.metadata.labels?.[LABEL] === "true") return;
    await client.patch(nodes, name, { metadata: { labels: { [LABEL]: "true" } } });
  });
}
