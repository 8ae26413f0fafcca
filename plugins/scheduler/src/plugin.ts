/** Registration of the scheduler plugin. */
import { definePlugin } from "@k3s-p/plugin-api";
import { kube, scheduler } from "@k3s-p/plugin-api/slots";
import { startScheduler } from "./scheduler.ts";

interface Config {
  readonly percentageOfNodesToScore: number;
}

export default definePlugin<typeof scheduler, { kube: typeof kube }, {}, Config>({
  provides: scheduler,
  needs: { kube },
  async start(ctx) {
    const schedulerName = "default-scheduler";
    const { percentageOfNodesToScore } = ctx.config;
    const running = await startScheduler({ client: ctx.needs.kube, log: ctx.log, schedulerName, percentageOfNodesToScore });
    ctx.defer(() => running.stop());
    return { schedulerName };
  },
});
