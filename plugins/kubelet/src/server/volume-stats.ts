/** How full the volumes of a pod are: folders by what lies in them, claims and memory by their file system. */
import type { Pod } from "@k3s-p/plugin-api/kube";
import { folderUsage, remember, spaceOf } from "../disk-usage.ts";
import { namespaceOf, uidOf } from "../pod.ts";
import type { PodServices } from "../pod-services.ts";

export interface VolumeFigures {
  readonly name: string;
  /** The claim behind the volume, as the API names it. */
  readonly pvcRef?: { readonly name: string; readonly namespace: string };
  readonly time: number;
  readonly availableBytes: number;
  readonly capacityBytes: number;
  readonly usedBytes: number;
  readonly inodesFree: number;
  readonly inodes: number;
  readonly inodesUsed: number;
}

/** Upstream looks into folders once a minute. */
const FOLDER_TTL = 60_000;
const SPACE_TTL = 1000;

export type VolumeStats = (pod: Pod) => Promise<readonly VolumeFigures[]>;

export function volumeStats({ volumes, clock }: Pick<PodServices, "volumes" | "clock">): VolumeStats {
  const folders = remember(folderUsage, FOLDER_TTL, clock.now);
  const spaces = remember(spaceOf, SPACE_TTL, clock.now);
  return async (pod) => {
    const found = await Promise.all([...volumes.mounted(uidOf(pod))].map(async ([name, { hostPath, usage, claim }]): Promise<VolumeFigures[]> => {
      if (!usage) return [];
      const space = await spaces.of(hostPath);
      const folder = usage === "folder" ? await folders.of(hostPath) : undefined;
      if (!space || (usage === "folder" && !folder)) return [];
      return [{
        name, ...(claim !== undefined && { pvcRef: { name: claim, namespace: namespaceOf(pod) } }), time: clock.now(),
        availableBytes: space.freeBytes, capacityBytes: space.totalBytes, usedBytes: folder?.bytes ?? space.usedBytes,
        inodesFree: space.inodesFree, inodes: space.inodes, inodesUsed: folder?.inodes ?? space.inodes - space.inodesFree,
      }];
    }));
    return found.flat().sort((a, b) => a.name.localeCompare(b.name));
  };
}
