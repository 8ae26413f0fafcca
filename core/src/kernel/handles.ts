/** Live handles: what a dependent holds of a slot, forwarding to whoever provides it now. */
import { k3spError, type PluginIdentity, type Slot } from "@k3s-p/plugin-api";

export interface SlotCell {
  readonly slot: string;
  current: object | undefined;
}

/**
 * A forwarding proxy. Methods are bound to the provider and cached; while there is none, calling a method rejects
 * with `K3SP_SLOT_UNAVAILABLE`, which is retryable.
 */
export function liveHandle(cell: SlotCell): object {
  let source: object | undefined;
  let bound = new Map<PropertyKey, unknown>();
  return new Proxy({}, {
    get(_, key) {
      const impl = cell.current;
      // A handle must never look like a promise, or `await handle` would call into the provider.
      if (key === "then") return undefined;
      if (!impl) return () => Promise.reject(unavailable(cell.slot));
      if (impl !== source) {
        source = impl;
        bound = new Map();
      }
      const known = bound.get(key);
      if (known) return known;
      const value: unknown = Reflect.get(impl, key);
      if (typeof value !== "function") return value;
      const method = value.bind(impl) as unknown;
      bound.set(key, method);
      return method;
    },
    has: (_, key) => cell.current !== undefined && key in cell.current,
    ownKeys: () => (cell.current ? Reflect.ownKeys(cell.current) : []),
    getOwnPropertyDescriptor: (_, key) => {
      const own = cell.current && Reflect.getOwnPropertyDescriptor(cell.current, key);
      return own && { ...own, configurable: true };
    },
  });
}

/** A handle of a derived slot: the view is made again when the source's provider changes. */
export function derivedHandle(slot: Slot<unknown>, source: SlotCell, plugin: PluginIdentity, refs: object): object {
  let from: object | undefined;
  let view: object | undefined;
  const cell: SlotCell = {
    slot: slot.id,
    get current() {
      if (source.current !== from) {
        from = source.current;
        view = from && (slot.derive!.view(from, plugin, refs) as object);
      }
      return view;
    },
    set current(_) {
      throw new TypeError("a derived slot has no provider of its own");
    },
  };
  return liveHandle(cell);
}

const unavailable = (slot: string) =>
  k3spError("K3SP_SLOT_UNAVAILABLE", { message: `the slot "${slot}" has no ready provider now` });
