/** `/stats/summary` and the Prometheus pages, made from one collection of figures. */
import type { ContainerStats } from "@k3s-p/plugin-api/slots";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { spaceOf } from "../housekeeping.ts";
import type { PodManager } from "../pod-manager.ts";
import { containerNameOf, isHostNetwork, labelsOf, nameOf, namespaceOf, uidOf } from "../pod.ts";
import type { PodServices } from "../pod-services.ts";
import { fromNanos } from "../status.ts";
import { usageReader, type NetworkUsage, type Usage } from "./usage.ts";

export interface ContainerFigures {
  readonly name: string;
  readonly id: string;
  readonly image: string;
  readonly startedAt: bigint;
  readonly time: number;
  readonly cpuNanos: bigint;
  readonly nanoCores?: number;
  readonly stats: ContainerStats;
}

export interface PodFigures {
  readonly pod: Pod;
  readonly usage: Usage | undefined;
  readonly network: readonly NetworkUsage[];
  readonly containers: readonly ContainerFigures[];
}

export interface NodeFigures {
  readonly usage: Usage;
  readonly network: readonly NetworkUsage[];
  readonly pods: readonly PodFigures[];
}

export interface Stats {
  collect(): Promise<NodeFigures>;
  summary(): Promise<object>;
}

export function stats(services: PodServices, manager: PodManager): Stats {
  const { runtime, node, view, cgroups, cgroupRoot, clock } = services;
  const reader = usageReader(cgroupRoot, cgroups.version, clock.now);
  const startTime = new Date(clock.now() - process.uptime() * 1000).toISOString();

  async function collect(): Promise<NodeFigures> {
    const byPod = Map.groupBy(await runtime.listContainerStats(), (s) => s.labels[labelsOf.podUid] ?? "");
    const active = manager.pods().filter((pod) => view.pod(uidOf(pod)).sandboxes.some((s) => s.state === "READY"));
    const pods = await Promise.all(active.map((pod) => podFigures(pod, byPod.get(uidOf(pod)) ?? [])));
    return { usage: await reader.node(), network: await reader.nodeNetwork(), pods };
  }

  async function podFigures(pod: Pod, list: readonly ContainerStats[]): Promise<PodFigures> {
    const path = cgroups.pathOf(pod);
    const running = view.pod(uidOf(pod)).containers.filter((c) => c.state === "RUNNING");
    const containers = list.flatMap((s) => {
      const status = running.find((c) => c.id === s.id);
      if (!status) return [];
      const time = Number(s.timestamp / 1_000_000n);
      const nanoCores = reader.rate(s.id, s.cpuUsageCoreNanoSeconds, time);
      return [{
        name: containerNameOf(status), id: s.id, image: status.image, startedAt: status.startedAt, time, stats: s,
        cpuNanos: s.cpuUsageCoreNanoSeconds, ...(nanoCores !== undefined && { nanoCores }),
      }];
    });
    containers.sort((a, b) => a.name.localeCompare(b.name));
    return { pod, usage: await reader.cgroup(path), network: isHostNetwork(pod) ? [] : await reader.network(path), containers };
  }

  async function summary(): Promise<object> {
    const figures = await collect();
    const fs = await fileSystem(node.paths.kubelet, clock.now());
    const images = await runtime.imageFsInfo().catch(() => undefined);
    return {
      node: {
        nodeName: node.name, startTime, ...cpuAndMemory(figures.usage, services.memoryCapacity),
        network: networkStats(figures.network, figures.usage.time), fs,
        runtime: { imageFs: { ...fs, ...(images && { usedBytes: images.usedBytes, inodesUsed: images.inodesUsed }) } },
      },
      pods: figures.pods.map((p) => podSummary(p, fs)),
    };
  }

  function podSummary({ pod, usage, network, containers }: PodFigures, fs: FileSystem): object {
    return {
      podRef: { name: nameOf(pod), namespace: namespaceOf(pod), uid: uidOf(pod) },
      startTime: pod.status?.startTime ?? pod.metadata.creationTimestamp ?? null,
      ...(usage && cpuAndMemory(usage)),
      ...(usage && network.length > 0 && { network: networkStats(network, usage.time) }),
      containers: containers.map((c) => containerSummary(c, fs)),
    };
  }

  return { collect, summary };
}

const at = (ms: number): string => new Date(ms).toISOString();

function cpuAndMemory(usage: Usage, capacity?: number): object {
  const time = at(usage.time);
  return {
    cpu: { time, usageNanoCores: usage.nanoCores ?? 0, usageCoreNanoSeconds: Number(usage.cpuNanos) },
    memory: {
      time, usageBytes: usage.memoryUsage, workingSetBytes: usage.workingSet, rssBytes: usage.rss,
      ...(capacity !== undefined && { availableBytes: Math.max(0, capacity - usage.workingSet) }),
    },
  };
}

function containerSummary({ name, startedAt, time, cpuNanos, nanoCores, stats: s }: ContainerFigures, fs: FileSystem): object {
  return {
    name, startTime: fromNanos(startedAt),
    cpu: { time: at(time), usageNanoCores: nanoCores ?? 0, usageCoreNanoSeconds: Number(cpuNanos) },
    memory: {
      time: at(time), usageBytes: s.memoryUsageBytes ?? s.memoryWorkingSetBytes, workingSetBytes: s.memoryWorkingSetBytes,
      ...(s.memoryRssBytes !== undefined && { rssBytes: s.memoryRssBytes }),
    },
    rootfs: { ...fs, usedBytes: s.writableLayerBytes ?? 0 },
  };
}

function networkStats(interfaces: readonly NetworkUsage[], time: number): object {
  const main = interfaces.find((i) => i.name === "eth0") ?? interfaces[0];
  return { time: at(time), ...main, interfaces };
}

interface FileSystem {
  readonly time: string;
  readonly availableBytes: number;
  readonly capacityBytes: number;
  readonly usedBytes: number;
}

async function fileSystem(path: string, now: number): Promise<FileSystem> {
  const { freeBytes, totalBytes } = await spaceOf(path);
  return { time: at(now), availableBytes: freeBytes, capacityBytes: totalBytes, usedBytes: totalBytes - freeBytes };
}
