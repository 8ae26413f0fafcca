/** The node's own care, on the 10 s beat: pressure and eviction, image garbage collection, log rotation. */
import { readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf } from "@k3s-p/plugin-api";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { podEvent } from "./context.ts";
import type { Space } from "./disk-usage.ts";
import { eviction, IMMEDIATE } from "./eviction.ts";
import { overuses } from "./local-storage.ts";
import { containerLogName, podLogDir } from "./paths.ts";
import { containerNameOf, restartCountOf, uidOf } from "./pod.ts";
import type { PodManager } from "./pod-manager.ts";
import type { PodServices } from "./pod-services.ts";
import type { Stats } from "./server/stats.ts";
import { nodeMemory, nodeThreads } from "./server/usage.ts";
import type { Observation, Observations, PressureCondition } from "./thresholds.ts";
import type { PodUse } from "./victims.ts";

export interface Housekeeping {
  check(): Promise<void>;
  /** Conditions that keep new pods away. */
  pressure(): readonly PressureCondition[];
  state(): { readonly diskPressure: boolean; readonly memoryPressure: boolean; readonly pidPressure: boolean };
  /** Removes unused images until usage is below the low mark; also used in tests. */
  collectImages(): Promise<void>;
}

const IMAGE_GC_PERIOD = 300_000;
const IMAGE_MIN_AGE = 120_000;

type NodeEvent = (reason: string, message: string) => void;

export function housekeeping(services: PodServices, manager: PodManager, stats: Stats, nodeEvent: NodeEvent): Housekeeping {
  const { runtime, node, options, clock, log, memoryCapacity, figures } = services;
  let imagesChecked = 0;
  /** When an image was first seen unused. */
  const unused = new Map<string, number>();
  let imageFs: string | undefined;
  const keeper = eviction({
    options: options.eviction, now: clock.now, observe, pods: manager.active, uses: () => podUses(stats),
    reclaimDisk: async () => void (await removeImages(Infinity, 0)),
    evict: (pod, message, grace, signal) => evict(pod, message, { grace, isDisruption: true, signal }),
    reclaiming: (resource) => nodeEvent("EvictionThresholdMet", `Attempting to reclaim ${resource}`),
  });

  async function check(): Promise<void> {
    await keeper.check();
    await rotateLogs();
    for (const { pod, message, signal } of await overuses(services, manager.active())) evict(pod, message, { grace: IMMEDIATE, isDisruption: false, signal });
    if (clock.now() - imagesChecked < IMAGE_GC_PERIOD) return;
    imagesChecked = clock.now();
    await collectImages();
  }

  async function observe(): Promise<Observations> {
    imageFs ??= await runtime.imageFsInfo().then(({ mountpoint }) => mountpoint || undefined, () => undefined);
    const [disk, images, memory, threads] = await Promise.all([stats.space(node.paths.kubelet), stats.space(imageFs ?? node.paths.kubelet), nodeMemory(), nodeThreads()]);
    return {
      "memory.available": { available: Math.max(0, memoryCapacity - memory.workingSet), capacity: memoryCapacity },
      "pid.available": { available: threads.max - threads.current, capacity: threads.max },
      ...(disk && { "nodefs.available": bytesOf(disk), "nodefs.inodesFree": inodesOf(disk) }),
      ...(images && { "imagefs.available": bytesOf(images), "imagefs.inodesFree": inodesOf(images) }),
    };
  }

  function evict(pod: Pod, message: string, { signal, ...how }: { readonly grace: number; readonly isDisruption: boolean; readonly signal: string }): void {
    podEvent(services, pod, "Warning", "Evicted", message);
    figures.evicted(signal);
    manager.worker(uidOf(pod))?.fail({ phase: "Failed", reason: "Evicted", message, ...how });
  }

  async function collectImages(): Promise<void> {
    const asOf = clock.now();
    await services.images.present(new Set((await runtime.listImages()).map(({ id }) => id)), asOf);
    const { mountpoint } = await runtime.imageFsInfo();
    const space = await stats.space(mountpoint || node.paths.kubelet);
    if (!space) return;
    const used = 100 - space.freePercent;
    if (used < options.imageGcHighPercent) return void (await removeImages(0, IMAGE_MIN_AGE));
    const wanted = Math.floor(((used - options.imageGcLowPercent) / 100) * space.totalBytes);
    const freed = await removeImages(wanted, IMAGE_MIN_AGE);
    if (freed >= wanted) return;
    nodeEvent("FreeDiskSpaceFailed", `Failed to garbage collect required amount of images. Attempted to free ${wanted} bytes, but only found ${freed} bytes eligible to free.`);
  }

  /** Longest unused first; what a container uses, and the sandbox image, stay. Returns the bytes that were freed. */
  async function removeImages(bytes: number, minAge: number): Promise<number> {
    const containers = await runtime.listContainers();
    const shown = manager.pods().flatMap((pod) => [...services.volumes.mounted(uidOf(pod)).values()].flatMap(({ imageId }) => imageId ?? []));
    const inUse = new Set([...containers.flatMap((c) => [c.image, c.imageRef]), ...shown]);
    const images = (await runtime.listImages()).filter((image) => {
      const names = [image.id, ...image.repoTags, ...image.repoDigests];
      const used = image.pinned || names.some((name) => inUse.has(name) || name === runtime.pauseImage);
      if (used) unused.delete(image.id);
      else if (!unused.has(image.id)) unused.set(image.id, clock.now());
      return !used;
    });
    images.sort((a, b) => unused.get(a.id)! - unused.get(b.id)!);
    let freed = 0;
    for (const image of images) {
      if (freed >= bytes) break;
      if (clock.now() - unused.get(image.id)! < minAge) continue;
      await runtime.removeImage(image.id);
      unused.delete(image.id);
      freed += image.size;
    }
    return freed;
  }

  /** A running log over the limit is renamed and reopened; the oldest ones go. */
  async function rotateLogs(): Promise<void> {
    for (const pod of manager.pods()) {
      for (const container of services.view.pod(uidOf(pod)).containers) {
        if (container.state !== "RUNNING") continue;
        const path = join(podLogDir(node.paths, pod), containerLogName(containerNameOf(container), restartCountOf(container)));
        const size = await stat(path).then((s) => s.size, () => 0);
        if (size < options.logMaxBytes) continue;
        await rotate(path, new Date(clock.now()), options.containerLogMaxFiles);
        await runtime.reopenContainerLog(container.id).catch((error: unknown) => log.warn({ err: messageOf(error), path }, "log not reopened"));
      }
    }
  }

  return {
    check, collectImages,
    pressure: keeper.conditions,
    state() {
      const has = (condition: PressureCondition): boolean => keeper.conditions().includes(condition);
      return { diskPressure: has("DiskPressure"), memoryPressure: has("MemoryPressure"), pidPressure: has("PIDPressure") };
    },
  };
}

const bytesOf = ({ freeBytes, totalBytes }: Space): Observation => ({ available: freeBytes, capacity: totalBytes });
const inodesOf = ({ inodesFree, inodes }: Space): Observation => ({ available: inodesFree, capacity: inodes });

async function podUses(stats: Stats): Promise<PodUse[]> {
  const { pods } = await stats.collect();
  return Promise.all(pods.map(async (figures): Promise<PodUse> => {
    const { pod, usage, cgroup, containers } = figures;
    const { usedBytes, inodesUsed } = await stats.ownStorage(figures);
    return {
      pod, memory: usage?.workingSet ?? 0, disk: usedBytes, inodes: inodesUsed, processes: (await stats.details(cgroup)).processes,
      containers: await Promise.all(containers.map(async ({ name, stats: s }) => ({
        name, memory: s.memoryWorkingSetBytes, disk: (s.writableLayerBytes ?? 0) + (await stats.logs(pod, name)).bytes,
      }))),
    };
  }));
}

/** `0.log` becomes `0.log.<time>`; at most `files` logs stay, the running one included. */
export async function rotate(path: string, now: Date, files: number): Promise<void> {
  const stamp = now.toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  await rename(path, `${path}.${stamp}`);
  const folder = dirname(path);
  const old = (await readdir(folder)).filter((name) => name.startsWith(`${basename(path)}.`)).sort();
  for (const name of old.slice(0, Math.max(0, old.length - (files - 1)))) await rm(join(folder, name), { force: true });
}
