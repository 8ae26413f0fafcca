/** Extension points: who contributed what, in order, with change notices for the owner. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Contribution, Contributions, Order, Point } from "@k3s-p/plugin-api";
import { sortOrdered } from "./guard.ts";
import type { OnSpan } from "./span.ts";

interface Entry extends Contribution<unknown> {
  readonly order: Order;
  readonly sequence: number;
}

export interface Points {
  /** Returns the removal. */
  contribute(point: Point<unknown>, plugin: string, impl: unknown, order?: Order): () => void;
  contributions<T>(point: Point<T>): Contributions<T>;
}

export interface PointsOptions {
  /** Runs a call in a contribution's name. */
  readonly run?: <T>(plugin: string, fn: () => T) => T;
  readonly onSpan?: OnSpan | undefined;
}

export function createPoints({ run = (_, fn) => fn(), onSpan }: PointsOptions = {}): Points {
  const entries = new Map<string, readonly Entry[]>();
  const listeners = new Map<string, Set<() => void>>();
  let sequence = 0;

  function change(id: string, next: readonly Entry[]): void {
    entries.set(id, next);
    for (const listener of listeners.get(id) ?? []) listener();
  }

  return {
    contribute(point, plugin, impl, order = {}) {
      const entry: Entry = { plugin, impl: attributed(point.id, plugin, impl, { run, onSpan }), order, sequence: sequence++ };
      change(point.id, sortOrdered([...(entries.get(point.id) ?? []), entry]));
      return () => change(point.id, entries.get(point.id)!.filter((other) => other !== entry));
    },
    contributions<T>(point: Point<T>) {
      return {
        list: () => (entries.get(point.id) ?? []) as unknown as readonly Contribution<T>[],
        onChange(fn) {
          const set = listeners.get(point.id) ?? new Set();
          // A change comes in the course of somebody's contribution, and the listener's errors are its own.
          const told = AsyncLocalStorage.bind(fn);
          listeners.set(point.id, set.add(told));
          return () => void set.delete(told);
        },
      };
    },
  };
}

/** What a plugin contributes, with each call of its functions in the plugin's name and measured. Plain data stays what it is. */
function attributed(point: string, plugin: string, impl: unknown, { run, onSpan }: Required<Pick<PointsOptions, "run">> & PointsOptions): unknown {
  if (typeof impl !== "object" || impl === null || !hasFunctions(impl)) return impl;
  const wrapped = new Map<unknown, unknown>();
  const wrap = (key: PropertyKey, fn: (...args: unknown[]) => unknown) => (...args: unknown[]): unknown => {
    const started = performance.now();
    const over = (error?: Error): void => onSpan?.({ step: "hook", hook: `${point}/${String(key)}`, plugin, started, ended: performance.now(), error });
    let result: unknown;
    try {
      result = run(plugin, () => fn.apply(impl, args));
    } catch (error) {
      over(error as Error);
      throw error;
    }
    if (typeof (result as PromiseLike<unknown> | undefined)?.then === "function") (result as PromiseLike<unknown>).then(() => over(), over);
    else over();
    return result;
  };
  const get = (_: object, key: PropertyKey): unknown => {
    const value: unknown = Reflect.get(impl, key);
    if (typeof value !== "function") return value;
    if (!wrapped.has(value)) wrapped.set(value, wrap(key, value as (...args: unknown[]) => unknown));
    return wrapped.get(value);
  };
  // Over an object of its own: what is frozen could not show other functions than it has.
  return new Proxy(Object.create(Object.getPrototypeOf(impl) as object | null) as object, {
    get, has: (_, key) => Reflect.has(impl, key), ownKeys: () => Reflect.ownKeys(impl),
    getOwnPropertyDescriptor: (shadow, key) => (Object.hasOwn(impl, key) ? { value: get(shadow, key), enumerable: true, configurable: true, writable: true } : undefined),
  });
}

function hasFunctions(impl: object): boolean {
  const isPlain = Object.getPrototypeOf(impl) === Object.prototype || Object.getPrototypeOf(impl) === null;
  return !isPlain || Object.values(impl).some((value) => typeof value === "function");
}
