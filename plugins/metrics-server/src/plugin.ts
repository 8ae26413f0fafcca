/** Registration of the metrics-server plugin. */
import { definePlugin } from "@k3s-p/plugin-api";
import { conditionIsTrue, nodes, pods, type Node } from "@k3s-p/plugin-api/kube";
import { publishListener } from "@k3s-p/plugin-api/kube/service-endpoint";
import { deployer, kube, metrics, node, pki } from "@k3s-p/plugin-api/slots";
import { deployAddons } from "./addons.ts";
import { createApi } from "./api.ts";
import { scrapeKubelet } from "./kubelet.ts";
import { listen, type Listener } from "./listener.ts";
import { createStore } from "./store.ts";

interface Config {
  readonly resolutionSeconds: number;
}

const needs = { kube, node, pki, deployer };

export default definePlugin<typeof metrics, typeof needs, {}, Config>({
  provides: metrics,
  needs,
  async start(ctx) {
    const { kube: client, node: self, pki: keys } = ctx.needs;
    const sans = [self.ip, "localhost", "metrics-server.kube-system.svc"];
    let server: Listener | undefined;
    const serving = await keys.issue(
      { name: "serving-metrics-server", ca: "server-ca", commonName: "metrics-server", usage: "server", sans },
      { signal: ctx.signal, onRenewed: (pair) => server?.renew(pair) },
    );
    let own = await keys.issue(
      { name: "client-metrics-server", ca: "client-ca", commonName: "system:metrics-server", usage: "client" },
      { signal: ctx.signal, onRenewed: (pair) => void (own = pair) },
    );
    const ca = keys.ca("server-ca").cert;
    const store = createStore({
      log: ctx.log,
      resolution: ctx.config.resolutionSeconds * 1000,
      scrape: (target) => scrapeKubelet(target, { cert: own.cert, key: own.key, ca }, ctx.signal),
    });

    const nodeInformer = client.informer(nodes);
    const podInformer = client.informer(pods);
    ctx.defer(() => (nodeInformer.stop(), podInformer.stop()));
    await Promise.all([nodeInformer.synced, podInformer.synced]);
    const api = createApi({ store, nodes: () => nodeInformer.list(), pods: (namespace) => podInformer.list(namespace), now: () => new Date() });
    server = await listen({
      api, log: ctx.log, host: self.ip, cert: serving.cert, key: serving.key,
      requestHeaderCa: keys.ca("request-header-ca").cert, allowedNames: ["system:auth-proxy"],
    });
    const { port, close } = server;
    ctx.defer(close);
    await deployAddons(ctx.needs.deployer);
    const endpoint = await publishListener(client, {
      namespace: "kube-system", service: "metrics-server", nodeName: self.name, address: self.ip, ports: [{ name: "https", port, protocol: "TCP" }],
    });
    ctx.defer(() => endpoint.stop());
    nodeInformer.on({
      added: (found) => void (isReady(found) && store.prefetch(found)),
      updated: (found, previous) => void (isReady(found) && !isReady(previous) && store.prefetch(found)),
      deleted: (found) => store.forget(found.metadata.name!),
    });
    return { port };
  },
});

/** Reading at that moment lets the first question be answered without a wait. */
const isReady = ({ status }: Node): boolean => conditionIsTrue(status?.conditions, "Ready");
