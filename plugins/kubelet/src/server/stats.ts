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

  return {
    collect, usage: reader.cgroup, volumes: volumeStats(services), space: spaces.of,
    details: (path) => cgroupDetails(cgroupRoot, cgroups.version, path),
    logs: async (pod, container) => (await logs.of(join(podLogDir(node.paths, pod), container))) ?? { bytes: 0, inodes: 0 },
    startTime: new Date(clock.now() - process.uptime() * 1000).toISOString(),
  };
}
