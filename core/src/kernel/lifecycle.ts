/**
 * Starts a plan as a parallel graph, keeps each plugin's state, restarts what fails, changes what is asked for, and
 * stops it all in reverse.
 *
 *   resolved -> loading -> starting -> ready <-> degraded     any -> stopping -> stopped
 *                  |          |          |                    skipped = start threw Skip, not an error
 *                  +----------+----------+-> failed -> (back-off) loading | quarantined (after crashes, or when no
 *                                                             other attempt could go better)
 *
 * `stop` may be called in any state and more than once.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { k3spError, type K3spError, type KernelHooks, type Logger, type Point, type StopReason } from "@k3s-p/plugin-api";
import { healthCheck } from "@k3s-p/plugin-api/points";
import { kernelSlots } from "@k3s-p/plugin-api/slots";
import { createBoard, slotById } from "./board.ts";
import { diffPlans, type Change } from "./change.ts";
import { pollHealth } from "./health.ts";
import type { Timing } from "./graph.ts";
import type { PluginHost } from "./hosts/host.ts";
import { inlineHost } from "./hosts/inline.ts";
import { isUp, statusOf, type Instance, type PluginState, type PluginStatus } from "./instance.ts";
import type { Manifest } from "./manifest.ts";
import { createCrashPolicy, isLasting, limits, systemClock, type Clock } from "./policy.ts";
import { sourceSlot, type Plan } from "./resolve.ts";
import { crashError, createRun, startError, type Run } from "./run.ts";
import type { OnSpan } from "./span.ts";

export { runningPlugin } from "./board.ts";
export type { Change } from "./change.ts";
export type { PluginState, PluginStatus } from "./instance.ts";

export interface KernelOptions {
  readonly plan: Plan;
  readonly configs: ReadonlyMap<string, object>;
  /** What the kernel provides itself: `node`, `pki`, `runner`. */
  readonly refs: Readonly<Record<string, object>>;
  readonly dirs: { readonly data: string; readonly run: string };
  readonly log: (plugin: string) => Logger;
  /** How a plugin's code is run; default: in this process. */
  readonly host?: (manifest: Manifest, log: Logger) => PluginHost;
  readonly load?: (manifest: Manifest) => Promise<unknown>;
  /** Milliseconds; 60 s when nothing is said. */
  readonly loadTimeout?: number;
  readonly startTimeout?: number;
  /** Milliseconds that one tap of a hook may take. */
  readonly hookTimeout?: number;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly onSpan?: OnSpan;
  /** A plugin that cannot be restarted failed: the server must end. */
  readonly onFatal?: (error: K3spError) => void;
}

export interface Kernel {
  readonly hooks: KernelHooks;
  readonly timings: ReadonlyMap<string, Timing>;
  readonly plan: () => Plan;
  readonly configs: () => ReadonlyMap<string, object>;
  /** Resolves when every plugin is ready, skipped, or failed and optional; rejects when a required one failed, and at a stop meanwhile. */
  start(): Promise<void>;
  stop(budget?: number): Promise<void>;
  status(): readonly PluginStatus[];
  /** For what the server itself adds to a point. */
  contribute<T>(point: Point<T>, impl: T): void;
  /** A live handle of a slot, for tests and embedders. */
  slot<T>(id: string): T;
  /** Goes from the present plan to another one while everything that is in both runs on; goes back when it fails. */
  apply(plan: Plan, configs: ReadonlyMap<string, object>): Promise<readonly Change[]>;
  /** Stops and starts one plugin alone, also a quarantined one; rejects when it does not become ready. */
  restart(id: string): Promise<void>;
  /** Plugins that need this one, directly or through others, in an order in which they can be stopped. */
  dependants(id: string): readonly string[];
  /** Charges an error to a plugin that runs: it is stopped and restarted under its policy. False = it cannot be. */
  blame(id: string, error: unknown): boolean;
}

const isFixed = (m: Manifest): boolean => Object.keys(m.provides).some((slot) => slotById.get(slot)?.fixed);
/** Milliseconds: for a whole stop, at least for each plugin, from the first failed start to the end of the others, and for optional plugins. */
const stopBudget = 8_000;
const MIN_STOP = 250;
const SETTLE = 300;
const PATIENCE = 10_000;

export function createKernel(options: KernelOptions): Kernel {
  const { refs, clock = systemClock, random = Math.random } = options;
  let { plan, configs } = options;
  const board = createBoard({
    refs, ...(options.hookTimeout !== undefined && { hookTimeout: options.hookTimeout }), onSpan: options.onSpan,
    onError: (plugin, error) => void blame(plugin, error),
  });
  const { hooks } = board;
  const instances = new Map(plan.plugins.map((m) => [m.id, newInstance(m)]));
  const timings = new Map<string, Timing>();
  const booted = performance.now();
  let booting = true;
  let stopping = false;
  let cancelPoll: (() => void) | undefined;
  let queue: Promise<unknown> = Promise.resolve();

  function newInstance(manifest: Manifest): Instance {
    return {
      manifest, policy: createCrashPolicy(clock, random), config: configs.get(manifest.id) ?? {},
      state: "resolved", since: clock.now(), restarts: 0, health: [],
    };
  }

  function enter(instance: Instance, state: PluginState, error?: K3spError): void {
    instance.state = state;
    instance.since = clock.now();
    instance.error = error;
  }

  /** Memoised: each plugin starts once, when all that it needs is ready. */
  const ensureReady = (instance: Instance): Promise<void> => (instance.ready ??= firstStart(instance));

  async function firstStart(instance: Instance): Promise<void> {
    const { id } = instance.manifest;
    const providers = (plan.edges.get(id) ?? []).map((other) => instances.get(other)!);
    const results = await Promise.allSettled(providers.map(ensureReady));
    if (stopping) return;
    const slot = missingSlot(instance);
    if (slot) {
      // A dependant of a failed plugin is not at fault: it waits, and says what for.
      const failed = results.find((r) => r.status === "rejected");
      if (failed) throw failed.reason;
      return wait(instance, slot);
    }
    const started = performance.now() - booted;
    const optional = booting && instance.manifest.criticality === "optional";
    await attempt(instance, { retry: optional });
    if (instance.state === "ready") timings.set(id, { started, ready: performance.now() - booted });
    if (instance.error && !optional) throw instance.error;
  }

  const missingSlot = ({ manifest }: Instance): string | undefined =>
    Object.keys(manifest.needs).map(sourceSlot).find((slot) => !kernelSlots.includes(slot) && !board.provider(slot));

  function wait(instance: Instance, slot: string): void {
    instance.blockedBy = slot;
    enter(instance, "skipped");
    options.log(instance.manifest.id).warn(`not started: the slot "${slot}" has no ready provider`);
  }

  /** One start; how it ended is the instance's state. */
  async function attempt(instance: Instance, { retry }: { readonly retry: boolean }): Promise<void> {
    const { manifest } = instance;
    const run = newRun(instance);
    instance.run = run;
    instance.blockedBy = undefined;
    enter(instance, "loading");
    try {
      await run.start();
      enter(instance, "ready");
    } catch (cause) {
      return await failStart(instance, run, cause, retry);
    }
    void run.host.exited.then((error) => crash(instance, run, error));
    if (run.outdated !== undefined) void serial(() => renew(instance, run));
    hooks.pluginReady.call(manifest.id);
    for (const other of instances.values()) {
      if (other.blockedBy !== undefined && !booting && !missingSlot(other)) void attempt(other, { retry: true });
    }
  }

  function newRun(instance: Instance): Run {
    const { manifest, config } = instance;
    const log = options.log(manifest.id);
    const host = options.host?.(manifest, log) ?? inlineHost(manifest, options.load);
    const run: Run = createRun({
      manifest, config, board, log, host, dirs: options.dirs, timeouts: { loaded: options.loadTimeout ?? 60_000, ready: options.startTimeout ?? 60_000 },
      onLoaded: () => enter(instance, "starting"),
      onFail: (error) => void crash(instance, run, error),
      onSpan: options.onSpan,
      onOutdated: () => void serial(() => renew(instance, run)),
    });
    return run;
  }

  async function failStart(instance: Instance, run: Run, cause: unknown, retry: boolean): Promise<void> {
    const { manifest } = instance;
    const log = options.log(manifest.id);
    if (instance.state === "stopping" || instance.state === "stopped") return;
    const skip = cause instanceof Error && cause.name === "Skip";
    const error = skip ? undefined : startError(manifest, cause);
    const lasts = error !== undefined && retry && isLasting(error);
    enter(instance, skip ? "skipped" : lasts ? "quarantined" : "failed", error);
    await run.dispose("restarting", stopBudget);
    if (!error) return log.info(`skipped: ${(cause as Error).message}`);
    if (!retry) return;
    log.error([`${error.code} ${error.message}`, ...(booting ? ["it is optional, so the start goes on without it"] : []), ...(lasts ? wayOut(error, manifest) : [])].join("; "));
    if (!lasts) retryLater(instance, error);
  }

  /** A plugin that was ready is not any more. Only its present run counts: an old one may still be talking. */
  async function crash(instance: Instance, run: Run, cause: unknown): Promise<void> {
    if (stopping || instance.run !== run || !isUp(instance)) return;
    const { manifest } = instance;
    const error = crashError(manifest, cause);
    enter(instance, "failed", error);
    options.log(manifest.id).error(`${error.code} ${error.message}`);
    await run.dispose("restarting", 5000);
    // It may have been stopped or started by hand meanwhile.
    if (instance.run !== run || instance.error !== error) return;
    if (isFixed(manifest)) options.onFatal?.(error);
    else retryLater(instance, error);
  }

  function retryLater(instance: Instance, error: K3spError): void {
    if (stopping) return;
    const { manifest } = instance;
    const verdict = instance.policy.crashed();
    if (verdict.action === "quarantine") {
      enter(instance, "quarantined", k3spError("K3SP_PLUGIN_QUARANTINED", {
        message: `${manifest.id} crashed ${limits.crashes} times within ${limits.window / 60_000} minutes; the last time: ${error.message}`, plugin: manifest.id, cause: error,
      }));
      return options.log(manifest.id).error(`K3SP_PLUGIN_QUARANTINED ${instance.error!.message}; fix: k3s-p plugin enable ${manifest.id}`);
    }
    options.log(manifest.id).info(`restart in ${(verdict.delay / 1000).toFixed(1)} s`);
    instance.cancelRestart = clock.after(verdict.delay, () => {
      if (stopping || instance.state !== "failed") return;
      const slot = missingSlot(instance);
      if (slot) return wait(instance, slot);
      instance.restarts++;
      void attempt(instance, { retry: true });
    });
  }

  function blame(id: string, cause: unknown): boolean {
    const instance = instances.get(id);
    if (!instance?.run || isFixed(instance.manifest)) return false;
    void crash(instance, instance.run, cause);
    return true;
  }

  async function stopOne(instance: Instance, budget: number, why: StopReason): Promise<void> {
    instance.cancelRestart?.();
    instance.blockedBy = undefined;
    if (instance.state === "stopped") return;
    enter(instance, "stopping");
    await instance.run?.dispose(why, budget);
    enter(instance, "stopped");
  }

  /** Dependants first, those that do not depend on each other together. */
  async function stopAll(ids: ReadonlySet<string>, budget: number, whyOf: (id: string) => StopReason): Promise<void> {
    const stops = new Map<string, Promise<void>>();
    // One budget for all: what a dependant used up, its providers do not have.
    const end = performance.now() + budget;
    const left = () => Math.max(end - performance.now(), MIN_STOP);
    const stopAfter = (id: string): Promise<void> => {
      let stop = stops.get(id);
      if (!stop) {
        const users = [...plan.edges].filter(([other, needs]) => ids.has(other) && needs.includes(id)).map(([other]) => other);
        stop = Promise.all(users.map(stopAfter)).then(() => stopOne(instances.get(id)!, left(), whyOf(id)));
        stops.set(id, stop);
      }
      return stop;
    };
    await Promise.all([...ids].filter((id) => instances.has(id)).map(stopAfter));
  }

  /** Only what is required holds the server up: an optional plugin that takes its time goes on starting behind it. */
  async function startAll(): Promise<void> {
    const all = [...instances.values()];
    const patience = Promise.withResolvers<void>();
    let cancel: (() => void) | undefined;
    const required = startInstances(all.filter(({ manifest }) => manifest.criticality === "required")).then(() => {
      cancel = clock.after(PATIENCE, patience.resolve);
      return patience.promise;
    });
    await Promise.race([startInstances(all), required]).finally(() => cancel?.());
  }

  async function startInstances(list: readonly Instance[]): Promise<void> {
    const errors = new Set<Error>();
    const failed = Promise.withResolvers<void>();
    const starts = list.map((instance) => ensureReady(instance).catch((error: Error) => {
      errors.add(error);
      failed.resolve();
    }));
    // The first failure ends the start; the others have a moment to say what is wrong with them too.
    await Promise.race([Promise.all(starts), failed.promise.then(() => Promise.race([Promise.all(starts), sleep(SETTLE)]))]);
    throwAll([...errors]);
  }

  function throwAll(errors: readonly Error[]): void {
    if (errors.length === 1) throw errors[0];
    if (errors.length) throw new AggregateError(errors.toSorted((a, b) => a.message.localeCompare(b.message)), `${errors.length} plugins failed to start`);
  }

  /** Hot changes run one after another. */
  function serial<T>(fn: () => Promise<T>): Promise<T> {
    const result = queue.then(fn);
    queue = result.catch(() => {});
    return result;
  }

  async function change(next: Plan, nextConfigs: ReadonlyMap<string, object>): Promise<readonly Change[]> {
    const changes = diffPlans(plan, next, configs, nextConfigs);
    const fixed = changes.find((c) => c.kind !== "reconfigured" && isFixed(c.manifest));
    if (fixed) throw fixedError(fixed.manifest);
    const leaving = new Set(changes.filter((c) => c.kind === "stopped" || c.kind === "replaced").map((c) => c.plugin));
    const kept = new Set(next.plugins.map((m) => m.id));
    await stopAll(leaving, stopBudget, (id) => (kept.has(id) ? "restarting" : "retired"));
    for (const id of leaving) instances.delete(id);
    for (const id of leaving) if (!kept.has(id)) await retire(id);
    plan = next;
    configs = nextConfigs;
    const fresh = plan.plugins.filter((m) => !instances.has(m.id)).map(newInstance);
    for (const instance of fresh) instances.set(instance.manifest.id, instance);
    await startInstances(fresh);
    for (const { kind, plugin } of changes) if (kind === "reconfigured") await reconfigure(instances.get(plugin)!);
    return changes;
  }

  async function retire(id: string): Promise<void> {
    await hooks.retired.promise(id).catch((error: Error) => options.log("kernel").error(error.message));
  }

  async function reconfigure(instance: Instance): Promise<void> {
    const next = configs.get(instance.manifest.id) ?? {};
    instance.config = next;
    const { run } = instance;
    if (isUp(instance) && run!.declared!.parts.has("reconfigure") && (await run!.host.call("reconfigure", run!.impl, next)) === "applied") return;
    if (isFixed(instance.manifest)) throw fixedError(instance.manifest);
    await restartOne(instance);
  }

  /** Starts a plugin again whose run is out of date, in good order. */
  async function renew(instance: Instance, run: Run): Promise<void> {
    if (stopping || instance.run !== run || !isUp(instance) || isFixed(instance.manifest)) return;
    options.log(instance.manifest.id).info(`restart: ${run.outdated}`);
    await stopOne(instance, stopBudget, "restarting");
    await attempt(instance, { retry: true });
  }

  async function restartOne(instance: Instance): Promise<void> {
    await stopOne(instance, stopBudget, "restarting");
    instance.policy.forgive();
    instance.health = [];
    instance.restarts = 0;
    await attempt(instance, { retry: true });
    if (instance.error) throw instance.error;
  }

  function dependants(id: string): readonly string[] {
    const found = new Set<string>();
    const visit = (provider: string): void => {
      const offers = Object.keys(instances.get(provider)?.manifest.provides ?? {});
      for (const m of [...plan.plugins].reverse()) {
        if (found.has(m.id) || !Object.keys(m.needs).some((slot) => offers.includes(sourceSlot(slot)))) continue;
        visit(m.id);
        found.add(m.id);
      }
    };
    visit(id);
    return [...found];
  }

  board.points.contribute(healthCheck, "kernel", {
    name: "plugins",
    async check() {
      const down = [...instances.values()].filter((i) => i.state === "quarantined" && i.manifest.criticality === "required");
      return down.length ? { ok: false, message: down.map((i) => i.error!.message).join("; ") } : { ok: true };
    },
  });

  return {
    hooks, timings, dependants, blame,
    plan: () => plan,
    configs: () => configs,
    async start() {
      await startAll();
      if (stopping) throw new Error("the server was stopped while it started");
      booting = false;
      for (const { plugin } of plan.leftOut) await retire(plugin);
      await hooks.serverReady.promise().catch((error: K3spError) => blame(error.plugin ?? "", error));
      cancelPoll = pollHealth({ clock, instances: () => instances.values(), enter, log: options.log });
    },
    async stop(budget = stopBudget) {
      stopping = true;
      cancelPoll?.();
      await hooks.stopping.promise().catch(() => {});
      await stopAll(new Set(instances.keys()), budget, () => "stopped");
    },
    apply: (next, nextConfigs) => serial(async () => {
      const before = { plan, configs };
      try {
        return await change(next, nextConfigs);
      } catch (error) {
        if (plan !== before.plan) await change(before.plan, before.configs);
        throw error;
      }
    }),
    restart: (id) => serial(async () => {
      const instance = instances.get(id)!;
      if (isFixed(instance.manifest)) throw fixedError(instance.manifest);
      await restartOne(instance);
    }),
    status: () => [...instances.values()].map(statusOf),
    contribute: (point, impl) => void board.points.contribute(point, "kernel", impl),
    slot: <T>(id: string) => board.handle(id, { id: "kernel", admin: true }) as T,
  };
}

/** Where it is wrong, what to do, and what has it tried again. */
const wayOut = ({ code, detail, fix }: K3spError, { id }: Manifest): readonly string[] =>
  [...detail.map((line) => line.trim()), `fix: ${fix}${code === "K3SP_PLUGIN_UNAPPROVED" ? "" : `, then k3s-p plugin reload ${id}`}`];

const fixedError = ({ id, provides }: Manifest): K3spError =>
  k3spError("K3SP_PLUGIN_FIXED", { message: `${id} cannot change while the server runs: the users of the slot "${Object.keys(provides)[0]}" keep its state`, plugin: id });
