/** Usage from two readings, or from one when there is only one. */
import { formatNano } from "@k3s-p/plugin-api/kube";
import type { Reading } from "./summary.ts";

export interface Usage {
  /** Nanocores. */
  readonly cpu: number;
  readonly memory: number;
  /** Unix milliseconds. */
  readonly time: number;
  /** Length of the time that the CPU figure covers, milliseconds. */
  readonly window: number;
}

/** What a kubelet's momentary figure is taken to cover, milliseconds. */
const momentary = 10_000;

/**
 * The rate between two readings; of a container that has one only, the kubelet's momentary figure (0 = it knows none
 * yet), else the mean since its start. Undefined when nothing is known of the CPU.
 */
export function usageOf(latest: Reading, previous: Reading | undefined): Usage | undefined {
  const { time, workingSetBytes: memory, nanoCores } = latest;
  const rate = rateBetween(latest, previous);
  if (rate) return { ...rate, memory, time };
  if (nanoCores) return { cpu: nanoCores, memory, time, window: momentary };
  const { startTime, coreNanoSeconds } = latest;
  if (startTime === undefined || coreNanoSeconds === undefined || time <= startTime) return undefined;
  const window = time - startTime;
  return { cpu: Math.round((coreNanoSeconds * 1000) / window), memory, time, window };
}

function rateBetween(latest: Reading, previous: Reading | undefined): { cpu: number; window: number } | undefined {
  const [now, before] = [latest.coreNanoSeconds, previous?.coreNanoSeconds];
  if (!previous || now === undefined || before === undefined || now < before) return undefined;
  if (latest.startTime !== previous.startTime) return undefined;
  const window = latest.time - previous.time;
  return window > 0 ? { cpu: Math.round(((now - before) * 1000) / window), window } : undefined;
}

export const usageList = ({ cpu, memory }: Usage): { cpu: string; memory: string } => ({
  cpu: cpu === 0 ? "0" : `${cpu}n`,
  memory: formatNano(BigInt(memory) * 1_000_000_000n, "binary"),
});

/** metav1.Duration: `15.012s`, `1m5s`. */
export function formatDuration(ms: number): string {
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = `${Number(((ms % 60_000) / 1000).toFixed(3))}s`;
  if (hours) return `${hours}h${minutes}m${seconds}`;
  return minutes ? `${minutes}m${seconds}` : seconds;
}
