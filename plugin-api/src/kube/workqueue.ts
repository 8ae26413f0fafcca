/** The one work queue: keyed, de-duplicating, with per-key exponential back-off; after client-go's rate-limited queue. */

export interface QueueOptions {
  readonly name: string;
  /** Called with one key at a time; a rejection retries the key with back-off. Return milliseconds to run it again later. */
  readonly reconcile: (key: string) => Promise<number | void>;
  readonly workers?: number;
  readonly onError?: (key: string, error: unknown, retries: number) => void;
  /** First and longest delay, milliseconds. */
  readonly backoff?: readonly [number, number];
  readonly setTimer?: (fn: () => void, ms: number) => { unref?(): unknown };
}

export interface WorkQueue {
  add(key: string): void;
  addAfter(key: string, ms: number): void;
  /** Keys waiting or being worked on. */
  readonly size: number;
  /** Lets running reconciles end; drops the rest. */
  stop(): Promise<void>;
}

const MAX_DELAY = 2 ** 31 - 1;

export function workQueue(options: QueueOptions): WorkQueue {
  const { reconcile, workers = 4, onError, backoff = [5, 60_000], setTimer = setTimeout } = options;
  const waiting = new Set<string>();
  const active = new Set<string>();
  const again = new Set<string>();
  const retries = new Map<string, number>();
  const timers = new Map<string, { due: number; timer: unknown }>();
  let stopped = false;
  let scheduled = false;
  const idle = Promise.withResolvers<void>();

  const clear = (key: string) => {
    const entry = timers.get(key);
    if (entry) clearTimeout(entry.timer as NodeJS.Timeout);
    timers.delete(key);
  };

  function add(key: string): void {
    if (stopped) return;
    if (active.has(key)) again.add(key);
    else waiting.add(key);
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(pump);
  }

  function addAfter(key: string, ms: number): void {
    if (stopped) return;
    if (ms <= 0) return add(key);
    // Longer delays would overflow the timer and fire at once.
    const delay = Math.min(ms, MAX_DELAY);
    const due = Date.now() + delay;
    const planned = timers.get(key);
    if (planned && planned.due <= due) return;
    clear(key);
    timers.set(key, { due, timer: setTimer(() => (timers.delete(key), add(key)), delay) });
  }

  function pump(): void {
    scheduled = false;
    for (const key of waiting) {
      if (active.size >= workers) return;
      waiting.delete(key);
      active.add(key);
      void run(key);
    }
  }

  async function run(key: string): Promise<void> {
    try {
      const later = await reconcile(key);
      retries.delete(key);
      if (typeof later === "number") addAfter(key, later);
    } catch (error) {
      const n = (retries.get(key) ?? 0) + 1;
      retries.set(key, n);
      onError?.(key, error, n);
      addAfter(key, Math.min(backoff[1], backoff[0] * 2 ** Math.min(n - 1, 30)));
    } finally {
      active.delete(key);
      if (again.delete(key)) add(key);
      if (stopped && active.size === 0) idle.resolve();
      if (!stopped && waiting.size) pump();
    }
  }

  return {
    add,
    addAfter,
    get size() {
      return waiting.size + active.size;
    },
    async stop() {
      stopped = true;
      waiting.clear();
      for (const key of [...timers.keys()]) clear(key);
      if (active.size) await idle.promise;
    },
  };
}
