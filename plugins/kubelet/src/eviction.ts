/** Keeps the node from running out: conditions, what can be given back, and one pod a round, as upstream's eviction manager does. */
import type { Pod } from "@k3s-p/plugin-api/kube";
import { gracePeriod, uidOf } from "./pod.ts";
import { metThresholds, signals, type EvictionOptions, type Observations, type PressureCondition, type Signal, type Threshold } from "./thresholds.ts";
import { evictionMessage, victims, type PodUse } from "./victims.ts";

export interface Eviction {
  /** Looks at the node and does what is due: called every ten seconds. */
  check(): Promise<void>;
  /** What the node is short of, or was a short while ago. */
  conditions(): readonly PressureCondition[];
}

export interface EvictionInput {
  readonly options: EvictionOptions;
  now(): number;
  observe(): Promise<Observations>;
  /** Unused images go, whatever their age. */
  reclaimDisk(): Promise<void>;
  pods(): readonly Pod[];
  /** Asked only when a pod has to go. */
  uses(): Promise<readonly PodUse[]>;
  evict(pod: Pod, message: string, graceSeconds: number, signal: Signal): void;
  /** A threshold is met and something is to be done about it. */
  reclaiming(resource: string): void;
}

/** Seconds that a pod has to end which a hard threshold evicts. */
export const IMMEDIATE = 1;

export function eviction(input: EvictionInput): Eviction {
  const { options, now } = input;
  let met: Threshold[] = [];
  const firstMet = new Map<Threshold, number>();
  const lastSeen = new Map<PressureCondition, number>();

  async function check(): Promise<void> {
    const seen = await input.observe();
    met = metThresholds(options.thresholds, seen, met);
    note();
    const due = met.filter((threshold) => now() - firstMet.get(threshold)! >= threshold.grace);
    // Memory cannot wait: the kernel would choose.
    const threshold = due.find(({ signal }) => signal === "memory.available") ?? due[0];
    if (!threshold) return;
    const { condition, resource } = signals[threshold.signal];
    input.reclaiming(resource);
    if (condition === "DiskPressure" && await reclaimed()) return;
    await evictOne(threshold);
  }

  function note(): void {
    for (const threshold of firstMet.keys()) if (!met.includes(threshold)) firstMet.delete(threshold);
    for (const threshold of met) {
      if (!firstMet.has(threshold)) firstMet.set(threshold, now());
      lastSeen.set(signals[threshold.signal].condition, now());
    }
  }

  /** Whether that was enough, with what is to be reclaimed beyond the thresholds. */
  async function reclaimed(): Promise<boolean> {
    await input.reclaimDisk();
    return metThresholds(options.thresholds, await input.observe(), options.thresholds).length === 0;
  }

  async function evictOne(threshold: Threshold): Promise<void> {
    const uses = await input.uses();
    const observed = (await input.observe())[threshold.signal];
    const victim = victims(threshold.signal, input.pods(), uses)[0];
    if (!victim || !observed) return;
    const use = uses.find(({ pod }) => uidOf(pod) === uidOf(victim));
    const grace = threshold.grace === 0 ? IMMEDIATE : Math.min(options.maxPodGrace, gracePeriod(victim));
    input.evict(victim, evictionMessage(threshold, observed, use), grace, threshold.signal);
  }

  return {
    check,
    conditions: () => [...lastSeen].filter(([, at]) => now() - at < options.transition).map(([condition]) => condition).sort(),
  };
}
