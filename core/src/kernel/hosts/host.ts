/** Where a plugin's code runs: one interface, one file a mode. */
import type { ChildProcess } from "node:child_process";
import type { HealthResult, K3spError, PluginContext } from "@k3s-p/plugin-api";

/** What the code says about itself, compared with the manifest before it is started. Names -> slot ids. */
export interface Declared {
  readonly provides?: string;
  readonly needs: Readonly<Record<string, string>>;
  readonly wants: Readonly<Record<string, string>>;
  readonly parts: ReadonlySet<"ready" | "health" | "reconfigure">;
}

/** The parts of a plugin's definition that the kernel calls. */
export interface Calls {
  start(ctx: PluginContext<any, any, any>): Promise<unknown>;
  ready(impl: unknown, signal: AbortSignal): Promise<void>;
  health(impl: unknown): Promise<HealthResult>;
  reconfigure(impl: unknown, next: object): Promise<"applied" | "restart">;
}

export interface PluginHost {
  /** Makes the code ready to be called; called once. Rejects with `K3SP_PLUGIN_LOAD_FAILED`. */
  load(): Promise<Declared>;
  call<K extends keyof Calls>(part: K, ...args: Parameters<Calls[K]>): ReturnType<Calls[K]>;
  /** Ends the code after the plugin's undo steps; may be called in any state and more than once. */
  stop(): Promise<void>;
  /** Resolves with the reason when the code is gone without having been stopped. */
  readonly exited: Promise<K3spError>;
  /** Of a plugin with a process of its own, while it runs. */
  readonly pid?: number | undefined;
  /** Its start has no time limit: somebody may be looking at it with a debugger. */
  readonly unhurried?: boolean | undefined;
}

/** The number of a process that has ended may be another's by now. */
export const pidOf = (child: ChildProcess | undefined): number | undefined =>
  child?.exitCode === null && child.signalCode === null ? child.pid : undefined;

/** A host whose code is loaded with the plugin's. */
export function lazyHost(make: () => Promise<PluginHost>): PluginHost {
  const exited = Promise.withResolvers<K3spError>();
  let host: PluginHost | undefined;
  let stopped = false;
  return {
    exited: exited.promise,
    get pid() { return host?.pid; },
    get unhurried() { return host?.unhurried; },
    async load() {
      host = await make();
      if (stopped) throw new Error("it was stopped before it was loaded");
      void host.exited.then(exited.resolve);
      return host.load();
    },
    call: (part, ...args) => host!.call(part, ...args),
    async stop() {
      stopped = true;
      await host?.stop();
    },
  };
}
