/** The metrics TEMPLATE_NAME: an aggregated API at `metrics.k8s.io` that lists nothing yet. */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { definePlugin } from "@k3s-p/plugin-api";
import { metrics, node, pki } from "@k3s-p/plugin-api/slots";

export default definePlugin({
  provides: metrics,
  needs: { node, pki },
  async start(ctx) {
    const { node: self, pki: keys } = ctx.needs;
    const { cert, key } = await keys.issue({ name: "TEMPLATE_NAME", ca: "server-ca", commonName: "TEMPLATE_NAME", usage: "server", sans: [self.ip, "localhost"] });
    const options = { cert, key, ca: keys.ca("request-header-ca").cert, requestCert: true, rejectUnauthorized: false };
    const server = createServer(options, (request, response) => {
      // Only the API server has a certificate of this authority; what it says in X-Remote-User is then true.
      if (!(request.socket as TLSSocket).authorized) return void response.writeHead(401).end();
      const kind = request.url?.includes("/pods") ? "PodMetricsList" : "NodeMetricsList";
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify({ apiVersion: "metrics.k8s.io/v1beta1", kind, metadata: {}, items: [] }));
    });
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, self.ip, resolve));
    ctx.defer(() => {
      server.close();
      server.closeAllConnections();
    });
    return { port: (server.address() as AddressInfo).port };
  },
});
