/** Registers the deployer: the Addon resource and the controller of `server/manifests`. */
import { definePlugin } from "@k3s-p/plugin-api";
import { eventRecorder } from "@k3s-p/plugin-api/kube";
import { nativeResource } from "@k3s-p/plugin-api/points";
import { deployer, kube, node, type NodeInfo } from "@k3s-p/plugin-api/slots";
import { addonResource } from "./addon.ts";
import type { Controller } from "./controller.ts";

interface Config {
  readonly scanSeconds: number;
  readonly systemDefaultRegistry: string;
}

const controllers = new WeakMap<object, Controller>();

export default definePlugin({
  provides: deployer,
  needs: { kube, node },
  async start(ctx) {
    ctx.contribute(nativeResource, addonResource);
    const { createController } = await import("./controller.ts");
    const { paths, cluster, name } = ctx.needs.node;
    const { scanSeconds, systemDefaultRegistry } = ctx.config as unknown as Config;
    const controller = createController({
      client: ctx.needs.kube,
      recorder: eventRecorder(ctx.needs.kube, { component: "deploy", host: name }),
      log: ctx.log,
      root: paths.manifests,
      disabled: cluster.disabled,
      variables: templateVariables(ctx.needs.node, systemDefaultRegistry),
      scanInterval: scanSeconds * 1000,
    });
    ctx.defer(() => controller.stop());
    await controller.start();
    // Nobody waits for it: a finalizer may take its time.
    ctx.tap(ctx.hooks.retired, (plugin) => {
      controller.retire(plugin).catch((error: Error) => ctx.log.warn({ addon: plugin }, `not removed: ${error.message}`));
    });
    const slot = { deploy: controller.deploy, remove: controller.remove };
    controllers.set(slot, controller);
    return slot;
  },
  health(slot) {
    const failing = controllers.get(slot)?.failing;
    if (!failing?.size) return { ok: true };
    return { ok: true, message: [...failing.values()].sort().join("\n") };
  },
});

/** K3s's names for what manifests may refer to. */
export function templateVariables({ cluster, paths }: Pick<NodeInfo, "cluster" | "paths">, registry = ""): Readonly<Record<string, string>> {
  return {
    CLUSTER_DNS: cluster.clusterDns[0] ?? "",
    CLUSTER_DNS_LIST: `[${cluster.clusterDns.join(",")}]`,
    CLUSTER_DNS_IPFAMILYPOLICY: cluster.clusterDns.length > 1 ? "RequireDualStack" : "SingleStack",
    CLUSTER_DOMAIN: cluster.clusterDomain,
    DEFAULT_LOCAL_STORAGE_PATH: paths.storage,
    SYSTEM_DEFAULT_REGISTRY: registry && `${registry}/`,
    SYSTEM_DEFAULT_REGISTRY_RAW: registry,
  };
}
