/**
 * The guard around tapable: every tap is attributed to its plugin, timed out, ordered, and can be taken away.
 *
 * tapable has no untap, hangs when a later promise tap throws synchronously, and does not say which tap failed.
 * So plugins never touch a hook: the kernel registers one tap per hook and runs its own ordered list in it.
 */
import { AsyncSeriesBailHook, AsyncSeriesHook, AsyncSeriesWaterfallHook, SyncHook } from "tapable";
import { Stage, k3spError, type Order, type TappableHook } from "@k3s-p/plugin-api";
import type { OnSpan } from "./span.ts";

export interface GuardOptions {
  /** Milliseconds that one tap may take; default 10,000. */
  readonly timeout?: number;
  readonly run: <T>(plugin: string, fn: () => T) => T;
  readonly onSpan?: OnSpan;
}

interface Tap {
  readonly plugin: string;
  readonly fn: (...args: any[]) => unknown;
  readonly order: Order;
  readonly sequence: number;
}

type Kind = "sync" | "series" | "waterfall" | "bail";

export interface Guard {
  /** Adds a plugin's tap; returns its removal. */
  tap(hook: TappableHook, plugin: string, fn: (...args: any[]) => unknown, order?: Order): () => void;
}

export function createGuard(options: GuardOptions): Guard {
  const taps = new WeakMap<object, Tap[]>();
  let sequence = 0;

  return {
    tap(hook, plugin, fn, order = {}) {
      let list = taps.get(hook);
      if (!list) {
        list = [];
        taps.set(hook, list);
        install(hook, () => taps.get(hook)!, options);
      }
      const added: Tap = { plugin, fn, order, sequence: sequence++ };
      taps.set(hook, sortOrdered([...list, added]));
      return () => void taps.set(hook, taps.get(hook)!.filter((tap) => tap !== added));
    },
  };
}

/** Hooks have a null prototype in tapable 2.3, so their kind is read from the constructor's name. */
function kindOf(hook: TappableHook): Kind {
  const name = (hook as { constructor?: { name?: string } }).constructor?.name;
  if (name === SyncHook.name) return "sync";
  if (name === AsyncSeriesWaterfallHook.name) return "waterfall";
  if (name === AsyncSeriesBailHook.name) return "bail";
  if (name === AsyncSeriesHook.name) return "series";
  throw new TypeError(`hooks of kind ${name} cannot be tapped`);
}

function install(hook: TappableHook, list: () => readonly Tap[], options: GuardOptions): void {
  const kind = kindOf(hook);
  const name = hook.name ?? "hook";
  if (kind === "sync") {
    (hook as SyncHook<any>).tap("kernel", (...args: any[]) => {
      for (const tap of list()) runSync(name, tap, args, options);
    });
    return;
  }
  (hook as AsyncSeriesHook<any>).tapPromise("kernel", async (...args: any[]) => {
    for (const tap of list()) {
      const result = await runAsync(name, tap, args, options);
      if (result === undefined || kind === "series") continue;
      if (kind === "bail") return result as never;
      args[0] = result;
    }
    return (kind === "waterfall" ? args[0] : undefined) as never;
  });
}

function runSync(hook: string, tap: Tap, args: readonly unknown[], options: GuardOptions): void {
  const started = performance.now();
  let error: Error | undefined;
  try {
    const result = options.run(tap.plugin, () => tap.fn(...args));
    if (isThenable(result)) {
      result.then(undefined, () => {});
      throw new TypeError("a tap of a synchronous hook returned a promise");
    }
  } catch (cause) {
    throw (error = hookError(hook, tap.plugin, cause));
  } finally {
    options.onSpan?.({ step: "hook", hook, plugin: tap.plugin, started, ended: performance.now(), error });
  }
}

async function runAsync(hook: string, tap: Tap, args: readonly unknown[], options: GuardOptions): Promise<unknown> {
  const started = performance.now();
  const { timeout = 10_000 } = options;
  let timer: NodeJS.Timeout | undefined;
  let error: Error | undefined;
  try {
    const result = options.run(tap.plugin, () => tap.fn(...args));
    if (!isThenable(result)) return result;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`did not end within ${timeout} ms`)), timeout);
    });
    return await Promise.race([result, late]);
  } catch (cause) {
    throw (error = hookError(hook, tap.plugin, cause));
  } finally {
    clearTimeout(timer);
    options.onSpan?.({ step: "hook", hook, plugin: tap.plugin, started, ended: performance.now(), error });
  }
}

/** A function of another process returns a promise that is none of ours. */
const isThenable = (value: unknown): value is PromiseLike<unknown> => typeof (value as PromiseLike<unknown> | undefined)?.then === "function";

const hookError = (hook: string, plugin: string, cause: unknown) =>
  k3spError("K3SP_PLUGIN_HOOK_FAILED", { message: `${plugin} failed in the hook "${hook}": ${(cause as Error)?.message ?? cause}`, plugin, cause });

interface Ordered {
  readonly plugin: string;
  readonly order: Order;
  readonly sequence: number;
}

const names = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === "string" ? [value] : value;

/** Stage first, registration order inside a stage; `before`/`after` move an item past those it names. */
export function sortOrdered<T extends Ordered>(items: readonly T[]): T[] {
  const sorted = [...items].sort((a, b) => (a.order.stage ?? Stage.Normal) - (b.order.stage ?? Stage.Normal) || a.sequence - b.sequence);
  for (const item of [...sorted].sort((a, b) => a.sequence - b.sequence)) {
    const before = new Set(names(item.order.before));
    const after = new Set(names(item.order.after));
    if (!before.size && !after.size) continue;
    sorted.splice(sorted.indexOf(item), 1);
    const first = sorted.findIndex((other) => before.has(other.plugin));
    const last = sorted.findLastIndex((other) => after.has(other.plugin));
    if (first >= 0) sorted.splice(first, 0, item);
    else if (last >= 0) sorted.splice(last + 1, 0, item);
    else sorted.push(item);
  }
  return sorted;
}
