/**
 * When a plugin that failed is started again, and when it is given up: back-off and quarantine.
 *
 * Time and chance are injected, so that every decision can be tested.
 */

import type { ErrorCode, K3spError } from "@k3s-p/plugin-api";

/** Timers never hold the process; `after` returns the cancellation. */
export interface Clock {
  now(): number;
  after(ms: number, fn: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

export const limits = Object.freeze({
  /** So many crashes within the window, and the plugin is quarantined. */
  crashes: 3,
  window: 5 * 60_000,
  firstDelay: 1000,
  maxDelay: 60_000,
  healthInterval: 10_000,
  healthTimeout: 10_000,
  /** Failed health checks in a row before a plugin counts as degraded. */
  healthFailures: 3,
  healthHistory: 5,
});

/** Of a start: somebody must put something right first, and another attempt would end the same way. */
const lasting: ReadonlySet<ErrorCode> = new Set([
  "K3SP_FLAG_UNKNOWN", "K3SP_FLAG_INVALID", "K3SP_CONFIG_SYNTAX", "K3SP_CONFIG_INVALID", "K3SP_CONFIG_MISSING", "K3SP_MANIFEST_INVALID",
  "K3SP_PLUGIN_UNAPPROVED", "K3SP_PLUGIN_LOAD_FAILED", "K3SP_SLOT_CONFLICT", "K3SP_SLOT_UNKNOWN", "K3SP_DEPENDENCY_VERSION",
  "K3SP_ROOT_REQUIRED", "K3SP_KEY_UNSAFE", "K3SP_PERMISSION_DENIED",
]);

export const isLasting = ({ code }: K3spError): boolean => lasting.has(code);

export type Verdict = { readonly action: "restart"; readonly delay: number } | { readonly action: "quarantine" };

export interface CrashPolicy {
  crashed(): Verdict;
  /** After `plugin enable` or a new config: what was is forgotten. */
  forgive(): void;
}

/** Delays double from 1 s to 60 s, each between 75 % and 125 % of that; a calm window starts over. */
export function createCrashPolicy(clock: Pick<Clock, "now">, random: () => number): CrashPolicy {
  let times: number[] = [];
  let attempts = 0;
  return {
    crashed() {
      const now = clock.now();
      times = times.filter((time) => now - time < limits.window);
      if (times.length === 0) attempts = 0;
      times.push(now);
      if (times.length >= limits.crashes) return { action: "quarantine" };
      const delay = Math.min(limits.maxDelay, limits.firstDelay * 2 ** attempts++);
      return { action: "restart", delay: Math.round(delay * (0.75 + random() / 2)) };
    },
    forgive() {
      times = [];
      attempts = 0;
    },
  };
}
