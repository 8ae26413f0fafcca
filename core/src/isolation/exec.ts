/** The `exec` mode: a program that is supervised as it is. What it provides is data that its manifest gives. */
import { k3spError, type PluginContext } from "@k3s-p/plugin-api";
import type { HostOptions } from "../kernel/hosts/index.ts";
import type { PluginHost } from "../kernel/hosts/host.ts";
import { programEnv, removeCredentials } from "./environment.ts";
import { supervise, type Supervised } from "./supervise.ts";

export function execHost(options: HostOptions): PluginHost {
  const { manifest, log } = options;
  const exited = Promise.withResolvers<Error>();
  const { args = [], ready, provides = {} } = manifest.exec;
  let program: Supervised | undefined;
  let stopped = false;

  async function start(ctx: PluginContext<any, any, any>): Promise<unknown> {
    const up = Promise.withResolvers<void>();
    const fill = (text: string): string => text.replaceAll(/\{(data|run|config\.\w+)\}/g, (_, name: string) => name.startsWith("config.")
      ? String((ctx.config as Record<string, unknown>)[name.slice("config.".length)] ?? "") : ctx.dirs[name as "data" | "run"]);
    const env = await programEnv(options);
    program = supervise({
      manifest, log, args: args.map(fill), env: { ...env, K3SP_CONFIG: JSON.stringify(ctx.config) },
      onLine(line) {
        if (ready && line.includes(ready)) up.resolve();
        return false;
      },
    });
    if (!ready) up.resolve();
    void program.ended.then((error) => {
      up.reject(error);
      if (!stopped) exited.resolve(error);
    });
    await up.promise;
    return provides;
  }

  return {
    exited: exited.promise as PluginHost["exited"],
    get pid() { return program?.pid; },
    load: async () => {
      const slot = Object.keys(manifest.provides)[0];
      return { ...(slot && { provides: slot }), needs: {}, wants: {}, parts: new Set() };
    },
    call: (async (part: string, ctx: PluginContext) => {
      if (part === "start") return start(ctx);
      throw k3spError("K3SP_PLUGIN_START_FAILED", { message: `${manifest.id}: a program has no "${part}"`, plugin: manifest.id });
    }) as PluginHost["call"],
    async stop() {
      stopped = true;
      await program?.stop();
      removeCredentials(options);
    },
  };
}
