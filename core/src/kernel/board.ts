/** What all plugins of a kernel share: the slots with their providers, the points, the hooks, and whose code runs now. */
import { AsyncLocalStorage } from "node:async_hooks";
import { AsyncSeriesHook, SyncHook } from "tapable";
import type { KernelHooks, PluginIdentity, Slot } from "@k3s-p/plugin-api";
import { kernelSlots, slotCatalogue } from "@k3s-p/plugin-api/slots";
import { createGuard, type Guard } from "./guard.ts";
import { derivedHandle, liveHandle, type SlotCell } from "./handles.ts";
import { createPoints, type Points } from "./points.ts";
import { sourceSlot } from "./resolve.ts";
import type { OnSpan } from "./span.ts";

const current = new AsyncLocalStorage<string>();
/** The plugin whose code is running now, for attribution of stray errors. */
export const runningPlugin = (): string | undefined => current.getStore();
export const runAs = <T>(plugin: string, fn: () => T): T => current.run(plugin, fn);

export const slotById: ReadonlyMap<string, Slot<unknown>> = new Map(slotCatalogue.map((slot) => [slot.id, slot]));

export interface Board {
  readonly hooks: KernelHooks;
  readonly points: Points;
  readonly guard: Guard;
  /** The provider's implementation of a slot, or of the slot that it is derived from. */
  provider(slot: string): object | undefined;
  /** A live handle, made for one plugin. */
  handle(slot: string, plugin: PluginIdentity): object;
  provide(slot: string, impl: object): void;
  /** Only when `impl` still is the provider: a late stop must not take away its successor. */
  withdraw(slot: string, impl: unknown): void;
  /** Calls `fn` when a slot has a new provider after an old one; returns the unsubscribe function. */
  onReplaced(slot: string, plugin: string, fn: () => void): () => void;
}

export interface BoardOptions {
  readonly refs: Readonly<Record<string, object>>;
  readonly hookTimeout?: number;
  readonly onSpan?: OnSpan | undefined;
  /** A listener of `onReplaced` threw. */
  readonly onError: (plugin: string, error: unknown) => void;
}

interface Cell extends SlotCell {
  /** Whether there was a provider before. */
  used: boolean;
  readonly listeners: Set<{ readonly plugin: string; readonly fn: () => void }>;
}

export function createBoard({ refs, hookTimeout, onSpan, onError }: BoardOptions): Board {
  const cells = new Map([...slotById.keys()].map((id): [string, Cell] => [id, { slot: id, current: refs[id], used: false, listeners: new Set() }]));
  const cellOf = (slot: string): Cell => cells.get(sourceSlot(slot))!;
  return {
    hooks: createHooks(),
    points: createPoints({ run: runAs, onSpan }),
    guard: createGuard({ run: runAs, ...(hookTimeout !== undefined && { timeout: hookTimeout }), ...(onSpan && { onSpan }) }),
    provider: (slot) => cellOf(slot).current,
    handle(slot, plugin) {
      if (kernelSlots.includes(slot)) return refs[slot]!;
      const token = slotById.get(slot)!;
      return token.derive ? derivedHandle(token, cellOf(slot), plugin, refs) : liveHandle(cellOf(slot));
    },
    provide(slot, impl) {
      const cell = cellOf(slot);
      const again = cell.used;
      cell.current = impl;
      cell.used = true;
      if (!again) return;
      for (const { plugin, fn } of cell.listeners) {
        try {
          runAs(plugin, fn);
        } catch (error) {
          onError(plugin, error);
        }
      }
    },
    withdraw(slot, impl) {
      const cell = cellOf(slot);
      if (cell.current === impl) cell.current = undefined;
    },
    onReplaced(slot, plugin, fn) {
      const listener = { plugin, fn };
      const { listeners } = cellOf(slot);
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

const createHooks = (): KernelHooks => Object.freeze({
  pluginReady: new SyncHook<[plugin: string]>(["plugin"], "pluginReady"),
  serverReady: new AsyncSeriesHook<[]>(undefined, "serverReady"),
  retired: new AsyncSeriesHook<[plugin: string]>(["plugin"], "retired"),
  stopping: new AsyncSeriesHook<[]>(undefined, "stopping"),
});
