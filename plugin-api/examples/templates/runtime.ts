/** The runtime TEMPLATE_NAME: a skeleton over a CRI socket; `call` is where your gRPC client goes. */
import { definePlugin } from "@k3s-p/plugin-api";
import { node, runtime, type Runtime } from "@k3s-p/plugin-api/slots";

interface Config {
  readonly endpoint: string;
}

export default definePlugin<typeof runtime, { node: typeof node }, {}, Config>({
  provides: runtime,
  needs: { node },
  start(ctx) {
    const { paths } = ctx.needs.node;
    const known = {
      name: "TEMPLATE_NAME", endpoint: ctx.config.endpoint, pauseImage: "registry.k8s.io/pause:3.10",
      cni: { confDir: paths.cniConf, binDir: paths.cniBin },
      subscribe: () => () => undefined,
    };
    // Every other method of the slot is one call of CRI's v1 services.
    return new Proxy(known, { get: (own, name) => Reflect.get(own, name) ?? (name === "then" ? undefined : call(ctx.config.endpoint, String(name))) }) as unknown as Runtime;
  },
});

const call = (endpoint: string, method: string) => async (): Promise<never> => {
  throw new Error(`${endpoint}: ${method} is not written yet`);
};
