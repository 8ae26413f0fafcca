/** What cAdvisor tells of one cgroup beside CPU and memory in use: throttling, kinds of memory, disk, processes; v1 and v2. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { field, read } from "./usage.ts";

export interface CgroupDetails {
  /** Seconds. */
  readonly cpuUser: number;
  readonly cpuSystem: number;
  readonly periods: number;
  readonly throttledPeriods: number;
  readonly throttledSeconds: number;
  /** Microseconds; 0 for no quota. */
  readonly quota: number;
  readonly period: number;
  readonly shares: number;
  readonly memoryCache: number;
  readonly memoryMapped: number;
  readonly memoryMax: number;
  /** Bytes; 0 for no limit. */
  readonly memoryLimit: number;
  readonly memoryFailures: number;
  readonly processes: number;
  readonly threads: number;
  readonly processLimit: number;
  readonly io: readonly DeviceIo[];
}

export interface DeviceIo {
  /** `8:0` */
  readonly device: string;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly reads: number;
  readonly writes: number;
}

/** Of the cgroup itself: the kernel counts those below it in. */
type OwnDetails = Omit<CgroupDetails, "processes">;

/** A file of one number; no limit is 0. */
const number = (text: string): number => {
  const value = Number(text.trim().split(/\s+/)[0]);
  return Number.isFinite(value) && value > 0 && value < 2 ** 60 ? value : 0;
};

/** `path` is relative to a controller's root. */
export async function cgroupDetails(root: string, version: 1 | 2, path: string): Promise<CgroupDetails> {
  const details = version === 1 ? await v1(root, path) : await v2(join(root, path));
  return { ...details, processes: await countProcesses(join(root, version === 1 ? "pids" : "", path)) };
}

async function countProcesses(folder: string): Promise<number> {
  let count = (await read(join(folder, "cgroup.procs"))).split("\n").filter(Boolean).length;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    if (entry.isDirectory()) count += await countProcesses(join(folder, entry.name));
  }
  return count;
}

/** Clock ticks of the kernel's `user` and `system`, a second. */
const TICKS = 100;

async function v1(root: string, path: string): Promise<OwnDetails> {
  const of = (controller: string, name: string): Promise<string> => read(join(root, controller, path, `${controller}.${name}`));
  const [acct, cpu, quota, period, shares, memory, max, limit, failures, pids, pidsMax, bytes, count] = await Promise.all([
    of("cpuacct", "stat"), of("cpu", "stat"), of("cpu", "cfs_quota_us"), of("cpu", "cfs_period_us"), of("cpu", "shares"),
    of("memory", "stat"), of("memory", "max_usage_in_bytes"), of("memory", "limit_in_bytes"), of("memory", "failcnt"),
    of("pids", "current"), of("pids", "max"), of("blkio", "throttle.io_service_bytes_recursive"), of("blkio", "throttle.io_serviced_recursive"),
  ]) as string[];
  return {
    cpuUser: field(acct!, "user") / TICKS, cpuSystem: field(acct!, "system") / TICKS,
    periods: field(cpu!, "nr_periods"), throttledPeriods: field(cpu!, "nr_throttled"), throttledSeconds: field(cpu!, "throttled_time") / 1e9,
    quota: number(quota!), period: number(period!), shares: number(shares!),
    memoryCache: field(memory!, "total_cache"), memoryMapped: field(memory!, "total_mapped_file"), memoryMax: number(max!), memoryLimit: number(limit!),
    memoryFailures: number(failures!), threads: number(pids!), processLimit: number(pidsMax!), io: v1Io(bytes!, count!),
  };
}

/** Lines `8:0 Read 17`, of bytes and of requests. */
function v1Io(bytes: string, count: string): DeviceIo[] {
  const figures = (text: string): Map<string, number> =>
    new Map([...text.matchAll(/^(\d+:\d+) (Read|Write) (\d+)$/gm)].map(([, device, way, value]) => [`${device} ${way}`, Number(value)]));
  const [sizes, requests] = [figures(bytes), figures(count)];
  const devices = [...new Set([...sizes.keys()].map((key) => key.split(" ")[0]!))].sort();
  return devices.map((device) => ({
    device, readBytes: sizes.get(`${device} Read`) ?? 0, writeBytes: sizes.get(`${device} Write`) ?? 0,
    reads: requests.get(`${device} Read`) ?? 0, writes: requests.get(`${device} Write`) ?? 0,
  }));
}

async function v2(folder: string): Promise<OwnDetails> {
  const of = (name: string): Promise<string> => read(join(folder, name));
  const [cpu, cpuMax, weight, memory, peak, limit, events, pids, pidsMax, io] = await Promise.all(
    ["cpu.stat", "cpu.max", "cpu.weight", "memory.stat", "memory.peak", "memory.max", "memory.events", "pids.current", "pids.max", "io.stat"].map(of),
  ) as string[];
  const [quota = "max", period = ""] = cpuMax!.trim().split(/\s+/);
  return {
    cpuUser: field(cpu!, "user_usec") / 1e6, cpuSystem: field(cpu!, "system_usec") / 1e6,
    periods: field(cpu!, "nr_periods"), throttledPeriods: field(cpu!, "nr_throttled"), throttledSeconds: field(cpu!, "throttled_usec") / 1e6,
    quota: number(quota), period: number(period), shares: weightToShares(number(weight!)),
    memoryCache: field(memory!, "file"), memoryMapped: field(memory!, "file_mapped"), memoryMax: number(peak!), memoryLimit: number(limit!),
    memoryFailures: field(events!, "max"), threads: number(pids!), processLimit: number(pidsMax!), io: v2Io(io!),
  };
}

/** Back from KEP-2254's weight. */
const weightToShares = (weight: number): number => (weight === 0 ? 0 : Math.round(2 + ((weight - 1) * 262_142) / 9999));

/** Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4`. */
const v2Io = (text: string): DeviceIo[] => [...text.matchAll(/^(\d+:\d+) (.*)$/gm)].map(([, device = "", list = ""]) => {
  const value = (name: string): number => Number(new RegExp(`\\b${name}=(\\d+)`).exec(list)?.[1] ?? 0);
  return { device, readBytes: value("rbytes"), writeBytes: value("wbytes"), reads: value("rios"), writes: value("wios") };
}).sort((a, b) => a.device.localeCompare(b.device));
