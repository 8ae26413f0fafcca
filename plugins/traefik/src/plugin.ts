/** Registers the embedded ingress controller. */
import { definePlugin } from "@k3s-p/plugin-api";
import { deployer, ingress, kube, node, pki } from "@k3s-p/plugin-api/slots";
import type { IngressConfig } from "./start.ts";

export default definePlugin({
  provides: ingress,
  needs: { kube, node, pki, deployer },
  async start(ctx) {
    const { INGRESS_CLASS, startIngress } = await import("./start.ts");
    const running = await startIngress({
      client: ctx.needs.kube, deployer: ctx.needs.deployer, node: ctx.needs.node, pki: ctx.needs.pki, log: ctx.log,
      config: ctx.config as unknown as IngressConfig, dataDir: ctx.dirs.data, signal: ctx.signal, defer: (undo) => ctx.defer(undo),
    });
    return { httpPort: running.httpPort, httpsPort: running.httpsPort, ingressClass: INGRESS_CLASS };
  },
});
