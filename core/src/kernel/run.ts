/** One run of a plugin, from the loading of its code to the undoing of all that it did. A restart is a new run. */
import { join } from "node:path";
import { isK3spError, k3spError, type K3spError, type Logger, type PluginContext, type StopReason } from "@k3s-p/plugin-api";
import type { Board } from "./board.ts";
import { runAs, slotById } from "./board.ts";
import { apiGrant } from "@k3s-p/plugin-api/points";
import type { Runner } from "@k3s-p/plugin-api/slots";
import type { Declared, PluginHost } from "./hosts/host.ts";
import { makeFolders } from "../isolation/folders.ts";
import { checkContribution, grantOf, identityOf, noProgram, restrictRunner } from "../isolation/permissions.ts";
import type { Manifest } from "./manifest.ts";
import { spanned, type OnSpan, type Span } from "./span.ts";

type Undo = (why: StopReason) => void | Promise<void>;

export interface RunOptions {
  readonly manifest: Manifest;
  readonly config: object;
  readonly host: PluginHost;
  readonly board: Board;
  readonly log: Logger;
  readonly dirs: { readonly data: string; readonly run: string };
  /** Milliseconds that its code may take to be loaded, and `start` and `ready` together. */
  readonly timeouts: { readonly loaded: number; readonly ready: number };
  readonly onLoaded: () => void;
  /** The plugin called `ctx.fail`. */
  readonly onFail: (error: Error) => void;
  readonly onSpan: OnSpan | undefined;
  /** It was ready, and is `outdated` now. */
  readonly onOutdated: () => void;
}

export interface Run {
  readonly host: PluginHost;
  readonly declared: Declared | undefined;
  readonly impl: unknown;
  /** Why it should start anew: the plugin asks for it, or a slot that it uses was taken over and its manifest asks for it then. */
  readonly outdated: string | undefined;
  /** Loads, starts and waits for the gate; what it provides is on the board when this resolves. */
  start(): Promise<void>;
  /** Takes its slots away, aborts its signal and undoes, within `budget` milliseconds. Never rejects; may be called more than once. */
  dispose(why: StopReason, budget: number): Promise<void>;
}

/** What a signal that is aborted says. */
const reasons: Readonly<Record<StopReason, string>> = {
  stopped: "the server is stopping", restarting: "the plugin restarts", retired: "the plugin was disabled or replaced",
};

/** What a plugin that provides no slot is known by once it is ready. */
const none = Object.freeze({});

/** Every plugin runs only the programs that its manifest names. */
const slotFor = (board: Board, manifest: Manifest, slot: string): object => {
  const handle = board.handle(slot, identityOf(manifest));
  return slot === "runner" ? restrictRunner(handle as Runner, manifest) : handle;
};

export function createRun(options: RunOptions): Run {
  const { manifest, host, board, log } = options;
  const dirs = { data: join(options.dirs.data, manifest.id), run: join(options.dirs.run, manifest.id) };
  const abort = new AbortController();
  const undos: Undo[] = [];
  let over: StopReason | undefined;
  let declared: Declared | undefined;
  let impl: unknown;
  let disposed: Promise<void> | undefined;
  let outdated: string | undefined;
  const timed = <T>(step: Span["step"], fn: () => Promise<T>): Promise<T> => spanned(options.onSpan, step, manifest.id, fn);

  /** A start that was cut off may go on for a while: what it still does is undone at once. */
  function defer(step: Undo): void {
    if (over) void undoOne(step, over);
    else undos.push(step);
  }

  function outdate(why: string): void {
    outdated = why;
    if (impl !== undefined) options.onOutdated();
  }

  async function undoOne(step: Undo, why: StopReason): Promise<void> {
    try {
      await step(why);
    } catch (error) {
      log.warn(`an undo step failed: ${(error as Error)?.message ?? String(error)}`);
    }
  }

  async function start(): Promise<void> {
    makeFolders(manifest, dirs);
    declared = await withTimeout(options, abort, "loaded", () => timed("load", () => host.load()));
    abort.signal.throwIfAborted();
    checkDeclared(manifest, declared);
    options.onLoaded();
    // A failure that is told before the plugin is ready ends its start.
    const onFail = (error: Error): void => (impl === undefined ? abort.abort(error) : options.onFail(error));
    const ctx = contextOf({ ...options, dirs, onFail }, declared, abort.signal, defer, outdate);
    const value = await withTimeout(options, abort, "ready", async () => {
      const started = await timed("start", () => host.call("start", ctx));
      if (declared!.parts.has("ready")) await timed("ready", () => host.call("ready", started, abort.signal));
      return started;
    });
    abort.signal.throwIfAborted();
    checkShape(manifest, value);
    impl = value ?? none;
    for (const slot of Object.keys(manifest.provides)) board.provide(slot, impl as object);
  }

  async function undo(why: StopReason): Promise<void> {
    for (const slot of Object.keys(manifest.provides)) board.withdraw(slot, impl);
    abort.abort(new Error(reasons[why]));
    over = why;
    for (const step of undos.splice(0).reverse()) await undoOne(step, why);
    await undoOne(() => host.stop(), why);
  }

  return {
    host,
    get declared() { return declared; },
    get impl() { return impl; },
    get outdated() { return outdated; },
    start: () => runAs(manifest.id, start),
    dispose: (why, budget) => (disposed ??= within(budget, runAs(manifest.id, () => undo(why)), () => log.warn(`did not stop within ${budget} ms`))),
  };
}

function contextOf(options: RunOptions, declared: Declared, signal: AbortSignal, defer: (step: Undo) => void, restart: (why: string) => void): PluginContext<any, any, any> {
  const { manifest, board, log, dirs } = options;
  const { id } = manifest;
  const grant = grantOf(manifest);
  if (grant) defer(board.points.contribute(apiGrant, id, grant));
  const used = [...Object.keys(manifest.needs), ...Object.keys(manifest.wants)];
  if (manifest.onDependencyRestart === "restart") for (const slot of used) defer(board.onReplaced(slot, id, () => restart(`the slot "${slot}", which it uses, was taken over`)));
  const handles = (wanted: Readonly<Record<string, string>>) => Object.freeze(Object.fromEntries(
    Object.entries(wanted).filter(([, slot]) => board.provider(slot)).map(([name, slot]) => [name, slotFor(board, manifest, slot)]),
  ));
  return {
    id, dirs, signal, log, restart, hooks: board.hooks, config: options.config,
    slot: (slot) => (used.includes(slot) && board.provider(slot) ? slotFor(board, manifest, slot) : undefined),
    needs: handles(declared.needs), wants: handles(declared.wants),
    contribute(point, impl, order) {
      checkContribution(manifest, point.id);
      defer(board.points.contribute(point, id, impl, order));
    },
    contributions: (point) => board.points.contributions(point),
    tap: (hook, fn, order) => defer(board.guard.tap(hook, id, fn as never, order)),
    onReplaced: (slot, fn) => defer(board.onReplaced(slot.id, id, fn)),
    defer,
    fail: (error) => options.onFail(error), program: () => noProgram(id),
  };
}

/** The manifest decides what is wired; code that uses more than it declares is refused. */
function checkDeclared(manifest: Manifest, declared: Declared): void {
  const undeclared = (["needs", "wants"] as const).flatMap((key) =>
    Object.values(declared[key])
      .filter((slot) => !(slot in manifest[key]))
      .map((slot) => `k3sp.${key}.${slot}: used by the code, missing in the manifest; add "${slot}": "^${slotById.get(slot)?.contract.split(".")[0] ?? 1}"`),
  );
  const { provides } = declared;
  if (provides && !(provides in manifest.provides)) undeclared.push(`k3sp.provides.${provides}: provided by the code, missing in the manifest`);
  if (!undeclared.length) return;
  throw k3spError("K3SP_MANIFEST_INVALID", { message: `${manifest.id}: code and manifest disagree`, detail: undeclared, plugin: manifest.id });
}

function checkShape(manifest: Manifest, value: unknown): void {
  const slot = Object.keys(manifest.provides)[0];
  if (slot === undefined || (typeof value === "object" && value !== null)) return;
  throw k3spError("K3SP_PLUGIN_START_FAILED", {
    message: `${manifest.id}: start() returned ${value === null ? "null" : typeof value}, not an implementation of the slot "${slot}"`,
    plugin: manifest.id, fix: "return the slot's implementation from start()",
  });
}

async function withTimeout<T>({ manifest, host, timeouts }: RunOptions, abort: AbortController, step: "loaded" | "ready", fn: () => Promise<T>): Promise<T> {
  const ms = timeouts[step];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      if (host.unhurried) return;
      const error = k3spError("K3SP_PLUGIN_START_TIMEOUT", { message: `${manifest.id} was not ${step} within ${ms / 1000} s`, plugin: manifest.id });
      reject(error);
      abort.abort(error);
    }, ms);
  });
  // A stop during the start does not wait for it.
  const aborted = new Promise<never>((_, reject) => abort.signal.addEventListener("abort", () => reject(abort.signal.reason as Error), { once: true }));
  try {
    return await Promise.race([fn(), late, aborted]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves when `work` has ended or its time is up. */
async function within(ms: number, work: Promise<void>, onLate: () => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      onLate();
      resolve();
    }, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/** What a failed start says: who, what, where in the code of whoever wrote the plugin, and the way out. */
export function startError(manifest: Manifest, cause: unknown): K3spError {
  if (isK3spError(cause)) return cause;
  const error = cause as Error;
  const isOwn = manifest.source.kind === "default";
  const frame = isOwn ? undefined : error?.stack?.split("\n").find((line) => line.includes(manifest.dir))?.trim();
  return k3spError("K3SP_PLUGIN_START_FAILED", {
    message: `${manifest.id} ${manifest.version} failed to start: ${error?.message ?? String(cause)}`,
    detail: [`from ${manifest.source.label}`, ...(frame ? [frame] : [])],
    plugin: manifest.id, cause,
    fix: isOwn ? "correct what the message names: a setting, a file or this machine" : `correct the plugin, or start without it: --disable ${manifest.id}`,
  });
}

export const crashError = (manifest: Manifest, cause: unknown): K3spError =>
  isK3spError(cause) ? cause
  : k3spError("K3SP_PLUGIN_CRASHED", { message: `${manifest.id} failed: ${(cause as Error)?.message ?? String(cause)}`, plugin: manifest.id, cause });
