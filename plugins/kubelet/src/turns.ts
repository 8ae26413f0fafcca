/** One turn at a time, asked for by events: what comes in during a turn makes one more, and a failed turn is tried again later. */
import type { Clock } from "./clock.ts";

export interface Turns {
  /** Something may have changed; waits while a failed turn is paused. */
  wake(): void;
  /** What made turns fail may be over: the next one does not wait. */
  wakeNow(): void;
  /** Asks for a turn at that time (Unix milliseconds); of several the nearest counts. */
  wakeAt(at: number): void;
  stop(): void;
}

/** Waits after a failed turn, milliseconds: doubled from the first to the last. */
export const RETRY = [500, 30_000] as const;

export function turnsOf(clock: Clock, turn: () => Promise<void>, onError: (error: unknown) => void): Turns {
  let running = false;
  let again = false;
  let urgent = false;
  let stopped = false;
  let failures = 0;
  /** After a failed turn: only what may cure it comes sooner. */
  let pausedUntil = 0;
  let nextWake = Infinity;
  let cancelTimer = (): void => {};

  function wake(): void {
    if (pausedUntil > clock.now()) return;
    again = true;
    if (!running && !stopped) void run();
  }

  async function run(): Promise<void> {
    running = true;
    while (again && !stopped) {
      again = false;
      urgent = false;
      cancelTimer();
      try {
        await turn();
        failures = 0;
        pausedUntil = 0;
      } catch (error) {
        const wait = Math.min(RETRY[1], RETRY[0] * 2 ** failures++);
        onError(error);
        if (urgent) continue;
        again = false;
        wakeAt((pausedUntil = clock.now() + wait));
      }
    }
    running = false;
  }

  function wakeAt(at: number): void {
    if (again || stopped || at >= nextWake) return;
    cancelTimer();
    nextWake = at;
    const cancel = clock.after(Math.max(0, at - clock.now()), () => {
      nextWake = Infinity;
      pausedUntil = 0;
      wake();
    });
    cancelTimer = () => {
      nextWake = Infinity;
      cancelTimer = () => {};
      cancel();
    };
  }

  return {
    wake, wakeAt,
    wakeNow() {
      pausedUntil = 0;
      urgent = true;
      wake();
    },
    stop() {
      stopped = true;
      cancelTimer();
    },
  };
}
