/** Registers the helm controller: the kinds of helm.cattle.io, and the controller of HelmCharts. */
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { definePlugin } from "@k3s-p/plugin-api";
import { eventRecorder, type KubeClient, type KubeObject, serviceAccounts, type TokenRequest } from "@k3s-p/plugin-api/kube";
import { apiserver, type Deployer, deployer, ensurePluginAccount, kube, node, pki, pluginAccount, runner } from "@k3s-p/plugin-api/slots";
import { startController } from "./controller.ts";
import { createHelm } from "./helm.ts";

/**
 * Not the plugin's own name, with which the deployer would delete it when the plugin is disabled: with the kinds all
 * HelmCharts would go, and with them their releases.
 */
const ADDON = "helm-controller-crd";
const manifest = new URL("../../../manifests/helm-controller/helm-controller-crd.yaml", import.meta.url);

export default definePlugin({
  needs: { apiserver, deployer, kube, node, pki, runner },
  async start(ctx) {
    const { apiserver: server, kube: client, node: self, pki: keys } = ctx.needs;
    const helm = createHelm({
      runner: ctx.needs.runner, dir: join(ctx.dirs.run, "helm"), server: server.url, ca: keys.ca("server-ca").cert,
      statics: join(self.paths.server, "static"), token: (seconds) => tokenFor(client, ctx.id, seconds), newRun: randomUUID,
    });
    await helm.prepare();
    const controller = startController({ client, helm, log: ctx.log, recorder: eventRecorder(client, { component: "helm-controller", host: self.name }) });
    ctx.defer(() => controller.stop());
    // Nobody waits for it: the controller begins when its kinds are there.
    void deployKinds(ctx.needs.deployer).catch((error: Error) => {
      if (!ctx.signal.aborted) ctx.log.warn(`the kinds HelmChart and HelmChartConfig were not deployed: ${error.message}`);
    });
  },
});

const deployKinds = async (to: Deployer): Promise<void> => to.deploy({ name: ADDON, yaml: await readFile(manifest, "utf8") });

/** Of the plugin's own account, which has an administrator's rights, as the jobs of K3s have. */
async function tokenFor(client: KubeClient, plugin: string, seconds: number): Promise<string> {
  await ensurePluginAccount(client, plugin);
  const { namespace, name } = pluginAccount(plugin);
  const request = { spec: { audiences: [], expirationSeconds: seconds } };
  const { status } = await client.create<KubeObject, TokenRequest>(serviceAccounts, request as KubeObject, { subresource: "token", name, namespace });
  return status!.token!;
}
