/** One timer for all probes: due work is kept in one-second slots, and the timer sleeps until the next full slot. */
import type { Clock } from "../clock.ts";

export interface Wheel {
  /** Runs `fn` once in the slot that holds `at` (Unix ms); returns the cancel function. */
  at(at: number, fn: () => void): () => void;
  readonly size: number;
}

const SLOT = 1000;

export function wheel(clock: Clock): Wheel {
  const slots = new Map<number, Set<() => void>>();
  let armedFor = Infinity;
  let cancelTimer: (() => void) | undefined;

  function arm(): void {
    const next = Math.min(...slots.keys());
    if (next === armedFor) return;
    cancelTimer?.();
    armedFor = next;
    cancelTimer = Number.isFinite(next) ? clock.after(next * SLOT - clock.now(), turn) : undefined;
  }

  function turn(): void {
    armedFor = Infinity;
    const current = Math.floor(clock.now() / SLOT);
    const due = [...slots.keys()].filter((slot) => slot <= current).sort((a, b) => a - b);
    for (const slot of due) {
      const work = slots.get(slot)!;
      slots.delete(slot);
      for (const fn of work) fn();
    }
    arm();
  }

  return {
    at(at, fn) {
      const slot = Math.ceil(at / SLOT);
      const set = slots.get(slot) ?? new Set();
      slots.set(slot, set.add(fn));
      arm();
      return () => {
        set.delete(fn);
        if (set.size === 0 && slots.get(slot) === set) slots.delete(slot);
      };
    },
    get size() {
      return [...slots.values()].reduce((sum, set) => sum + set.size, 0);
    },
  };
}
