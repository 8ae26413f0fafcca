/** The kubelet's one clock, injected so that back-off, probes and deadlines have deterministic tests. */

export interface Clock {
  /** Unix milliseconds. */
  now(): number;
  /** Runs `fn` once after `ms`; the returned function cancels it. */
  after(ms: number, fn: () => void): () => void;
}

const LONGEST_TIMER = 2 ** 31 - 1;

/** `stop` cancels what has not run yet, and nothing runs after it. */
export function systemClock(): Clock & { stop(): void } {
  const timers = new Set<NodeJS.Timeout>();
  let stopped = false;
  const cancel = (timer: NodeJS.Timeout): void => {
    clearTimeout(timer);
    timers.delete(timer);
  };
  return {
    now: Date.now,
    after(ms, fn) {
      if (stopped) return () => {};
      const timer = setTimeout(() => (timers.delete(timer), fn()), Math.min(Math.max(0, ms), LONGEST_TIMER)).unref();
      timers.add(timer);
      return () => cancel(timer);
    },
    stop() {
      stopped = true;
      for (const timer of timers) cancel(timer);
    },
  };
}

/** Resolves after `ms`, or at once when the signal aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = clock.after(ms, done);
    signal?.addEventListener("abort", done, { once: true });
    function done(): void {
      cancel();
      signal?.removeEventListener("abort", done);
      resolve();
    }
  });
}
