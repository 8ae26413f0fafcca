/**
 * Starts a plan as a parallel graph, keeps each plugin's state, and stops it in reverse.
 *
 *   resolved -> loading -> starting -> ready      any -> stopping -> stopped
 *                  |          |          |        skipped = start threw Skip, not an error
 *                  +----------+----------+-> failed
 *
 * `stop` may be called in any state and more than once.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { AsyncSeriesHook, SyncHook } from "tapable";
import {
  isK3spError, isPlugin, k3spError, type K3spError,
  type KernelHooks, type Logger, type Plugin, type PluginContext, type Slot,
} from "@k3s-p/plugin-api";
import { kernelSlots, slotCatalogue } from "@k3s-p/plugin-api/slots";
import type { Timing } from "./graph.ts";
import { createGuard } from "./guard.ts";
import { derivedHandle, liveHandle, type SlotCell } from "./handles.ts";
import type { Manifest } from "./manifest.ts";
import { createPoints } from "./points.ts";
import { sourceSlot, type Plan } from "./resolve.ts";

export type PluginState = "resolved" | "loading" | "starting" | "ready" | "skipped" | "failed" | "stopping" | "stopped";

export interface PluginStatus {
  readonly id: string;
  readonly version: string;
  readonly state: PluginState;
  readonly error?: string;
}

export interface KernelOptions {
  readonly plan: Plan;
  readonly configs: ReadonlyMap<string, object>;
  /** What the kernel provides itself: `node`, `pki`, `runner`. */
  readonly refs: Readonly<Record<string, object>>;
  readonly dirs: { readonly data: string; readonly run: string };
  readonly log: (plugin: string) => Logger;
  readonly load?: (manifest: Manifest) => Promise<unknown>;
  readonly startTimeout?: number;
  /** A required plugin failed after boot. */
  readonly onFatal?: (error: K3spError) => void;
}

export interface Kernel {
  readonly hooks: KernelHooks;
  readonly timings: ReadonlyMap<string, Timing>;
  /** Resolves when every plugin is ready, skipped, or failed and optional; rejects when a required one failed. */
  start(): Promise<void>;
  stop(budget?: number): Promise<void>;
  status(): readonly PluginStatus[];
  /** A live handle of a slot, for tests and embedders. */
  slot<T>(id: string): T;
}

interface Instance {
  readonly manifest: Manifest;
  state: PluginState;
  error?: K3spError;
  readonly abort: AbortController;
  readonly undos: (() => void | Promise<void>)[];
  ready?: Promise<void>;
}

const slots = new Map(slotCatalogue.map((slot) => [slot.id, slot]));
const current = new AsyncLocalStorage<string>();
/** The plugin whose code is running now, for attribution of stray errors. */
export const runningPlugin = (): string | undefined => current.getStore();

export function createKernel(options: KernelOptions): Kernel {
  const { plan, refs } = options;
  const instances = new Map(plan.plugins.map((m) => [m.id, newInstance(m)]));
  const cells = new Map<string, SlotCell>([...slots.keys()].map((id) => [id, { slot: id, current: refs[id] }]));
  const timings = new Map<string, Timing>();
  const points = createPoints();
  const hooks: KernelHooks = Object.freeze({
    pluginReady: new SyncHook<[plugin: string]>(["plugin"], "pluginReady"),
    serverReady: new AsyncSeriesHook<[]>(undefined, "serverReady"),
    stopping: new AsyncSeriesHook<[]>(undefined, "stopping"),
  });
  const guard = createGuard({ run: (plugin, fn) => current.run(plugin, fn) });
  const booted = performance.now();

  /** Memoised: each plugin starts once, when all that it needs is ready. */
  function ensureReady(id: string): Promise<void> {
    const instance = instances.get(id)!;
    return (instance.ready ??= startOne(instance));
  }

  async function startOne(instance: Instance): Promise<void> {
    const { manifest } = instance;
    const needed = Object.keys(manifest.needs).map(sourceSlot);
    const results = await Promise.allSettled((plan.edges.get(manifest.id) ?? []).map(ensureReady));
    const blocked = needed.find((slot) => !kernelSlots.includes(slot) && !cells.get(slot)?.current);
    if (blocked) return block(instance, blocked, results);
    const started = performance.now() - booted;
    try {
      await current.run(manifest.id, () => bringUp(instance));
      timings.set(manifest.id, { started, ready: performance.now() - booted });
      hooks.pluginReady.call(manifest.id);
    } catch (error) {
      await failStart(instance, error);
    }
  }

  /** A dependant of a failed plugin is not at fault: it is left unstarted and says what it waited for. */
  function block(instance: Instance, slot: string, results: readonly PromiseSettledResult<void>[]): void {
    const failed = results.find((r) => r.status === "rejected");
    if (failed) throw failed.reason;
    instance.state = "skipped";
    options.log(instance.manifest.id).warn(`not started: the slot "${slot}" has no ready provider`);
  }

  async function bringUp(instance: Instance): Promise<void> {
    const { manifest, abort } = instance;
    instance.state = "loading";
    const { definition } = await loadPlugin(manifest, options.load);
    instance.state = "starting";
    const impl = await withTimeout(manifest, abort, options.startTimeout ?? 60_000, async () => {
      const value: unknown = await definition.start(contextOf(instance, definition));
      await definition.ready?.(value as never, abort.signal);
      return value;
    });
    abort.signal.throwIfAborted();
    provide(manifest, impl);
    instance.state = "ready";
  }

  function provide(manifest: Manifest, impl: unknown): void {
    for (const slot of Object.keys(manifest.provides)) {
      if (typeof impl !== "object" || impl === null) {
        throw k3spError("K3SP_PLUGIN_START_FAILED", {
          message: `${manifest.id}: start() returned ${impl === null ? "null" : typeof impl}, not an implementation of the slot "${slot}"`,
          plugin: manifest.id, fix: "return the slot's implementation from start()",
        });
      }
      cells.get(slot)!.current = impl;
    }
  }

  function contextOf(instance: Instance, definition: Plugin["definition"]): PluginContext<any, any, any> {
    const { manifest } = instance;
    checkDeclared(manifest, definition);
    const { id } = manifest;
    const dirs = { data: join(options.dirs.data, id), run: join(options.dirs.run, id) };
    for (const dir of [dirs.data, dirs.run]) mkdirSync(dir, { recursive: true, mode: 0o700 });
    const handles = (wanted: Readonly<Record<string, Slot<unknown>>> | undefined) =>
      Object.freeze(Object.fromEntries(Object.entries(wanted ?? {}).filter(has).map(([name, slot]) => [name, handleFor(slot.id, id)])));
    const has = ([, slot]: [string, Slot<unknown>]): boolean => cells.get(sourceSlot(slot.id))?.current !== undefined;
    return {
      id, dirs, hooks, config: options.configs.get(id) ?? {}, log: options.log(id), signal: instance.abort.signal,
      needs: handles(definition.needs), wants: handles(definition.wants),
      contribute: (point, impl, order) => void instance.undos.push(points.contribute(point, id, impl, order)),
      contributions: (point) => points.contributions(point),
      tap: (hook, fn, order) => void instance.undos.push(guard.tap(hook, id, fn as never, order)),
      defer: (undo) => void instance.undos.push(undo),
      fail: (error) => void failLater(instance, error),
    };
  }

  function handleFor(slot: string, plugin: string): object {
    if (kernelSlots.includes(slot)) return refs[slot]!;
    const token = slots.get(slot)!;
    return token.derive ? derivedHandle(token, cells.get(token.derive.from)!, { id: plugin }) : liveHandle(cells.get(slot)!);
  }

  async function failStart(instance: Instance, cause: unknown): Promise<void> {
    const { manifest } = instance;
    if (cause instanceof Error && cause.name === "Skip") {
      instance.state = "skipped";
      options.log(manifest.id).info(`skipped: ${cause.message}`);
      return undo(instance);
    }
    const stopped = instance.abort.signal.aborted && instance.state === "stopping";
    instance.state = stopped ? "stopped" : "failed";
    instance.error = startError(manifest, cause);
    await undo(instance);
    if (stopped) return;
    if (manifest.criticality === "required") throw instance.error;
    options.log(manifest.id).error(`${instance.error.code} ${instance.error.message}; it is optional, so the start goes on without it`);
  }

  async function failLater(instance: Instance, cause: Error): Promise<void> {
    if (instance.state !== "ready") return;
    const { manifest } = instance;
    const error = isK3spError(cause) ? cause : k3spError("K3SP_PLUGIN_CRASHED", { message: `${manifest.id} failed: ${cause.message}`, plugin: manifest.id, cause });
    instance.state = "failed";
    instance.error = error;
    await stopOne(instance, 5_000);
    instance.state = "failed";
    if (manifest.criticality === "required") options.onFatal?.(error);
    else options.log(manifest.id).error(`${error.code} ${error.message}`);
  }

  async function undo(instance: Instance): Promise<void> {
    for (const slot of Object.keys(instance.manifest.provides)) cells.get(slot)!.current = undefined;
    for (const step of instance.undos.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        options.log(instance.manifest.id).warn(`an undo step failed: ${(error as Error).message}`);
      }
    }
  }

  async function stopOne(instance: Instance, budget: number): Promise<void> {
    if (instance.state === "stopped" || instance.state === "resolved") return;
    instance.state = "stopping";
    instance.abort.abort(new Error("the server is stopping"));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        options.log(instance.manifest.id).warn(`did not stop within ${budget} ms`);
        resolve();
      }, budget);
    });
    await Promise.race([current.run(instance.manifest.id, () => undo(instance)), late]);
    clearTimeout(timer);
    instance.state = "stopped";
  }

  return {
    hooks,
    timings,
    async start() {
      const results = await Promise.allSettled([...instances.keys()].map(ensureReady));
      const errors = [...new Set(results.filter((r) => r.status === "rejected").map((r) => r.reason as Error))];
      if (errors.length === 1) throw errors[0];
      if (errors.length) throw new AggregateError(errors.sort((a, b) => a.message.localeCompare(b.message)), `${errors.length} plugins failed to start`);
      await hooks.serverReady.promise();
    },
    async stop(budget = 10_000) {
      await hooks.stopping.promise().catch(() => {});
      // Dependants first, those that do not depend on each other together.
      const stops = new Map<string, Promise<void>>();
      const dependants = (id: string) => [...plan.edges].filter(([, needs]) => needs.includes(id)).map(([other]) => other);
      const stopAfter = (id: string): Promise<void> => {
        let stop = stops.get(id);
        if (!stop) {
          stop = Promise.all(dependants(id).map(stopAfter)).then(() => stopOne(instances.get(id)!, budget));
          stops.set(id, stop);
        }
        return stop;
      };
      await Promise.all([...instances.keys()].map(stopAfter));
    },
    status: () =>
      [...instances.values()].map(({ manifest, state, error }) => ({ id: manifest.id, version: manifest.version, state, ...(error && { error: error.message }) })),
    slot: <T>(id: string) => handleFor(id, "kernel") as T,
  };
}

const newInstance = (manifest: Manifest): Instance => ({ manifest, state: "resolved", abort: new AbortController(), undos: [] });

/** The manifest decides what is wired; code that uses more than it declares is refused. */
function checkDeclared(manifest: Manifest, definition: Plugin["definition"]): void {
  const undeclared = (["needs", "wants"] as const).flatMap((key) =>
    Object.values((definition[key] ?? {}) as Record<string, Slot<unknown>>)
      .filter((slot) => !(slot.id in manifest[key]))
      .map((slot) => `k3sp.${key}.${slot.id}: used by the code, missing in the manifest; add "${slot.id}": "^${slot.contract.split(".")[0]}"`),
  );
  const provides = definition.provides as Slot<unknown> | undefined;
  if (provides && !(provides.id in manifest.provides)) undeclared.push(`k3sp.provides.${provides.id}: provided by the code, missing in the manifest`);
  if (!undeclared.length) return;
  throw k3spError("K3SP_MANIFEST_INVALID", { message: `${manifest.id}: code and manifest disagree`, detail: undeclared, plugin: manifest.id });
}

async function loadPlugin(manifest: Manifest, load = importPlugin): Promise<Plugin> {
  let value: unknown;
  try {
    value = await load(manifest);
  } catch (cause) {
    throw k3spError("K3SP_PLUGIN_LOAD_FAILED", { message: `${manifest.id} ${manifest.version}: ${(cause as Error)?.message ?? cause}`, detail: [`module: ${manifest.entry}`], plugin: manifest.id, cause });
  }
  if (isPlugin(value)) return value;
  throw k3spError("K3SP_PLUGIN_LOAD_FAILED", {
    message: `${manifest.id} ${manifest.version}: the default export is not a plugin`,
    detail: [`module: ${manifest.entry}`], plugin: manifest.id, fix: "export default definePlugin({ ... }) from @k3s-p/plugin-api",
  });
}

const importPlugin = async (manifest: Manifest): Promise<unknown> =>
  ((await import(pathToFileURL(manifest.entry).href)) as { default?: unknown }).default;

async function withTimeout<T>(manifest: Manifest, abort: AbortController, ms: number, fn: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = k3spError("K3SP_PLUGIN_START_TIMEOUT", { message: `${manifest.id} was not ready within ${ms / 1000} s`, plugin: manifest.id });
      reject(error);
      abort.abort(error);
    }, ms);
  });
  try {
    return await Promise.race([fn(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function startError(manifest: Manifest, cause: unknown): K3spError {
  if (isK3spError(cause)) return cause;
  const error = cause as Error;
  const frame = error?.stack?.split("\n").find((line) => line.includes(manifest.dir))?.trim();
  return k3spError("K3SP_PLUGIN_START_FAILED", {
    message: `${manifest.id} ${manifest.version} failed to start: ${error?.message ?? cause}`,
    detail: [`from ${manifest.source.label}`, ...(frame ? [frame] : [])],
    plugin: manifest.id, cause,
    fix: `correct the plugin, or start without it: --disable ${manifest.id}`,
  });
}
