/** Limits of what pods may write to the node's disk: emptyDir sizes and `ephemeral-storage`, kept by eviction as upstream does. */
import { join } from "node:path";
import { formatNano, quantityValue, type Pod } from "@k3s-p/plugin-api/kube";
import { folderUsage } from "./disk-usage.ts";
import { podLogDir, volumeDir } from "./paths.ts";
import { allContainers, containerNameOf, newest, uidOf } from "./pod.ts";
import type { PodServices } from "./pod-services.ts";
import { podTotal } from "./resources.ts";

type Storage = Pick<PodServices, "node" | "runtime" | "view">;

const STORAGE = "ephemeral-storage";

/** Folders of volumes that count as the pod's own, below its volumes. */
const countedVolumes = { emptyDir: "empty-dir", configMap: "configmap" } as const;

export interface Overuse {
  readonly pod: Pod;
  /** Why the pod is evicted. */
  readonly message: string;
  /** Upstream's name of the limit. */
  readonly signal: string;
}

type Found = Omit<Overuse, "pod">;

/** Pods that have written more than they may. */
export async function overuses(services: Storage, pods: readonly Pod[]): Promise<Overuse[]> {
  const limited = pods.filter((pod) => allContainers(pod).some(({ spec }) => spec.resources?.limits?.[STORAGE] !== undefined));
  const writable = new Map(limited.length === 0 ? [] : (await services.runtime.listContainerStats()).map((s) => [s.id, s.writableLayerBytes ?? 0]));
  const found = await Promise.all(pods.map(async (pod) => {
    const found = await emptyDirOveruse(services, pod) ?? (limited.includes(pod) ? await limitOveruse(services, pod, writable) : undefined);
    return found ? [{ pod, ...found }] : [];
  }));
  return found.flat();
}

async function emptyDirOveruse({ node }: Storage, pod: Pod): Promise<Found | undefined> {
  for (const { name, emptyDir } of pod.spec?.volumes ?? []) {
    const limit = emptyDir?.medium === "Memory" ? undefined : emptyDir?.sizeLimit;
    if (limit === undefined || quantityValue(limit) === 0) continue;
    const used = (await folderUsage(volumeDir(node.paths, uidOf(pod), "empty-dir", name))).bytes;
    if (used > quantityValue(limit)) return { signal: "emptydirfs.limit", message: `Usage of EmptyDir volume "${name}" exceeds the limit "${limit}". ` };
  }
  return undefined;
}

/** Containers count with their writable layer and logs, the pod with its volumes too. */
async function limitOveruse({ node, view }: Storage, pod: Pod, writable: ReadonlyMap<string, number>): Promise<Found | undefined> {
  let total = 0;
  let over: Found | undefined;
  for (const { spec } of allContainers(pod)) {
    const current = newest(view.pod(uidOf(pod)).containers, spec.name);
    if (!current) continue;
    const used = (writable.get(current.id) ?? 0) + (await folderUsage(join(podLogDir(node.paths, pod), containerNameOf(current)))).bytes;
    const limit = spec.resources?.limits?.[STORAGE];
    if (limit !== undefined && used > quantityValue(limit)) {
      over ??= { signal: "ephemeralcontainerfs.limit", message: `Container ${spec.name} exceeded its local ephemeral storage limit "${limit}". ` };
    }
    total += used;
  }
  for (const { name, ...source } of pod.spec?.volumes ?? []) {
    for (const [kind, folder] of Object.entries(countedVolumes)) {
      if (kind in source && source.emptyDir?.medium !== "Memory") total += (await folderUsage(volumeDir(node.paths, uidOf(pod), folder, name))).bytes;
    }
  }
  const limit = podTotal(pod, "limits", STORAGE);
  if (total <= limit) return over;
  const message = `Pod ephemeral local storage usage exceeds the total limit of containers ${formatNano(BigInt(limit) * 1_000_000_000n, "binary")}. `;
  return { signal: "ephemeralpodfs.limit", message };
}
