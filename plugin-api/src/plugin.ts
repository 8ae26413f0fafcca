/** The author's API: one typed function, one context. */
import type { AsyncSeriesBailHook, AsyncSeriesHook, AsyncSeriesWaterfallHook, SyncHook } from "tapable";
import type { ImplOf, Point, Slot } from "./contract.ts";

export type SlotMap = Readonly<Record<string, Slot<any>>>;
export type Deps<N extends SlotMap> = { readonly [K in keyof N]: ImplOf<N[K]> };

export interface Logger {
  trace(msg: string): void;
  trace(fields: object, msg?: string): void;
  debug(msg: string): void;
  debug(fields: object, msg?: string): void;
  info(msg: string): void;
  info(fields: object, msg?: string): void;
  warn(msg: string): void;
  warn(fields: object, msg?: string): void;
  error(msg: string): void;
  error(fields: object, msg?: string): void;
}

/** Public stages of a tap or contribution; `before` and `after` name plugins and are resolved into a stable order. */
export const Stage = Object.freeze({ First: -1000, Early: -100, Normal: 0, Late: 100, Last: 1000 });

export interface Order {
  readonly stage?: number;
  readonly before?: string | readonly string[];
  readonly after?: string | readonly string[];
}

/** The kinds of hook that a slot may offer; plugins tap them with `ctx.tap` and never call them. */
export type TappableHook =
  | AsyncSeriesHook<any>
  | AsyncSeriesWaterfallHook<any>
  | AsyncSeriesBailHook<any, any>
  | SyncHook<any>;

type HookArgs<H> =
  H extends AsyncSeriesBailHook<infer A, any> ? A
  : H extends AsyncSeriesWaterfallHook<infer A> ? A
  : H extends AsyncSeriesHook<infer A> ? A
  : H extends SyncHook<infer A> ? A
  : never;
type HookResult<H> =
  H extends SyncHook<any> ? void
  : H extends AsyncSeriesBailHook<any, infer R> ? Promise<R | undefined> | R | undefined
  : H extends AsyncSeriesWaterfallHook<infer A> ? First<A> | undefined | Promise<First<A> | undefined>
  : Promise<void> | void;
type First<A> = A extends readonly [infer F, ...any[]] ? F : never;
export type TapFn<H> = HookArgs<H> extends infer A extends readonly any[] ? (...args: A) => HookResult<H> : never;

export interface Contribution<T> {
  readonly plugin: string;
  readonly impl: T;
}

/** Live view of everything contributed to a point, in order. */
export interface Contributions<T> {
  list(): readonly Contribution<T>[];
  /** Calls `fn` after every change; returns the unsubscribe function. */
  onChange(fn: () => void): () => void;
}

/** The kernel's own hooks, which any plugin may tap. */
export interface KernelHooks {
  /** A plugin became ready; its id. */
  readonly pluginReady: SyncHook<[plugin: string]>;
  /** Every required plugin is ready. */
  readonly serverReady: AsyncSeriesHook<[]>;
  /**
   * A plugin is gone for good: disabled or replaced while the server runs, or left out at its start. Taps remove what
   * they keep on its behalf (the deployer: the objects of its addon).
   */
  readonly retired: AsyncSeriesHook<[plugin: string]>;
  /** A stop was asked for; taps run before any plugin stops. */
  readonly stopping: AsyncSeriesHook<[]>;
}

/**
 * Why a run of a plugin ends. `stopped`: the server stops, and most likely comes back; `restarting`: the plugin failed, or is
 * started again at once; `retired`: it was disabled, or another one takes its place, and nobody will look after what it
 * leaves.
 */
export type StopReason = "stopped" | "restarting" | "retired";

/** How the program of an `exec` plugin is run. */
export interface ProgramOptions {
  readonly args?: readonly string[];
  /** Beside `PATH`, `HOME` and the `K3SP_` variables that every program of a plugin has. */
  readonly env?: Readonly<Record<string, string>>;
  /** What says that it is up: a text in a line of its output, or a unix socket that listens. Default: that it was started. */
  readonly ready?: string | { readonly socket: string };
  /** Gets its output in place of the plugin's log; kept below 50 MB, with three older ones beside it. */
  readonly logFile?: string;
}

export interface PluginContext<N extends SlotMap = SlotMap, W extends SlotMap = SlotMap, C = unknown> {
  /** The plugin's id, as in its manifest without the scope. */
  readonly id: string;
  /** Validated against the plugin's schema, defaults applied, frozen. */
  readonly config: C;
  /** Ready handles of the slots that the plugin needs. */
  readonly needs: Deps<N>;
  readonly wants: Partial<Deps<W>>;
  /** The handle of a slot that the manifest names, by its id; undefined when it has no provider. */
  slot(id: string): object | undefined;
  /** Aborted on stop, restart and start timeout. */
  readonly signal: AbortSignal;
  /** Own folders: `data` survives a reboot, `run` does not. Created on first start, mode 0700. */
  readonly dirs: { readonly data: string; readonly run: string };
  readonly log: Logger;
  contribute<T>(to: Point<T>, impl: T, order?: Order): void;
  /** For the owner of a point: what others contributed. */
  contributions<T>(to: Point<T>): Contributions<T>;
  readonly hooks: KernelHooks;
  tap<H extends TappableHook>(hook: H, fn: TapFn<H>, order?: Order): void;
  /**
   * Calls `fn` when another provider, or the same one after a restart, has taken over a slot that the plugin holds a
   * handle of. For those who keep streams: the handle itself already leads to the new provider.
   */
  onReplaced(slot: Slot<any>, fn: () => void): void;
  /** Undo steps, run last-in first-out on stop, also after a failed start. `why` is for what stays unless the plugin is retired. */
  defer(undo: (why: StopReason) => void | Promise<void>): void;
  /** Marks the plugin as failed: the kernel stops it and restarts it under its policy. */
  fail(error: Error): void;
  /**
   * Has the plugin stopped and started again in good order, because something that it took at its start is another now:
   * `why` says what, for the log. No crash, so nothing is counted against it; once it is ready when it is not yet.
   */
  restart(why: string): void;
  /**
   * For the module of an `exec` plugin: starts the program that the manifest names and resolves when it is up. Once a
   * run: the kernel keeps its output, ends it after the undo steps, and takes its end for a crash of the plugin.
   */
  program(options?: ProgramOptions): Promise<{ readonly pid: number }>;
}

export interface HealthResult {
  readonly ok: boolean;
  readonly message?: string;
}

/** The slots of a `provides` record, as the record of implementations that `start` must return. */
export interface PluginDefinition<P extends Slot<any> | undefined, N extends SlotMap, W extends SlotMap, C> {
  readonly provides?: P;
  readonly needs?: N;
  readonly wants?: W;
  /** JSON Schema of the plugin's own section, when it is not in `config.schema.json` (single-file plugins). */
  readonly config?: object;
  /** Manifest fields of a single-file plugin; a folder has them in its package.json. */
  readonly manifest?: { readonly name: string; readonly version: string } & Readonly<Record<string, unknown>>;
  start(ctx: PluginContext<N, W, C>): StartResult<P> | Promise<StartResult<P>>;
  /** Gate: the plugin is ready when this resolves. */
  ready?(impl: StartResult<P>, signal: AbortSignal): Promise<void>;
  health?(impl: StartResult<P>): HealthResult | Promise<HealthResult>;
  reconfigure?(impl: StartResult<P>, next: C): "applied" | "restart" | Promise<"applied" | "restart">;
}
export type StartResult<P> = P extends Slot<infer T> ? T : void;

const pluginBrand = Symbol.for("k3sp.plugin");

export interface Plugin {
  readonly [pluginBrand]: 1;
  readonly definition: PluginDefinition<any, any, any, any>;
}

/** Declares a plugin. Only `start` is mandatory; nothing runs at import time. */
export function definePlugin<
  P extends Slot<any> | undefined = undefined,
  const N extends SlotMap = {},
  const W extends SlotMap = {},
  C = Readonly<Record<string, unknown>>,
>(definition: PluginDefinition<P, N, W, C>): Plugin {
  return Object.freeze({ [pluginBrand]: 1, definition } as const);
}

export function isPlugin(value: unknown): value is Plugin {
  return typeof value === "object" && value !== null && (value as Plugin)[pluginBrand] === 1;
}

/** Thrown by `start` when the plugin does not apply to this host; not an error. */
export class Skip extends Error {
  override readonly name = "Skip";
}
