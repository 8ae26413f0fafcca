/** The API server TEMPLATE_NAME: a skeleton; the client is yours to write. */
import { definePlugin } from "@k3s-p/plugin-api";
import { apiserver, datastore, node, pki } from "@k3s-p/plugin-api/slots";

export default definePlugin({
  provides: apiserver,
  needs: { datastore, node, pki },
  start(ctx) {
    const { httpsListenPort: port } = ctx.needs.node.cluster;
    return {
      url: `https://127.0.0.1:${port}`,
      port,
      /** A client that acts as `user`: everything it returns is frozen, and reads see every write that was acknowledged. */
      client(user) {
        throw new Error(`a client for ${user.name} is not written yet`);
      },
    };
  },
});
