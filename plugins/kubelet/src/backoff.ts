/** Exponential back-off per key: container restarts and image pulls, 10 s doubling to 5 min as upstream's. */
import type { Clock } from "./clock.ts";

export interface Backoff {
  /** End of the waiting time (Unix ms) that follows `eventTime`; undefined when the key need not wait. */
  waitUntil(key: string, eventTime: number): number | undefined;
  /** Current delay in milliseconds; 0 when the key has none. */
  delay(key: string): number;
  /** Records a try: the next wait is longer. An entry that was quiet for twice the maximum starts over. */
  next(key: string, eventTime: number): void;
  forget(prefix: string): void;
}

export interface BackoffOptions {
  readonly initial?: number;
  readonly max?: number;
}

export function backoff(clock: Clock, options: BackoffOptions = {}): Backoff {
  const { initial = 10_000, max = 300_000 } = options;
  const entries = new Map<string, { delay: number; updated: number }>();
  const expired = (entry: { updated: number }, at: number): boolean => at - entry.updated > 2 * max;
  return {
    waitUntil(key, eventTime) {
      const entry = entries.get(key);
      if (!entry || expired(entry, eventTime)) return undefined;
      const until = eventTime + entry.delay;
      return until > clock.now() ? until : undefined;
    },
    delay: (key) => entries.get(key)?.delay ?? 0,
    next(key, eventTime) {
      const entry = entries.get(key);
      const delay = !entry || expired(entry, eventTime) ? initial : Math.min(entry.delay * 2, max);
      entries.set(key, { delay, updated: clock.now() });
    },
    forget(prefix) {
      for (const key of entries.keys()) if (key.startsWith(prefix)) entries.delete(key);
    },
  };
}

/** Upstream prints durations as Go does: `10s`, `1m20s`, `5m0s`. */
export function goDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (ms > 0 && ms < 1000) return `${Math.round(ms)}ms`;
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  return h ? `${h}h${m}m${s}s` : m ? `${m}m${s}s` : `${s}s`;
}
