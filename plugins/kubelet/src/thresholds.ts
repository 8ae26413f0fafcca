/** When a node is short of something: upstream's eviction signals, their flags, and which thresholds are met. */
import { k3spError } from "@k3s-p/plugin-api";
import { parseNano } from "@k3s-p/plugin-api/kube";

export const signals = {
  "memory.available": { resource: "memory", condition: "MemoryPressure" },
  "nodefs.available": { resource: "ephemeral-storage", condition: "DiskPressure" },
  "nodefs.inodesFree": { resource: "inodes", condition: "DiskPressure" },
  "imagefs.available": { resource: "ephemeral-storage", condition: "DiskPressure" },
  "imagefs.inodesFree": { resource: "inodes", condition: "DiskPressure" },
  "pid.available": { resource: "pids", condition: "PIDPressure" },
} as const;

export type Signal = keyof typeof signals;
export type PressureCondition = (typeof signals)[Signal]["condition"];

/** A share of the capacity, or so many bytes, inodes or processes. */
export type Amount = { readonly percent: number } | { readonly quantity: number };

export interface Threshold {
  readonly signal: Signal;
  readonly value: Amount;
  /** Milliseconds that a soft threshold must be met for; 0 for a hard one. */
  readonly grace: number;
  /** What is reclaimed beyond the threshold once it was met. */
  readonly minReclaim?: Amount;
}

export interface Observation {
  readonly available: number;
  readonly capacity: number;
}
export type Observations = Readonly<Partial<Record<Signal, Observation>>>;

export const amountOf = (amount: Amount, capacity: number): number =>
  "percent" in amount ? Math.floor((capacity * amount.percent) / 100) : amount.quantity;

/** What was met before stays so until its minimum is reclaimed as well. */
export function metThresholds(all: readonly Threshold[], seen: Observations, before: readonly Threshold[]): Threshold[] {
  return all.filter((threshold) => {
    const observed = seen[threshold.signal];
    if (!observed) return false;
    const extra = threshold.minReclaim && before.includes(threshold) ? amountOf(threshold.minReclaim, observed.capacity) : 0;
    return observed.available < amountOf(threshold.value, observed.capacity) + extra;
  });
}

export interface EvictionOptions {
  readonly thresholds: readonly Threshold[];
  /** Milliseconds that a condition stays after it was last seen. */
  readonly transition: number;
  /** Seconds that a pod has to end which a soft threshold evicts. */
  readonly maxPodGrace: number;
}

/** The flags as they were given; what is undefined was not. */
export interface EvictionFlags {
  hard?: string;
  soft?: string;
  softGrace?: string;
  minReclaim?: string;
  transition?: string;
  maxPodGrace?: string;
}

/** K3s's: no threshold for memory, and twice as much is reclaimed as is missing. */
export function evictionOptions(flags: EvictionFlags, defaultPercent: number): EvictionOptions {
  const standard = `imagefs.available<${defaultPercent}%,nodefs.available<${defaultPercent}%`;
  const reclaim = new Map(pairs("eviction-minimum-reclaim", flags.minReclaim ?? "imagefs.available=10%,nodefs.available=10%", "="));
  const graces = new Map(pairs("eviction-soft-grace-period", flags.softGrace ?? "", "="));
  const threshold = (flag: string, [signal, text]: readonly [Signal, string], grace: number): Threshold => {
    const extra = reclaim.get(signal);
    return { signal, value: amount(flag, text), grace, ...(extra !== undefined && { minReclaim: amount("eviction-minimum-reclaim", extra) }) };
  };
  const soft = pairs("eviction-soft", flags.soft ?? "", "<").map((pair) => {
    const grace = graces.get(pair[0]);
    if (grace === undefined) throw invalid("eviction-soft-grace-period", `a grace period is missing for ${pair[0]}`, `write it as ${pair[0]}=1m30s`);
    return threshold("eviction-soft", pair, duration("eviction-soft-grace-period", grace));
  });
  return {
    thresholds: [...pairs("eviction-hard", flags.hard ?? standard, "<").map((pair) => threshold("eviction-hard", pair, 0)), ...soft],
    transition: duration("eviction-pressure-transition-period", flags.transition ?? "5m"),
    maxPodGrace: Number(flags.maxPodGrace ?? 0),
  };
}

function pairs(flag: string, text: string, separator: "<" | "="): (readonly [Signal, string])[] {
  return text.split(",").filter(Boolean).map((part) => {
    const [name = "", value = ""] = part.split(separator).map((each) => each.trim());
    if (!(name in signals)) throw invalid(flag, `"${name}" is no signal of this node`, `supported: ${Object.keys(signals).join(", ")}`);
    if (value === "") throw invalid(flag, `"${part}" has no value`, `write it as SIGNAL${separator}VALUE`);
    return [name as Signal, value];
  });
}

function amount(flag: string, text: string): Amount {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  if (percent !== undefined && Number(percent) <= 100) return { percent: Number(percent) };
  const nanos = percent === undefined && /^\d/.test(text) ? parseNano(text) : undefined;
  if (nanos === undefined) throw invalid(flag, `"${text}" is neither a quantity nor a percentage`, "write it as 100Mi or 5%");
  return { quantity: Number(nanos / 1_000_000_000n) };
}

const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

function duration(flag: string, text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)];
  if (!parts.length || parts.map(([part]) => part).join("") !== text) throw invalid(flag, `"${text}" is not a duration`, "write it as 1m30s");
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * units[unit!]!, 0);
}

const invalid = (flag: string, message: string, hint: string): Error => k3spError("K3SP_FLAG_INVALID", { message: `--kubelet-arg ${flag}: ${message}`, detail: [hint] });
