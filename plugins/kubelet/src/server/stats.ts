/** The figures behind `/stats/summary` and the Prometheus pages, collected from the runtime, the cgroups and the volumes. */
import { join } from "node:path";
import type { ContainerStats } from "@k3s-p/plugin-api/slots";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { folderUsage, remember, spaceOf, type FolderUsage, type Space } from "../disk-usage.ts";
import { podLogDir } from "../paths.ts";
import type { PodManager } from "../pod-manager.ts";
import { containerNameOf, isHostNetwork, labelsOf, uidOf } from "../pod.ts";
import type { PodServices } from "../pod-services.ts";
import { cgroupDetails, type CgroupDetails } from "./cgroup-details.ts";
import { usageReader, type NetworkCounts, type Usage } from "./usage.ts";
import { volumeStats, type VolumeFigures, type VolumeStats } from "./volume-stats.ts";

export interface ContainerFigures {
  readonly name: string;
  readonly id: string;
  readonly image: string;
  /** Below a controller's root. */
  readonly cgroup: string;
  readonly startedAt: bigint;
  readonly time: number;
  readonly cpuNanos: bigint;
  readonly nanoCores?: number;
  readonly stats: ContainerStats;
  /** Undefined when its cgroup is not where the kubelet put it. */
  readonly usage: Usage | undefined;
}

export interface PodFigures {
  readonly pod: Pod;
  readonly cgroup: string;
  readonly sandboxId: string;
  readonly usage: Usage | undefined;
  readonly network: readonly NetworkCounts[];
  readonly containers: readonly ContainerFigures[];
}

export interface NodeFigures {
  readonly usage: Usage;
  readonly network: readonly NetworkCounts[];
  readonly pods: readonly PodFigures[];
}

export interface Stats {
  collect(): Promise<NodeFigures>;
  /** A cgroup by its path, for what is not a pod. */
  usage(path: string): Promise<Usage | undefined>;
  details(path: string): Promise<CgroupDetails>;
  readonly volumes: VolumeStats;
  /** What counts against the pod's limits: layers, logs, and volumes that are neither claims nor memory. */
  ownStorage(figures: PodFigures): Promise<{ readonly usedBytes: number; readonly inodesUsed: number }>;
  /** Logs of one container. */
  logs(pod: Pod, container: string): Promise<FolderUsage>;
  space(path: string): Promise<Space | undefined>;
  readonly startTime: string;
}

export type { VolumeFigures };

/** Upstream looks into log folders once a minute. */
const LOGS_TTL = 60_000;

export function stats(services: PodServices, manager: PodManager): Stats {
  const { runtime, node, view, cgroups, cgroupRoot, clock } = services;
  const reader = usageReader(cgroupRoot, cgroups.version, clock.now);
  const logs = remember(folderUsage, LOGS_TTL, clock.now);
  const spaces = remember(spaceOf, 0, clock.now);

  async function collect(): Promise<NodeFigures> {
    const byPod = Map.groupBy(await runtime.listContainerStats(), (s) => s.labels[labelsOf.podUid] ?? "");
    const active = manager.pods().filter((pod) => view.pod(uidOf(pod)).sandboxes.some((s) => s.state === "READY"));
    const pods = await Promise.all(active.map((pod) => podFigures(pod, byPod.get(uidOf(pod)) ?? [])));
    return { usage: await reader.node(), network: await reader.nodeNetwork(), pods };
  }

  async function podFigures(pod: Pod, list: readonly ContainerStats[]): Promise<PodFigures> {
    const cgroup = cgroups.pathOf(pod);
    const { sandboxes, containers: known } = view.pod(uidOf(pod));
    const containers = await Promise.all(list.map(async (s): Promise<ContainerFigures[]> => {
      const status = known.find((c) => c.id === s.id && c.state === "RUNNING");
      if (!status) return [];
      const time = Number(s.timestamp / 1_000_000n);
      const nanoCores = reader.rate(s.id, s.cpuUsageCoreNanoSeconds, time);
      return [{
        name: containerNameOf(status), id: s.id, image: status.image, cgroup: join(cgroup, s.id), startedAt: status.startedAt, time, stats: s,
        cpuNanos: s.cpuUsageCoreNanoSeconds, usage: await reader.cgroup(join(cgroup, s.id)), ...(nanoCores !== undefined && { nanoCores }),
      }];
    }));
    return {
      pod, cgroup, sandboxId: sandboxes[0]?.id ?? "", usage: await reader.cgroup(cgroup),
      network: isHostNetwork(pod) ? [] : await reader.network(cgroup), containers: containers.flat().sort((a, b) => a.name.localeCompare(b.name)),
    };
  }

  const volumes = volumeStats(services);
  const logsOf = async (pod: Pod, container: string): Promise<FolderUsage> =>
    (await logs.of(join(podLogDir(node.paths, pod), container))) ?? { bytes: 0, inodes: 0 };

  async function ownStorage({ pod, containers }: PodFigures): Promise<{ usedBytes: number; inodesUsed: number }> {
    const inMemory = new Set((pod.spec?.volumes ?? []).filter(({ emptyDir }) => emptyDir?.medium === "Memory").map(({ name }) => name));
    const own = (await volumes(pod)).filter(({ pvcRef, name }) => !pvcRef && !inMemory.has(name)).map((v) => [v.usedBytes, v.inodesUsed]);
    const layers = containers.map(({ stats: s }) => [s.writableLayerBytes ?? 0, s.writableLayerInodes ?? 0]);
    const written = (await Promise.all(containers.map(({ name }) => logsOf(pod, name)))).map(({ bytes, inodes }) => [bytes, inodes]);
    const [usedBytes, inodesUsed] = [...own, ...layers, ...written].reduce(([b, i], [bytes, inodes]) => [b! + bytes!, i! + inodes!], [0, 0]);
    return { usedBytes: usedBytes!, inodesUsed: inodesUsed! };
  }

  return {
    collect, usage: reader.cgroup, volumes, space: spaces.of, logs: logsOf, ownStorage,
    details: (path) => cgroupDetails(cgroupRoot, cgroups.version, path),
    startTime: new Date(clock.now() - process.uptime() * 1000).toISOString(),
  };
}
