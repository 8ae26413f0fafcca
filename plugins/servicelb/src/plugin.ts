/** Registration of the servicelb plugin. */
import { definePlugin } from "@k3s-p/plugin-api";
import { kube, loadbalancer } from "@k3s-p/plugin-api/slots";
import { loadBalancerClass } from "./assign.ts";
import { startController } from "./controller.ts";

export default definePlugin({
  provides: loadbalancer,
  needs: { kube },
  async start(ctx) {
    const controller = startController(ctx.needs.kube, ctx.log);
    ctx.defer(() => controller.stop());
    await controller.synced;
    return { loadBalancerClass };
  },
});
