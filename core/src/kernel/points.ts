/** Extension points: who contributed what, in order, with change notices for the owner. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Contribution, Contributions, Order, Point } from "@k3s-p/plugin-api";
import { sortOrdered } from "./guard.ts";

interface Entry extends Contribution<unknown> {
  readonly order: Order;
  readonly sequence: number;
}

export interface Points {
  /** Returns the removal. */
  contribute(point: Point<unknown>, plugin: string, impl: unknown, order?: Order): () => void;
  contributions<T>(point: Point<T>): Contributions<T>;
}

export function createPoints(): Points {
  const entries = new Map<string, readonly Entry[]>();
  const listeners = new Map<string, Set<() => void>>();
  let sequence = 0;

  function change(id: string, next: readonly Entry[]): void {
    entries.set(id, next);
    for (const listener of listeners.get(id) ?? []) listener();
  }

  return {
    contribute(point, plugin, impl, order = {}) {
      const entry: Entry = { plugin, impl, order, sequence: sequence++ };
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
