/** The kubelet TEMPLATE_NAME: registers this node and reports it as ready; it runs no pods yet. */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { definePlugin } from "@k3s-p/plugin-api";
import { isAlreadyExists, nodes } from "@k3s-p/plugin-api/kube";
import { kube, kubelet, node, pki } from "@k3s-p/plugin-api/slots";

export default definePlugin({
  provides: kubelet,
  needs: { kube, node, pki },
  async start(ctx) {
    const { kube: client, node: self, pki: keys } = ctx.needs;
    const { cert, key } = await keys.issue({ name: "serving-kubelet", ca: "server-ca", commonName: self.name, usage: "server", sans: [self.ip, self.name] });
    // Logs, exec and statistics are asked for here.
    const server = createServer({ cert, key }, (_, response) => void response.writeHead(404).end());
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, self.ip, resolve));
    ctx.defer(() => {
      server.close();
      server.closeAllConnections();
    });
    await client.create(nodes, { metadata: { name: self.name, labels: { ...self.labels, "kubernetes.io/hostname": self.name } }, spec: {} }).catch((error) => {
      if (!isAlreadyExists(error)) throw error;
    });
    const at = new Date().toISOString();
    const ready = { type: "Ready", status: "True", reason: "KubeletReady", message: "", lastHeartbeatTime: at, lastTransitionTime: at };
    await client.patch(nodes, self.name, { status: { conditions: [ready], addresses: [{ type: "InternalIP", address: self.ip }] } }, { subresource: "status" });
    return { port: (server.address() as AddressInfo).port };
  },
});
