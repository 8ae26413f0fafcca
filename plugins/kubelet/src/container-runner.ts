/** Starts one container and stops one container, with their images, hooks, logs, messages and events. */
import { rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder, messageOf } from "@k3s-p/plugin-api";
import type { ContainerConfig, ContainerStatus, Image, PodSandboxConfig } from "@k3s-p/plugin-api/slots";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { goDuration } from "./backoff.ts";
import { sleep } from "./clock.ts";
import { containerConfig } from "./container-config.ts";
import { podEvent } from "./context.ts";
import type { EnvSources } from "./env.ts";
import { readVolumeFile } from "./env-file.ts";
import { runHook, type Target } from "./handlers.ts";
import { containerLogLink, containerLogName, podLogDir } from "./paths.ts";
import { containerNameOf, formatPod, namespaceOf, newest, restartCountOf, terminationGrace, uidOf, type ContainerRef } from "./pod.ts";
import type { PodServices } from "./pod-services.ts";
import { containerResources } from "./resources.ts";
import type { Waiting } from "./status.ts";
import type { MountedVolumes } from "./volumes/volumes.ts";

export type StartOutcome =
  | { readonly ok: true; readonly id: string }
  | { readonly ok: false; readonly waiting: Waiting; readonly retryAt: number | undefined };

export interface StartRequest {
  readonly pod: Pod;
  readonly ref: ContainerRef;
  readonly sandboxId: string;
  readonly sandbox: PodSandboxConfig;
  readonly volumes: MountedVolumes;
  readonly podIps: readonly string[];
  readonly lastExit: ContainerStatus | undefined;
  readonly signal: AbortSignal;
}

/** A configuration that cannot be made is tried again after this time, or when what it names changes. */
const CONFIG_RETRY = 10_000;
const MIN_STOP_SECONDS = 2;

export async function startContainer(services: PodServices, request: StartRequest): Promise<StartOutcome> {
  const { pod, ref, sandbox, lastExit, signal } = request;
  const wait = crashBackoff(services, request, lastExit);
  if (wait) return wait;
  const image = await abortable(services.images.ensure(pod, ref, sandbox), signal);
  if (!image) return { ok: false, waiting: { reason: "ContainerCreating" }, retryAt: undefined };
  if (!image.ok) return { ok: false, waiting: { reason: image.reason, message: image.message }, retryAt: image.retryAt };
  const restartCount = nextRestartCount(services, pod, ref);
  let id = "";
  for (const [reason, step] of startSteps(services, request, image.image, restartCount)) {
    try {
      id = await step(id);
    } catch (error) {
      podEvent(services, pod, "Warning", "Failed", `Error: ${messageOf(error)}`, ref.fieldPath);
      services.figures.containerFailed(containerTypes[ref.kind], reason);
      if (id) await services.view.refresh(id);
      return { ok: false, waiting: { reason, message: messageOf(error) }, retryAt: services.clock.now() + CONFIG_RETRY };
    }
  }
  await Promise.all([services.view.refresh(id), linkLog(services, pod, ref, id, restartCount)]);
  await removeOldInstances(services, pod, ref);
  return postStart(services, request, id);
}

const containerTypes: Readonly<Record<ContainerRef["kind"], string>> = { container: "container", init: "init_container", ephemeral: "ephemeral_container" };

type Step = (id: string) => Promise<string>;

/** Each step with the waiting reason that its failure gives. */
function startSteps(
  services: PodServices, request: StartRequest, image: Image, restartCount: number,
): readonly (readonly [reason: string, step: Step])[] {
  const { runtime } = services;
  const { pod, ref, sandboxId, sandbox } = request;
  let config: ContainerConfig;
  const event = (reason: string, message: string): void => podEvent(services, pod, "Normal", reason, message, ref.fieldPath);
  return [
    ["CreateContainerConfigError", async () => {
      config = await containerConfig(services, {
        pod, ref, restartCount, image, volumes: request.volumes, memoryCapacity: services.memoryCapacity,
        env: envSources(services, request), ...targetOf(services, pod, ref),
      });
      await makeFolder(join(sandbox.logDirectory, ref.spec.name), 0o755);
      return "";
    }],
    ["CreateContainerError", async () => {
      await removeUnstarted(services, pod, ref);
      const id = await runtime.createContainer(sandboxId, config, sandbox);
      event("Created", `Created container: ${ref.spec.name}`);
      return id;
    }],
    ["RunContainerError", async (id) => {
      await runtime.startContainer(id);
      event("Started", `Started container ${ref.spec.name}`);
      services.figures.containerStarted(containerTypes[ref.kind]);
      return id;
    }],
  ];
}

/** An instance that was made but never started (the server died in between) holds the name of the next one. */
async function removeUnstarted(services: PodServices, pod: Pod, ref: ContainerRef): Promise<void> {
  for (const container of services.view.pod(uidOf(pod)).containers) {
    if (container.state === "CREATED" && containerNameOf(container) === ref.spec.name) await removeContainer(services, pod, container);
  }
}

function crashBackoff(services: PodServices, { pod, ref }: StartRequest, lastExit: ContainerStatus | undefined): StartOutcome | undefined {
  if (!lastExit) return undefined;
  const key = `${uidOf(pod)}/${ref.spec.name}/${ref.spec.image}`;
  const finished = Number(lastExit.finishedAt / 1_000_000n);
  const until = services.restartBackoff.waitUntil(key, finished);
  if (until === undefined) {
    services.restartBackoff.next(key, finished);
    return undefined;
  }
  podEvent(services, pod, "Warning", "BackOff", `Back-off restarting failed container ${ref.spec.name} in pod ${formatPod(pod)}`, ref.fieldPath);
  const delay = goDuration(services.restartBackoff.delay(key));
  const message = `back-off ${delay} restarting failed container=${ref.spec.name} pod=${formatPod(pod)}`;
  return { ok: false, waiting: { reason: "CrashLoopBackOff", message }, retryAt: until };
}

/** One more than the newest instance; when the runtime forgot it, one more than the API knows. */
function nextRestartCount(services: PodServices, pod: Pod, ref: ContainerRef): number {
  const last = newest(services.view.pod(uidOf(pod)).containers, ref.spec.name);
  if (last) return restartCountOf(last) + (last.state === "CREATED" ? 0 : 1);
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  const known = [...containerStatuses, ...initContainerStatuses].find((s) => s.name === ref.spec.name);
  return known?.containerID ? known.restartCount + 1 : 0;
}

function envSources(services: PodServices, { pod, podIps, volumes }: StartRequest): EnvSources {
  const namespace = namespaceOf(pod);
  async function file(name: string, path: string): Promise<string | undefined> {
    const volume = pod.spec?.volumes?.find((v) => v.name === name)?.emptyDir && volumes.get(name);
    if (!volume) throw new Error("not an emptyDir volume of the pod that a container mounts");
    return readVolumeFile(volume.hostPath, path);
  }
  const { objects, node } = services;
  return {
    configMap: (name) => objects.configMap(namespace, name),
    secret: (name) => objects.secret(namespace, name), file,
    services: services.servicesFor(namespace),
    podIps, nodeName: node.name, hostIps: [node.ip], allocatable: services.allocatable(),
  };
}

function targetOf(services: PodServices, pod: Pod, ref: ContainerRef): { targetId?: string } {
  const name = (ref.spec as { targetContainerName?: string }).targetContainerName;
  const target = name ? newest(services.view.pod(uidOf(pod)).containers, name) : undefined;
  return target ? { targetId: target.id } : {};
}

async function linkLog(services: PodServices, pod: Pod, ref: ContainerRef, id: string, restart: number): Promise<void> {
  const { paths } = services.node;
  const link = containerLogLink(paths, pod, ref.spec.name, id);
  try {
    await makeFolder(paths.containerLogs, 0o755);
    await symlink(join(podLogDir(paths, pod), containerLogName(ref.spec.name, restart)), link);
  } catch (error) {
    services.log.debug({ err: messageOf(error), link }, "log symlink not made");
  }
}

/** The running one and the one before it stay (for `lastState` and `logs --previous`). */
async function removeOldInstances(services: PodServices, pod: Pod, ref: ContainerRef): Promise<void> {
  const dead = services.view.pod(uidOf(pod)).containers
    .filter((c) => containerNameOf(c) === ref.spec.name && c.state !== "RUNNING");
  for (const container of dead.slice(1)) await removeContainer(services, pod, container);
}

export async function removeContainer(services: PodServices, pod: Pod, container: ContainerStatus): Promise<void> {
  const { runtime, view, probes, node } = services;
  const name = containerNameOf(container);
  probes.forget(container.id);
  await runtime.removeContainer(container.id);
  await rm(containerLogLink(node.paths, pod, name, container.id), { force: true });
  const log = join(podLogDir(node.paths, pod), containerLogName(name, restartCountOf(container)));
  await rm(log, { force: true });
  await view.refresh(container.id);
}

const targetIn = (request: StartRequest, containerId: string): Target => ({
  pod: request.pod, spec: request.ref.spec, containerId, ip: request.podIps[0] ?? "",
});

/** The container counts as started when its hook has ended; one whose hook fails is killed. */
async function postStart(services: PodServices, request: StartRequest, id: string): Promise<StartOutcome> {
  const { pod, ref, signal } = request;
  const handler = ref.spec.lifecycle?.postStart;
  if (!handler) return { ok: true, id };
  try {
    await abortable(runHook(services.runtime, services.clock, targetIn(request, id), handler, signal), signal);
    return { ok: true, id };
  } catch (error) {
    podEvent(services, pod, "Warning", "FailedPostStartHook", `PostStartHook failed: ${messageOf(error)}`, ref.fieldPath);
    const status = services.view.container(id);
    if (status) await stopContainer(services, { pod, ref, status, message: "FailedPostStartHook", grace: terminationGrace(pod), ip: "" });
    const waiting = { reason: "PostStartHookError", message: messageOf(error) };
    return { ok: false, waiting, retryAt: services.clock.now() };
  }
}

/** Undefined when the signal comes first. */
function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  const aborted = new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined), { once: true }));
  return Promise.race([work, aborted]);
}

/** Changes a running container's resources; memory that it uses is not taken from it. */
export async function resizeContainer(services: PodServices, pod: Pod, ref: ContainerRef, container: ContainerStatus): Promise<void> {
  const resources = containerResources(pod, ref.spec, services.memoryCapacity);
  const limit = resources.memoryLimitInBytes;
  const used = limit === undefined ? 0 : await services.cgroups.memoryInUse(pod, container.id);
  if (limit !== undefined && limit < used) {
    throw new Error(`attempting to set container "${ref.spec.name}" memory limit (${limit}) below current usage (${used})`);
  }
  await services.runtime.updateContainerResources(container.id, resources);
}

export interface StopRequest {
  readonly pod: Pod;
  readonly ref: ContainerRef | undefined;
  readonly status: ContainerStatus;
  /** Text of the `Killing` event; default `Stopping container <name>`. */
  readonly message?: string;
  /** Seconds from now until SIGKILL, preStop included. */
  readonly grace: number;
  readonly ip: string;
  /** What ends before this container is told to; at most the grace period is waited for it. */
  readonly turn?: Promise<unknown>;
  /** Aborted when the grace period is cut short. */
  readonly signal?: AbortSignal;
}

export async function stopContainer(services: PodServices, request: StopRequest): Promise<void> {
  const { pod, ref, status, grace } = request;
  const { runtime, view, probes, clock } = services;
  const name = containerNameOf(status);
  podEvent(services, pod, "Normal", "Killing", request.message ?? `Stopping container ${name}`, ref?.fieldPath ?? `spec.containers{${name}}`);
  probes.release(status.id);
  const begun = clock.now();
  if (ref?.spec.lifecycle?.preStop && grace > 0) await preStop(services, request, ref);
  if (request.turn && grace > 0) await untilTurn(services, request, begun);
  const spent = Math.floor((clock.now() - begun) / 1000);
  const seconds = request.signal?.aborted ? 0 : spent === 0 ? grace : Math.max(MIN_STOP_SECONDS, grace - spent);
  await runtime.stopContainer(status.id, seconds);
  probes.forget(status.id);
  await view.refresh(status.id);
}

/** A cut-short grace period does not end it: then those that come before end at once. */
async function untilTurn({ clock }: PodServices, { turn, grace }: StopRequest, begun: number): Promise<void> {
  const over = new AbortController();
  await Promise.race([turn, sleep(clock, Math.max(0, begun + grace * 1000 - clock.now()), over.signal)]);
  over.abort();
}

/** Runs the hook for at most the grace period. */
async function preStop(services: PodServices, { pod, status, grace, ip, signal }: StopRequest, ref: ContainerRef): Promise<void> {
  const { runtime, clock } = services;
  const over = new AbortController();
  signal?.addEventListener("abort", () => over.abort(), { once: true });
  const target: Target = { pod, spec: ref.spec, containerId: status.id, ip };
  const hook = runHook(runtime, clock, target, ref.spec.lifecycle!.preStop!, over.signal).catch((error: unknown) => {
    if (!over.signal.aborted) podEvent(services, pod, "Warning", "FailedPreStopHook", `PreStopHook failed: ${messageOf(error)}`, ref.fieldPath);
  });
  await Promise.race([hook, sleep(clock, grace * 1000, over.signal)]);
  over.abort();
}
