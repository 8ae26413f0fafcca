/** `/stats/summary` in upstream's shape (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`). */
import type { FolderUsage, Space } from "../disk-usage.ts";
import { nameOf, namespaceOf, uidOf } from "../pod.ts";
import type { PodServices } from "../pod-services.ts";
import { fromNanos } from "../status.ts";
import type { ContainerFigures, PodFigures, Stats, VolumeFigures } from "./stats.ts";
import { field, nodeThreads, read, type NetworkCounts, type NetworkUsage, type Usage } from "./usage.ts";

type Context = Pick<PodServices, "node" | "runtime" | "clock" | "memoryCapacity" | "cgroups">;

export async function summary(ctx: Context, stats: Stats): Promise<object> {
  const { node, clock, memoryCapacity } = ctx;
  const { usage, network, pods } = await stats.collect();
  const disk = await stats.space(node.paths.kubelet);
  const fs = disk && fileSystem(disk, clock.now());
  return {
    node: {
      nodeName: node.name, startTime: stats.startTime, ...cpuAndMemory(usage, memoryCapacity), swap: await nodeSwap(usage),
      systemContainers: await systemContainers(ctx, stats),
      network: networkStats(network, usage.time), fs, runtime: await runtimeStats(ctx, stats), rlimit: await rlimit(clock.now()),
    },
    pods: await Promise.all(pods.map((pod) => podSummary(stats, pod, fs))),
  };
}

type FileSystem = ReturnType<typeof fileSystem>;

const fileSystem = ({ freeBytes, totalBytes, usedBytes, inodes, inodesFree }: Space, now: number) => ({
  time: at(now), availableBytes: freeBytes, capacityBytes: totalBytes, usedBytes, inodesFree, inodes, inodesUsed: inodes - inodesFree,
});

const at = (ms: number): string => new Date(ms).toISOString();

function cpuAndMemory(usage: Usage, capacity?: number): object {
  const time = at(usage.time);
  return {
    cpu: { time, usageNanoCores: usage.nanoCores ?? 0, usageCoreNanoSeconds: Number(usage.cpuNanos) },
    memory: {
      time, ...(capacity !== undefined && { availableBytes: Math.max(0, capacity - usage.workingSet) }), usageBytes: usage.memoryUsage,
      workingSetBytes: usage.workingSet, rssBytes: usage.rss, pageFaults: usage.pageFaults, majorPageFaults: usage.majorPageFaults,
    },
  };
}

const swapOf = ({ time, swap }: Usage): object => ({ time: at(time), swapUsageBytes: swap });

async function nodeSwap(usage: Usage): Promise<object> {
  return { ...swapOf(usage), swapAvailableBytes: field(await read("/proc/meminfo"), "SwapFree:") * 1024 };
}

/** This process and all pods; the runtime runs in the cgroup of this process. */
async function systemContainers({ cgroups, memoryCapacity }: Context, stats: Stats): Promise<object[]> {
  const pods = await stats.usage(cgroups.top);
  const own = await ownCgroup();
  const self = own === undefined ? undefined : await stats.usage(own);
  return [
    ...(self ? [{ name: "kubelet", startTime: stats.startTime, ...cpuAndMemory(self), swap: swapOf(self) }] : []),
    ...(pods ? [{ name: "pods", startTime: stats.startTime, ...cpuAndMemory(pods, memoryCapacity), swap: swapOf(pods) }] : []),
  ];
}

/** Undefined when this process has none of its own: the topmost cgroup is the whole machine. */
async function ownCgroup(): Promise<string | undefined> {
  const path = /^(?:0:|\d+:(?:[^:]*,)?memory(?:,[^:]*)?):(.*)$/m.exec(await read("/proc/self/cgroup"))?.[1];
  return path === "/" ? undefined : path;
}

async function runtimeStats({ runtime, node, clock }: Context, stats: Stats): Promise<object> {
  const images = await runtime.imageFsInfo().catch(() => undefined);
  const space = await stats.space(images?.mountpoint || node.paths.kubelet);
  if (!space) return {};
  const disk = fileSystem(space, clock.now());
  return { imageFs: { ...disk, ...(images && { usedBytes: images.usedBytes, inodesUsed: images.inodesUsed }) }, containerFs: disk };
}

async function rlimit(now: number): Promise<object> {
  const { max, current } = await nodeThreads();
  return { time: at(now), maxpid: max, curproc: current };
}

async function podSummary(stats: Stats, figures: PodFigures, fs: FileSystem | undefined): Promise<object> {
  const { pod, cgroup, usage, network, containers } = figures;
  const volumes = await stats.volumes(pod);
  const withLogs = await Promise.all(containers.map(async (c) => ({ c, logs: await stats.logs(pod, c.name) })));
  return {
    podRef: { name: nameOf(pod), namespace: namespaceOf(pod), uid: uidOf(pod) },
    startTime: pod.status?.startTime ?? pod.metadata.creationTimestamp ?? null,
    containers: withLogs.map(({ c, logs }) => containerSummary(c, logs, fs)),
    ...(usage && cpuAndMemory(usage)),
    ...(usage && network.length > 0 && { network: networkStats(network, usage.time) }),
    ...(volumes.length > 0 && { volume: volumes.map(volumeSummary) }),
    ...(fs && { "ephemeral-storage": { ...fs, ...(await stats.ownStorage(figures)) } }),
    ...(usage && { process_stats: { process_count: (await stats.details(cgroup)).processes }, swap: swapOf(usage) }),
  };
}

function containerSummary({ name, startedAt, time, cpuNanos, nanoCores, stats: s, usage }: ContainerFigures, logs: FolderUsage, fs: FileSystem | undefined): object {
  const now = at(time);
  return {
    name, startTime: fromNanos(startedAt),
    cpu: { time: now, usageNanoCores: nanoCores ?? 0, usageCoreNanoSeconds: Number(cpuNanos) },
    memory: {
      time: now, usageBytes: s.memoryUsageBytes ?? usage?.memoryUsage ?? s.memoryWorkingSetBytes, workingSetBytes: s.memoryWorkingSetBytes,
      rssBytes: s.memoryRssBytes ?? usage?.rss ?? 0, ...(usage && { pageFaults: usage.pageFaults, majorPageFaults: usage.majorPageFaults }),
    },
    rootfs: { ...fs, usedBytes: s.writableLayerBytes ?? 0, ...(s.writableLayerInodes !== undefined && { inodesUsed: s.writableLayerInodes }) },
    logs: { ...fs, usedBytes: logs.bytes, inodesUsed: logs.inodes },
    ...(usage && { swap: swapOf(usage) }),
  };
}

const volumeSummary = ({ time, pvcRef, name, ...space }: VolumeFigures): object => ({ time: at(time), ...space, name, ...(pvcRef && { pvcRef }) });

function networkStats(interfaces: readonly NetworkCounts[], time: number): object {
  const list = interfaces.map(({ name, rxBytes, rxErrors, txBytes, txErrors }): NetworkUsage => ({ name, rxBytes, rxErrors, txBytes, txErrors }));
  const main = list.find((i) => i.name === "eth0") ?? list[0];
  return { time: at(time), ...main, interfaces: list };
}
