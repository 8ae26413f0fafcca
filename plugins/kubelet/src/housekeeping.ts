/** The node's own care, on the 10 s beat: pressure and eviction, image garbage collection, log rotation. */
import { readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf } from "@k3s-p/plugin-api";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { podEvent } from "./context.ts";
import { spaceOf } from "./disk-usage.ts";
import { overuses } from "./local-storage.ts";
import { containerLogName, podLogDir } from "./paths.ts";
import { containerNameOf, isStatic, restartCountOf, uidOf } from "./pod.ts";
import type { PodManager } from "./pod-manager.ts";
import type { PodServices } from "./pod-services.ts";
import { podTotal, qosClass } from "./resources.ts";

export interface Housekeeping {
  check(): Promise<void>;
  /** Condition that keeps new pods away. */
  pressure(): string | undefined;
  state(): { readonly diskPressure: boolean; readonly memoryPressure: boolean; readonly pidPressure: boolean };
  /** Removes unused images until usage is below the low mark; also used in tests. */
  collectImages(): Promise<void>;
}

const IMAGE_GC_PERIOD = 300_000;
const IMAGE_MIN_AGE = 120_000;
/** DiskPressure stays for this long after the last time that space was short. */
const PRESSURE_PERIOD = 300_000;
const PID_RESERVE = 100;

export function housekeeping(services: PodServices, manager: PodManager): Housekeeping {
  const { runtime, node, options, clock, log } = services;
  let imagesChecked = 0;
  let shortOfDisk = -Infinity;
  let pidPressure = false;
  /** When an image was first seen unused. */
  const unused = new Map<string, number>();

  const diskPressure = (): boolean => clock.now() - shortOfDisk < PRESSURE_PERIOD;

  async function check(): Promise<void> {
    const space = await spaceOf(node.paths.kubelet);
    if (space.freePercent < options.evictionPercent) await relieveDisk();
    pidPressure = await shortOfPids();
    await rotateLogs();
    for (const { pod, message } of await overuses(services, manager.active())) evict(pod, message, false);
    if (clock.now() - imagesChecked < IMAGE_GC_PERIOD) return;
    imagesChecked = clock.now();
    await collectImages();
  }

  /** Unused images go first; when that is not enough, one pod. */
  async function relieveDisk(): Promise<void> {
    shortOfDisk = clock.now();
    await removeImages(Infinity, 0);
    const space = await spaceOf(node.paths.kubelet);
    if (space.freePercent >= options.evictionPercent) return;
    const victim = evictionOrder(manager.active())[0];
    if (!victim) return;
    const message = "The node was low on resource: ephemeral-storage. Threshold quantity: "
      + `${Math.floor((space.totalBytes * options.evictionPercent) / 100)}, available: ${Math.floor(space.freeBytes / 1024)}Ki. `;
    evict(victim, message, true);
  }

  function evict(pod: Pod, message: string, isDisruption: boolean): void {
    podEvent(services, pod, "Warning", "Evicted", message);
    services.figures.evicted(isDisruption ? "nodefs.available" : "ephemeralcontainerfs.limit");
    manager.worker(uidOf(pod))?.fail({ phase: "Failed", reason: "Evicted", message, isDisruption });
  }

  async function collectImages(): Promise<void> {
    const asOf = clock.now();
    await services.images.present(new Set((await runtime.listImages()).map(({ id }) => id)), asOf);
    const { mountpoint } = await runtime.imageFsInfo();
    const space = await spaceOf(mountpoint || node.paths.kubelet);
    const used = 100 - space.freePercent;
    if (used < options.imageGcHighPercent) return void (await removeImages(0, IMAGE_MIN_AGE));
    await removeImages(((used - options.imageGcLowPercent) / 100) * space.totalBytes, IMAGE_MIN_AGE);
  }

  /** Longest unused first; what a container uses, and the sandbox image, stay. */
  async function removeImages(bytes: number, minAge: number): Promise<void> {
    const containers = await runtime.listContainers();
    const inUse = new Set(containers.flatMap((c) => [c.image, c.imageRef]));
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
      if (freed >= bytes) return;
      if (clock.now() - unused.get(image.id)! < minAge) continue;
      await runtime.removeImage(image.id);
      unused.delete(image.id);
      freed += image.size;
    }
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
    pressure: () => (diskPressure() ? "DiskPressure" : undefined),
    state: () => ({ diskPressure: diskPressure(), memoryPressure: false, pidPressure }),
  };
}

async function shortOfPids(): Promise<boolean> {
  const max = Number(await readFile("/proc/sys/kernel/pid_max", "utf8").catch(() => "0"));
  const running = Number(/\/(\d+) /.exec(await readFile("/proc/loadavg", "utf8").catch(() => ""))?.[1] ?? 0);
  return max > 0 && max - running < PID_RESERVE;
}

const qosRank = { BestEffort: 0, Burstable: 1, Guaranteed: 2 } as const;

/** Lowest priority first, then the least guaranteed, then the one that asked for least; static and critical pods never. */
export function evictionOrder(pods: readonly Pod[]): Pod[] {
  const wanted = (pod: Pod): number => podTotal(pod, "requests", "ephemeral-storage");
  return pods
    .filter((pod) => !isStatic(pod) && (pod.spec?.priority ?? 0) < 2_000_000_000)
    .sort((a, b) => (a.spec?.priority ?? 0) - (b.spec?.priority ?? 0) || qosRank[qosClass(a)] - qosRank[qosClass(b)] || wanted(a) - wanted(b));
}

/** `0.log` becomes `0.log.<time>`; at most `files` logs stay, the running one included. */
export async function rotate(path: string, now: Date, files: number): Promise<void> {
  const stamp = now.toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  await rename(path, `${path}.${stamp}`);
  const folder = dirname(path);
  const old = (await readdir(folder)).filter((name) => name.startsWith(`${basename(path)}.`)).sort();
  for (const name of old.slice(0, Math.max(0, old.length - (files - 1)))) await rm(join(folder, name), { force: true });
}
