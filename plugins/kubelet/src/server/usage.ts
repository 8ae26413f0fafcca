/** CPU, memory and network figures of the node and its pods, from the cgroup file systems (v1 and v2) and /proc. */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

export interface Usage {
  /** Unix milliseconds of the sample. */
  readonly time: number;
  readonly cpuNanos: bigint;
  /** Rate since the sample before, when there is one. */
  readonly nanoCores?: number;
  readonly memoryUsage: number;
  readonly workingSet: number;
  readonly rss: number;
  readonly swap: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
}

export interface NetworkUsage {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxErrors: number;
  readonly txBytes: number;
  readonly txErrors: number;
}

export interface NetworkCounts extends NetworkUsage {
  readonly rxPackets: number;
  readonly rxDropped: number;
  readonly txPackets: number;
  readonly txDropped: number;
}

export interface UsageReader {
  node(): Promise<Usage>;
  /** Undefined when the cgroup is gone. */
  cgroup(path: string): Promise<Usage | undefined>;
  /** Turns a cumulative CPU figure into a rate; `key` names the series. */
  rate(key: string, cpuNanos: bigint, time: number): number | undefined;
  network(cgroupPath: string): Promise<readonly NetworkCounts[]>;
  nodeNetwork(): Promise<readonly NetworkCounts[]>;
}

/** Two readings closer than this give no useful rate; the one before is kept. */
const MIN_INTERVAL = 1000;
const MAX_SERIES = 5000;

export function usageReader(root: string, version: 1 | 2, now: () => number): UsageReader {
  const samples = new Map<string, { time: number; cpuNanos: bigint; rate: number | undefined }>();

  function rate(key: string, cpuNanos: bigint, time: number): number | undefined {
    const before = samples.get(key);
    if (before && time - before.time < MIN_INTERVAL) return before.rate;
    const value = before && cpuNanos >= before.cpuNanos
      ? Math.round((Number(cpuNanos - before.cpuNanos) * 1000) / (time - before.time))
      : undefined;
    if (samples.size >= MAX_SERIES) samples.delete(samples.keys().next().value!);
    samples.delete(key);
    samples.set(key, { time, cpuNanos, rate: value });
    return value;
  }

  async function cgroup(path: string): Promise<Usage | undefined> {
    const raw = version === 1 ? await readV1(root, path) : await readV2(root, path);
    if (!raw) return undefined;
    const time = now();
    const nanoCores = rate(path, raw.cpuNanos, time);
    return { ...raw, time, ...(nanoCores !== undefined && { nanoCores }) };
  }

  return {
    rate, cgroup,
    async node() {
      const usage = await cgroup("/");
      const memory = await nodeMemory();
      return { time: now(), cpuNanos: 0n, rss: 0, pageFaults: 0, majorPageFaults: 0, ...usage, ...memory };
    },
    network: async (path) => {
      const pid = await firstPid(join(root, version === 1 ? "memory" : "", path));
      return pid ? readNetwork(`/proc/${pid}/net/dev`) : [];
    },
    nodeNetwork: () => readNetwork("/proc/net/dev"),
  };
}

type Raw = Omit<Usage, "time" | "nanoCores">;

export const read = (path: string): Promise<string> => readFile(path, "utf8").catch(() => "");
/** The number of a line `name 17`. */
export const field = (text: string, name: string): number => Number(new RegExp(`^${name}\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);

async function readV1(root: string, path: string): Promise<Raw | undefined> {
  const [cpu, usage, stat] = await Promise.all([
    read(join(root, "cpuacct", path, "cpuacct.usage")),
    read(join(root, "memory", path, "memory.usage_in_bytes")),
    read(join(root, "memory", path, "memory.stat")),
  ]);
  if (!cpu.trim() && !usage.trim()) return undefined;
  const memoryUsage = Number(usage);
  const workingSet = Math.max(0, memoryUsage - field(stat, "total_inactive_file"));
  return {
    cpuNanos: BigInt(cpu.trim() || 0), memoryUsage, workingSet, rss: field(stat, "total_rss"), swap: field(stat, "total_swap"),
    pageFaults: field(stat, "total_pgfault"), majorPageFaults: field(stat, "total_pgmajfault"),
  };
}

async function readV2(root: string, path: string): Promise<Raw | undefined> {
  const [cpu, current, stat, swap] = await Promise.all(
    ["cpu.stat", "memory.current", "memory.stat", "memory.swap.current"].map((name) => read(join(root, path, name))),
  ) as [string, string, string, string];
  if (!cpu) return undefined;
  const memoryUsage = Number(current);
  const workingSet = Math.max(0, memoryUsage - field(stat, "inactive_file"));
  return {
    cpuNanos: BigInt(field(cpu, "usage_usec")) * 1000n, memoryUsage, workingSet, rss: field(stat, "anon"), swap: Number(swap),
    pageFaults: field(stat, "pgfault"), majorPageFaults: field(stat, "pgmajfault"),
  };
}

/** The root cgroup counts only part of the memory on some kernels, so the node's figures are the kernel's own. */
export async function nodeMemory(): Promise<Pick<Usage, "memoryUsage" | "workingSet" | "swap">> {
  const text = await read("/proc/meminfo");
  const bytes = (name: string): number => field(text, `${name}:`) * 1024;
  const memoryUsage = bytes("MemTotal") - bytes("MemFree");
  return { memoryUsage, workingSet: Math.max(0, memoryUsage - bytes("Inactive\\(file\\)")), swap: bytes("SwapTotal") - bytes("SwapFree") };
}

/** Threads that the machine has, and may have. */
export async function nodeThreads(): Promise<{ readonly max: number; readonly current: number }> {
  const [pidMax, threadsMax, load] = await Promise.all(["sys/kernel/pid_max", "sys/kernel/threads-max", "loadavg"].map((name) => read(`/proc/${name}`)));
  return { max: Math.min(Number(pidMax), Number(threadsMax)), current: Number(/\/(\d+) /.exec(load!)?.[1] ?? 0) };
}

async function firstPid(dir: string): Promise<string | undefined> {
  const own = (await read(join(dir, "cgroup.procs"))).split("\n")[0];
  if (own) return own;
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
    const pid = entry.isDirectory() ? await firstPid(join(dir, entry.name)) : undefined;
    if (pid) return pid;
  }
  return undefined;
}

async function readNetwork(path: string): Promise<NetworkCounts[]> {
  return (await read(path)).split("\n").slice(2).flatMap((line) => {
    const [name, figures] = line.split(":");
    if (!name || !figures || name.trim() === "lo") return [];
    const n = figures.trim().split(/\s+/).map(Number);
    return [{
      name: name.trim(), rxBytes: n[0]!, rxPackets: n[1]!, rxErrors: n[2]!, rxDropped: n[3]!, txBytes: n[8]!, txPackets: n[9]!, txErrors: n[10]!, txDropped: n[11]!,
    }];
  });
}
