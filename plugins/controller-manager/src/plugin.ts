/** The `controller-manager` plugin: registration of the built-in controllers. */
import { definePlugin, k3spError } from "@k3s-p/plugin-api";
import { controllerManager, kube, node, pki } from "@k3s-p/plugin-api/slots";
import type { ControllerDeps } from "./controller.ts";
import { controllers, selectControllers } from "./controllers.ts";
import { sharedInformers } from "./lib/informers.ts";
import { startControllers } from "./manager.ts";
import { checkNodeMasks, readOptions, type Config } from "./options.ts";

export default definePlugin<
  typeof controllerManager,
  { kube: typeof kube; node: typeof node; pki: typeof pki },
  {},
  Config
>({
  provides: controllerManager,
  needs: { kube, node, pki },
  async start(ctx) {
    const options = readOptions(ctx.config);
    checkNodeMasks(ctx.needs.node.cluster.clusterCidr, options.tuning);
    const { selected, unknown } = selectControllers(options.controllers);
    if (unknown.length) {
      throw k3spError("K3SP_CONFIG_INVALID", {
        message: `unknown controllers: ${unknown.join(", ")}`,
        plugin: ctx.id,
        detail: [`known: ${controllers.map((entry) => entry.name).join(", ")}`],
        fix: "use names of the list, * for all, or -name to leave one out",
      });
    }
    const deps: ControllerDeps = {
      client: ctx.needs.kube, log: ctx.log, now: () => new Date(), random: Math.random, signal: ctx.signal,
      cluster: ctx.needs.node.cluster, self: ctx.needs.node, pki: ctx.needs.pki, tuning: options.tuning, defer: (undo) => ctx.defer(undo),
      informer: sharedInformers(ctx.needs.kube, (undo) => ctx.defer(undo)),
    };
    await startControllers(deps, {
      entries: selected,
      onFailure: (name, error) => {
        ctx.log.error({ controller: name, err: error }, "controller could not start");
        ctx.fail(error instanceof Error ? error : new Error(String(error)));
      },
    });
    return { controllers: selected.map((entry) => entry.name) };
  },
});
