/**
 * The `exec` mode: a program that is supervised. Alone, its manifest says how it is run and what data it provides; with
 * a module, which runs in the server's own process, the module prepares it, runs it and speaks to it.
 */
import { k3spError, untilListens, type K3spError, type PluginContext, type ProgramOptions } from "@k3s-p/plugin-api";
import type { HostOptions } from "../kernel/hosts/index.ts";
import type { Declared, PluginHost } from "../kernel/hosts/host.ts";
import { inlineHost } from "../kernel/hosts/inline.ts";
import type { Manifest } from "../kernel/manifest.ts";
import { programEnv, removeCredentials } from "./environment.ts";
import { supervise, type Supervised } from "./supervise.ts";

type Context = PluginContext<any, any, any>;

const readyTimeout = 30_000;

export function execHost(options: HostOptions): PluginHost {
  const { manifest } = options;
  const module = manifest.exec.program === undefined ? undefined : inlineHost(manifest);
  const exited = Promise.withResolvers<K3spError>();
  let program: Supervised | undefined;
  let stopped = false;

  async function run(ctx: Context, how: ProgramOptions = {}): Promise<{ readonly pid: number }> {
    if (program) throw k3spError("K3SP_PLUGIN_START_FAILED", { message: `${manifest.id} runs its program already`, plugin: manifest.id });
    const env = { ...(await programEnv(options)), ...how.env };
    ctx.signal.throwIfAborted();
    const { args = [], ready, logFile } = how;
    const said = Promise.withResolvers<void>();
    program = supervise({
      manifest, env, args, logFile, log: options.log,
      onLine(line) {
        if (typeof ready === "string" && line.includes(ready)) said.resolve();
        return false;
      },
    });
    void program.ended.then((error) => stopped || exited.resolve(error));
    await untilUp(program, ready, said.promise);
    return { pid: program.pid! };
  }

  async function start(ctx: Context): Promise<unknown> {
    if (module) return module.call("start", { ...ctx, program: (how) => run(ctx, how) });
    await run(ctx, declaredOptions(manifest, ctx));
    return manifest.exec.provides ?? {};
  }

  return {
    exited: exited.promise,
    get pid() { return program?.pid; },
    load: async () => (module ? module.load() : declaredBy(manifest)),
    call: ((part, ...args) => {
      if (part !== "start") return module!.call(part, ...args);
      // A start ends with its program: what it waits for may never come.
      return Promise.race([start(args[0] as Context), exited.promise.then((error) => Promise.reject(error))]);
    }) as PluginHost["call"],
    async stop() {
      stopped = true;
      await program?.stop();
      removeCredentials(options);
    },
  };
}

/** Rejects when it ends before it is up, or takes too long. */
async function untilUp(program: Supervised, ready: ProgramOptions["ready"], said: Promise<void>): Promise<void> {
  if (ready === undefined) return;
  const over = new AbortController();
  const failed = Promise.withResolvers<never>();
  const fail = (error: K3spError): void => {
    over.abort(error);
    failed.reject(error);
  };
  const awaited = typeof ready === "string" ? `it did not print "${ready}"` : `it did not listen on ${ready.socket}`;
  const late = setTimeout(() => fail(program.failure(`${awaited} within ${readyTimeout / 1000} s`)), readyTimeout);
  void program.ended.then(fail);
  await Promise.race([typeof ready === "string" ? said : untilListens(ready.socket, over.signal), failed.promise]).finally(() => clearTimeout(late));
}

/** What a module would say, from the manifest; `{data}`, `{run}` and `{config.NAME}` stand for the plugin's own. */
function declaredOptions({ exec: { args = [], ready } }: Manifest, ctx: Context): ProgramOptions {
  const config = ctx.config as Readonly<Record<string, unknown>>;
  const fill = (text: string): string => text.replaceAll(/\{(data|run|config\.\w+)\}/g, (_, name: string) => name.startsWith("config.")
    ? String(config[name.slice("config.".length)] ?? "") : ctx.dirs[name as "data" | "run"]);
  return { args: args.map(fill), env: { K3SP_CONFIG: JSON.stringify(config) }, ...(ready !== undefined && { ready }) };
}

/** A program has no code here that could say more than its manifest. */
function declaredBy({ provides }: Manifest): Declared {
  const slot = Object.keys(provides)[0];
  return { ...(slot && { provides: slot }), needs: {}, wants: {}, parts: new Set() };
}
