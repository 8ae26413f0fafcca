/** Registers the kubelet: runs the pods of this node. */
import { definePlugin } from "@k3s-p/plugin-api";
import { kube, kubelet, node, pki, runner, runtime, type Kubelet } from "@k3s-p/plugin-api/slots";
import { checkNodeLabels } from "./node/labels.ts";
import { kubeletOptions, type KubeletConfig } from "./options.ts";

interface ObservedKubelet extends Kubelet {
  /** Undefined while the runtime answers. */
  problem(): string | undefined;
}

export default definePlugin({
  provides: kubelet,
  needs: { kube, node, pki, runner, runtime },
  async start(ctx) {
    const options = kubeletOptions(ctx.config as unknown as KubeletConfig);
    checkNodeLabels({ ...ctx.needs.node.labels, ...options.labels });
    const { startKubelet } = await import("./kubelet.ts");
    const running = await startKubelet({
      ...ctx.needs, log: ctx.log, options, signal: ctx.signal,
      defer: (undo) => ctx.defer(undo), onRuntimeReplaced: (fn) => ctx.onReplaced(runtime, fn),
    });
    const impl: ObservedKubelet = { port: running.port, problem: running.problem };
    return impl;
  },
  health(impl) {
    const message = (impl as ObservedKubelet).problem();
    return message === undefined ? { ok: true } : { ok: false, message };
  },
});
