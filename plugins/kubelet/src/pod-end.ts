/** The end of a pod: its containers stop in their order, then what it held is given back, then its last traces go. */
import { rm } from "node:fs/promises";
import type { Pod } from "@k3s-p/plugin-api/kube";
import type { ContainerStatus } from "@k3s-p/plugin-api/slots";
import { removeContainer, stopContainer } from "./container-runner.ts";
import { podLogDir } from "./paths.ts";
import { allContainers, containerNameOf, uidOf, type ContainerRef } from "./pod.ts";
import type { PodServices } from "./pod-services.ts";
import { podIps } from "./status.ts";

/**
 * Containers first, all at once; then sidecars, the last one first; then the sandbox. The preStop hooks of all of them
 * begin at once. `cut` ends the wait for a grace period.
 */
export async function stopPod(services: PodServices, pod: Pod, grace: number, cut: AbortSignal): Promise<void> {
  const { clock, node, runtime, view } = services;
  const uid = uidOf(pod);
  const end = clock.now() + grace * 1000;
  const running = view.pod(uid).containers.filter((c) => c.state === "RUNNING");
  const refOf = (c: ContainerStatus): ContainerRef | undefined =>
    allContainers(pod).find((ref) => ref.spec.name === containerNameOf(c));
  const stop = (container: ContainerStatus, turn?: Promise<unknown>): Promise<void> => stopContainer(services, {
    pod, ...(turn && { turn }), ref: refOf(container), status: container, ip: podIps(pod, view.pod(uid).sandboxes, node.ip)[0] ?? "", signal: cut,
    grace: Math.max(0, Math.ceil((end - clock.now()) / 1000)),
  });
  let before: Promise<unknown> = Promise.all(running.filter((c) => !refOf(c)?.sidecar).map((c) => stop(c)));
  const order = allContainers(pod).filter((ref) => ref.sidecar).map((ref) => ref.spec.name).reverse();
  for (const name of order) {
    const turn = before;
    before = Promise.all([turn, ...running.filter((c) => containerNameOf(c) === name).map((c) => stop(c, turn))]);
  }
  await before;
  for (const sandbox of view.pod(uid).sandboxes) {
    if (sandbox.state === "READY") await runtime.stopPodSandbox(sandbox.id);
    await view.refresh(sandbox.id);
  }
}

/** Volumes, cgroups and everything that is remembered of the pod; its containers stay for their logs. */
export async function releasePod(services: PodServices, pod: Pod): Promise<void> {
  const uid = uidOf(pod);
  await services.volumes.unmount(uid);
  await services.cgroups.removePod(uid);
  services.objects.release(uid);
  services.images.forget(uid);
  services.restartBackoff.forget(`${uid}/`);
}

/** Containers, sandboxes, folders and logs. */
export async function removePod(services: PodServices, pod: Pod): Promise<void> {
  const { node, runtime, view } = services;
  const uid = uidOf(pod);
  for (const container of view.pod(uid).containers) await removeContainer(services, pod, container);
  for (const sandbox of view.pod(uid).sandboxes) {
    await runtime.removePodSandbox(sandbox.id);
    await view.refresh(sandbox.id);
  }
  await services.volumes.remove(uid);
  await rm(podLogDir(node.paths, pod), { recursive: true, force: true });
}
