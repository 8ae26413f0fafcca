/**
 * Runs a plugin in a Node process of its own: a crash, a hang or a full heap ends that process and nothing else.
 *
 * Node's permission flags follow the manifest. They are a seat belt against mistakes, not a wall against malice.
 */
import { fork, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { k3spError, type K3spError, type Logger, type PluginContext } from "@k3s-p/plugin-api";
import { createBridge, type Bridge } from "@k3s-p/plugin-api/wire/bridge";
import type { Manifest } from "../kernel/manifest.ts";
import { slotById } from "../kernel/board.ts";
import type { ChildContext, ChildDeclared, FarSlot } from "./child.ts";
import { pidOf, type Calls, type Declared, type PluginHost } from "../kernel/hosts/host.ts";
import type { HostOptions } from "../kernel/hosts/index.ts";
import { attachFlags, debuggerHint } from "./attach.ts";
import { forwardOutput, limitLog } from "./child-output.ts";
import { watchBeat } from "./heartbeat.ts";
import { memoryOf, permissionFlags } from "./permissions.ts";

type Context = PluginContext<any, any, any>;

export function processHost(options: HostOptions): PluginHost {
  const { manifest, log, heartbeat = 10_000, attach = false } = options;
  const exited = Promise.withResolvers<K3spError>();
  let child: ChildProcess | undefined;
  let bridge: Bridge;
  let endBeat = (): void => {};
  let ctx: Context | undefined;
  let stopped = false;

  /** The child is gone, or must go: everything that waits for it hears why. */
  function end(error: K3spError): void {
    endBeat();
    bridge.close(error);
    child?.kill("SIGKILL");
    if (!stopped) exited.resolve(error);
  }

  function watch(): void {
    if (!stopped) endBeat = watchBeat({ ask: () => bridge.remote("ping")(), every: heartbeat, misses: 1, onSilent: (why) => end(crashed(manifest, why)) });
  }

  return {
    exited: exited.promise,
    get pid() { return pidOf(child); },
    unhurried: attach,
    async load() {
      child = spawnChild(options);
      const calm = limitLog(log);
      const tail = forwardOutput(child, calm, attach ? debuggerHint(log) : undefined);
      bridge = createBridge(channelOf(child), exportsFor(calm, () => ctx));
      child.on("error", (error) => end(crashed(manifest, `its process could not be started: ${error.message}`)));
      child.on("exit", (code, signal) => end(crashed(manifest, exitReason(manifest, code, signal, tail()), tail())));
      // Who stops at a breakpoint does not answer; and how long a busy machine takes to start a process says nothing of it.
      if (!attach) void bridge.remote("ping")().then(watch, () => {});
      const { id, entry, version } = manifest;
      return declaredFrom((await bridge.remote("load")({ id, entry, version })) as ChildDeclared);
    },
    call: (async (part: keyof Calls, ...args: readonly unknown[]): Promise<unknown> => {
      // The implementation stays in the process; what is held here are its functions.
      if (part !== "start") return bridge.remote(part)(...args.slice(1));
      ctx = args[0] as Context;
      ctx.signal.addEventListener("abort", () => void bridge.remote("abort")().catch(() => {}), { once: true });
      // Its own undo steps run in the process, in their order, before anything that it holds here goes.
      const near = ctx;
      const impl = await bridge.remote("start")(await farContext(near, manifest, options.connect));
      for (const slot of [...Object.keys(manifest.needs), ...Object.keys(manifest.wants)]) follow(near, slot, bridge, options.connect);
      near.defer(async (why) => void (child?.connected && (await bridge.remote("undo")(why))));
      return impl;
    }) as PluginHost["call"],
    async stop() {
      stopped = true;
      endBeat();
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child!.once("exit", resolve));
      if (child.connected) child.disconnect();
      const kill = setTimeout(() => child!.kill("SIGKILL"), 2000);
      await gone;
      clearTimeout(kill);
    },
  };
}

function spawnChild({ manifest, paths, dirs, attach }: HostOptions): ChildProcess {
  const { PATH = "", TZ, LANG } = process.env;
  return fork(new URL("./child.ts", import.meta.url), [], {
    serialization: "advanced", stdio: ["ignore", "pipe", "pipe", "ipc"],
    // The compile cache is its own, so that it cannot put code into another's; a start with it takes a third of the time.
    env: { PATH, ...(TZ && { TZ }), ...(LANG && { LANG }), NODE_COMPILE_CACHE: join(dirs.data, manifest.id, ".compile-cache") },
    execArgv: [`--max-old-space-size=${memoryOf(manifest)}`, "--max-semi-space-size=2", ...permissionFlags(manifest, paths, dirs), ...(attach ? attachFlags : [])],
  });
}

const channelOf = (child: ChildProcess) => ({
  send: (message: unknown) => void (child.connected && child.send(message as object, () => {})),
  onMessage: (fn: (message: unknown) => void) => void child.on("message", fn),
});

/** What the plugin's process may ask of this one. */
const exportsFor = (log: Logger, ctx: () => Context | undefined) => ({
  log: (level: keyof Logger, ...args: [string]) => log[level](...args),
  fail: (error: Error) => ctx()?.fail(error),
  restart: (why: string) => ctx()?.restart(why),
  contribute(point: string, impl: unknown, order: object) {
    try {
      ctx()?.contribute({ kind: "point", id: point, contract: "1.0" }, impl, order);
    } catch (error) {
      // There, nobody waits for the answer.
      ctx()?.fail(error as Error);
    }
  },
  tap: (hook: keyof Context["hooks"], fn: () => void, order: object) => ctx()?.tap(ctx()!.hooks[hook], fn as never, order),
});

function declaredFrom({ provides, needs, wants, parts }: ChildDeclared): Declared {
  return { ...(provides && { provides }), needs, wants, parts: new Set(parts) };
}

async function farContext(ctx: Context, manifest: Manifest, connect: HostOptions["connect"]): Promise<ChildContext> {
  const slots: Record<string, FarSlot> = {};
  for (const slot of [...Object.keys(manifest.needs), ...Object.keys(manifest.wants)]) {
    const handle = ctx.slot(slot);
    if (handle) slots[slot] = await farSlot(slot, handle, connect);
  }
  return { id: ctx.id, config: ctx.config as object, dirs: ctx.dirs, slots };
}

async function farSlot(slot: string, handle: object, connect: HostOptions["connect"]): Promise<FarSlot> {
  if (slotById.get(slot)?.derive?.connect) return { connection: await connect(slot) };
  // Data is copied; a method looks its provider up at each call, so that it reaches a new one.
  const live = handle as Record<string, unknown>;
  const entries = Object.keys(live).map((key) => [key, typeof live[key] === "function" ? (...args: unknown[]) => (live[key] as (...a: unknown[]) => unknown)(...args) : live[key]]);
  return { handle: Object.fromEntries(entries) as object };
}

function follow(ctx: Context, slot: string, bridge: Bridge, connect: HostOptions["connect"]): void {
  const token = slotById.get(slot)!;
  ctx.onReplaced(token, () => {
    const handle = ctx.slot(slot);
    if (handle) void farSlot(slot, handle, connect).then((far) => bridge.remote("replaced")(slot, far)).catch((error: Error) => ctx.log.warn(error.message));
  });
}

function exitReason(manifest: Manifest, code: number | null, signal: string | null, tail: readonly string[]): string {
  if (tail.some((line) => line.includes("heap out of memory"))) return `its process ran out of memory (limit ${memoryOf(manifest)} MB; k3sp.permissions.memory sets another)`;
  return signal ? `its process was ended by ${signal}` : `its process ended with exit code ${code}`;
}

function crashed(manifest: Manifest, why: string, tail: readonly string[] = []): K3spError {
  return k3spError("K3SP_PLUGIN_CRASHED", { message: `${manifest.id} failed: ${why}`, detail: tail.slice(-5), plugin: manifest.id });
}
