/** What the informers of one client know together of their server: which failures have been told, and that it answers again. */
import { ApiError } from "./errors.ts";

export interface Outage {
  /** Tells of the error unless the same has been told and not been overcome since: fifteen watches of a server that is gone are one line. */
  failed(what: string, error: Error): void;
  worked(what: string): void;
  /** The server has answered somebody. */
  answered(): void;
  /** Waits after an error. What did not reach the server is tried again as soon as somebody reaches it, but not within a second. */
  pause(ms: number, error: Error | undefined, signal: AbortSignal): Promise<void>;
}

const SHORTEST = 1000;

export function createOutage(onError: (what: string, error: Error) => void = () => {}): Outage {
  const failing = new Map<string, string>();
  const waiting = new Set<() => void>();
  return {
    failed(what, error) {
      const isTold = [...failing.values()].includes(error.message);
      failing.set(what, error.message);
      if (!isTold) onError(what, error);
    },
    worked: (what) => void failing.delete(what),
    answered() {
      for (const wake of waiting) wake();
    },
    async pause(ms, error, signal) {
      const isRefusal = !error || error instanceof ApiError;
      await sleep(isRefusal ? ms : Math.min(ms, SHORTEST), signal);
      if (!isRefusal && ms > SHORTEST) await sleep(ms - SHORTEST, signal, waiting);
    },
  };
}

/** Ends early, and without an error, when the signal or whoever calls what is put among the sleepers says so. */
function sleep(ms: number, signal: AbortSignal, sleepers?: Set<() => void>): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(wake, ms);
    function wake(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      sleepers?.delete(wake);
      resolve();
    }
    signal.addEventListener("abort", wake);
    sleepers?.add(wake);
  });
}
