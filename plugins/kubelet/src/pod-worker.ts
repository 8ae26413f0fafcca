/**
 * The life of one pod on this node, from its first sight to the removal of its last file.
 *
 *     sync --(deleted, deadline, evicted, all containers done)--> terminating --> terminated --(object gone)--> cleaned
 *
 * One turn at a time looks at the spec, at what the runtime runs and at the probes, and does what is missing. Turns
 * are asked for by events alone: the pod changed, a container exited, a probe changed its mind, an object that the
 * pod names changed, a back-off ended. Nothing is remembered that cannot be read again from the runtime, so a new
 * server process takes running pods over as they are.
 */
import { mkdir } from "node:fs/promises";
import { makeFolder, messageOf } from "@k3s-p/plugin-api";
import { timestamp, type Pod } from "@k3s-p/plugin-api/kube";
import { resizeContainer, startContainer, stopContainer } from "./container-runner.ts";
import { podEvent } from "./context.ts";
import { podDir, podLogDir } from "./paths.ts";
import { podActions, type KillAction, type PodActions, type StartAction } from "./pod-actions.ts";
import { allContainers, gracePeriod, isHostNetwork, newest, uidOf, type ContainerRef } from "./pod.ts";
import { releasePod, removePod, stopPod } from "./pod-end.ts";
import { createSandbox, sandboxOf } from "./pod-sandbox.ts";
import type { PodServices, Verdict } from "./pod-services.ts";
import { podResize } from "./resize.ts";
import { isOver, podIps, podStatus, type StatusInput, type Waiting } from "./status.ts";
import { same } from "./status-manager.ts";
import { terminationMessage } from "./termination-message.ts";
import { RETRY, turnsOf } from "./turns.ts";
import { MountError, type MountedVolumes } from "./volumes/volumes.ts";

export interface PodWorker {
  readonly pod: Pod;
  /** A newer version of the pod. */
  update(pod: Pod): void;
  /** The object is gone from the API: stop what runs and clean up. */
  remove(): void;
  /** Something that the pod depends on may have changed. */
  wake(): void;
  /** What made turns fail may be over: the next one does not wait. */
  retry(): void;
  /** An object that the pod names changed: its volumes are brought up to date. */
  refresh(): void;
  /** Ends the pod as Failed. */
  fail(verdict: Verdict): void;
  /** True when the pod uses resources of the node. */
  readonly active: boolean;
  /** The pod waits for room on the node to take its new size. */
  readonly deferred: boolean;
  /** Ends the worker without touching the pod. */
  stop(): void;
}

/** Until a container is tried again whose image cannot come by itself. */
const HOPELESS_RETRY = 30_000;

export function podWorker(services: PodServices, first: Pod, onGone: (uid: string) => void): PodWorker {
  const { runtime, view, probes, clock, node, log } = services;
  const uid = uidOf(first);
  const resize = podResize(first, ({ reason, message }) =>
    podEvent(services, pod, /Deferred|Infeasible|Error/.test(reason) ? "Warning" : "Normal", reason, message));
  /** As the API has it; the pod that runs is of the size that was granted. */
  let desired = first;
  let pod = resize.granted(first);
  let stage: "sync" | "terminating" | "terminated" = "sync";
  let removed = false;
  let verdict: Verdict | undefined;

  /** Ends what a sync is waiting for when the pod is to end. */
  const interrupt = new AbortController();

  const { wake, wakeNow, wakeAt, ...turns } = turnsOf(clock, () => services.figures.timed("turn", { operation_type: "sync" }, turn), (error) =>
    log.warn({ pod: `${pod.metadata.namespace}/${pod.metadata.name}`, err: messageOf(error) }, "pod not synced"));

  async function turn(): Promise<void> {
    if (stage === "sync" && !mustEnd()) await syncPod();
    if (stage === "sync" && mustEnd()) stage = "terminating";
    if (stage === "terminating") await terminatePod();
    if (stage === "terminated") await finishPod();
  }

  function mustEnd(): boolean {
    if (removed || pod.metadata.deletionTimestamp !== undefined) return true;
    verdict ??= deadlineVerdict();
    return verdict !== undefined || isOver(statusInput());
  }

  function deadlineVerdict(): Verdict | undefined {
    const seconds = pod.spec?.activeDeadlineSeconds;
    const started = pod.status?.startTime ?? startTime;
    if (seconds === undefined) return undefined;
    const end = Date.parse(started) + seconds * 1000;
    if (clock.now() < end) return void wakeAt(end);
    const message = "Pod was active on the node longer than the specified deadline";
    podEvent(services, pod, "Normal", "DeadlineExceeded", message);
    return { phase: "Failed", reason: "DeadlineExceeded", message };
  }

  const seen = clock.now();
  const startTime = timestamp(new Date(seen));
  const waiting = new Map<string, Waiting>();
  const messages = new Map<string, string>();

  const statusInput = (): StatusInput => ({
    pod, state: view.pod(uid), waiting, probes, resize, messages, hostIp: node.ip, ended: stage === "terminated",
    now: timestamp(new Date(clock.now())), ...(verdict && { verdict }),
  });

  async function publish(): Promise<void> {
    for (const container of view.pod(uid).containers) {
      if (container.state !== "EXITED" || messages.has(container.id)) continue;
      messages.set(container.id, await terminationMessage(node.paths, container, podLogDir(node.paths, pod)));
    }
    if (removed) return;
    const status = podStatus(statusInput());
    if (status.phase === "Running") countStart();
    services.publish(pod, status);
  }

  /** Once, of a pod that did not run when it was first seen. */
  let counted = first.status?.phase === "Running";

  function countStart(): void {
    if (counted) return;
    counted = true;
    const made = Date.parse(first.metadata.creationTimestamp ?? "") || seen;
    services.figures.podStarted((clock.now() - seen) / 1000, Math.max(0, clock.now() - made) / 1000);
  }

  let admitted = false;
  let mounted: MountedVolumes | undefined;
  let stale = true;

  async function syncPod(): Promise<void> {
    if (!admitted && view.pod(uid).sandboxes.length === 0) verdict = services.admit(pod);
    if (!admitted && verdict) podEvent(services, pod, "Warning", verdict.reason, verdict.message);
    admitted = true;
    considerSize();
    if (verdict || !replacesContainers()) await publish();
    if (verdict) return;
    const problem = isHostNetwork(pod) ? undefined : services.networkProblem();
    if (problem) {
      podEvent(services, pod, "Warning", "NetworkNotReady", `network is not ready: ${problem}`);
      return;
    }
    await prepare();
    if (interrupt.signal.aborted) return;
    await runContainers();
    await publish();
  }

  function considerSize(): void {
    if (!resize.consider(desired, services.refuseResize)) return;
    pod = resize.granted(desired);
    stale = true;
  }

  /** What such a pod says before it has done so is out of date in a moment, and would meet the writes of whoever changed it. */
  const replacesContainers = (): boolean => !resize.inProgress && !resize.deferred && nextActions().kill.some(({ ref }) => ref !== undefined);

  const nextActions = (): PodActions => podActions(pod, view.pod(uid), probes, (ref) => resize.open(ref) === "restart");

  /** Folders, cgroups and volumes. */
  async function prepare(): Promise<void> {
    const tokensDue = services.volumes.refreshAt(uid) ?? Infinity;
    if (mounted && !stale && tokensDue > clock.now()) return;
    services.objects.acquire(uid, pod);
    await services.cgroups.ensurePod(pod, resize.inForce(pod));
    await makeFolder(podLogDir(node.paths, pod), 0o755);
    await mkdir(podDir(node.paths, uid), { recursive: true, mode: 0o750 });
    stale = false;
    try {
      mounted = await services.volumes.mount(pod);
    } catch (error) {
      stale = true;
      if (!(error instanceof MountError)) throw error;
      podEvent(services, pod, "Warning", "FailedMount", error.message);
      // A pod that runs keeps its old contents while the new ones cannot be had.
      if (!mounted) throw error;
      wakeAt(clock.now() + RETRY[1]);
    }
  }

  async function runContainers(): Promise<void> {
    const before = nextActions();
    for (const kill of before.kill) await killOne(kill);
    if (before.createSandbox !== undefined) await createSandbox(services, pod, before.createSandbox);
    const { start } = before.createSandbox === undefined ? before : podActions(pod, view.pod(uid), probes);
    for (const action of start) {
      if (interrupt.signal.aborted) return;
      const held = holds.get(action.ref.spec.name) ?? 0;
      if (held > clock.now()) wakeAt(held);
      else await startOne(action);
    }
    watchContainers();
    await applySizes();
    const due = services.volumes.refreshAt(uid);
    if (due !== undefined) wakeAt(due);
  }

  async function killOne({ ref, status: container, message, grace = gracePeriod(pod) }: KillAction): Promise<void> {
    await stopContainer(services, { pod, ref, status: container, message, grace, ip: ip() });
  }

  const ip = (): string => podIps(pod, view.pod(uid).sandboxes, node.ip)[0] ?? "";

  async function startOne({ ref, lastExit }: StartAction): Promise<void> {
    const sandbox = view.pod(uid).sandboxes[0]!;
    const result = await startContainer(services, {
      pod, ref, lastExit, sandboxId: sandbox.id, sandbox: sandboxOf(services, pod, sandbox.metadata.attempt), volumes: mounted!,
      podIps: podIps(pod, view.pod(uid).sandboxes, node.ip), signal: interrupt.signal,
    });
    holds.delete(ref.spec.name);
    if (result.ok) {
      waiting.delete(ref.spec.name);
      resize.setActuated(ref);
    } else {
      waiting.set(ref.spec.name, result.waiting);
      retryAt(ref.spec.name, result.retryAt ?? clock.now() + HOPELESS_RETRY);
    }
    // What the API shows must not wait for the containers that come after this one.
    if (ref.kind === "init") await publish();
  }

  /** When a container that did not start is tried again, whatever wakes the worker before; a changed object ends it. */
  const holds = new Map<string, number>();

  function retryAt(name: string, at: number): void {
    if (at <= clock.now()) wake();
    else {
      holds.set(name, at);
      wakeAt(at);
    }
  }

  /** Probes follow the running containers. */
  function watchContainers(): void {
    for (const ref of allContainers(pod)) {
      const current = newest(view.pod(uid).containers, ref.spec.name);
      if (current?.state !== "RUNNING") continue;
      const startedAt = Number(current.startedAt / 1_000_000n);
      probes.watch({ pod, spec: ref.spec, containerId: current.id, ip: ip() }, ref, startedAt);
    }
  }

  /** Brings running containers to their granted size in place; the pod's own limits made room before, and come down last. */
  async function applySizes(): Promise<void> {
    if (!resize.inProgress) return;
    let error: string | undefined;
    for (const ref of allContainers(pod)) {
      const current = newest(view.pod(uid).containers, ref.spec.name);
      if (current?.state !== "RUNNING" || resize.open(ref) !== "update") continue;
      try {
        await resizeContainer(services, pod, ref, current);
        resize.setActuated(ref);
      } catch (failure) {
        error = messageOf(failure);
      }
    }
    resize.setError(error);
    if (error !== undefined) return wakeAt(clock.now() + RETRY[1]);
    if (allContainers(pod).some((ref) => isRunning(ref) && resize.open(ref) !== "no")) return;
    await services.cgroups.ensurePod(pod);
    resize.complete(pod);
    services.roomMade();
  }

  const isRunning = (ref: ContainerRef): boolean => newest(view.pod(uid).containers, ref.spec.name)?.state === "RUNNING";

  let stopping: { readonly grace: number; readonly cut: AbortController } | undefined;

  async function terminatePod(): Promise<void> {
    const cut = new AbortController();
    const grace = removed ? Math.max(1, gracePeriod(pod)) : (verdict?.grace ?? gracePeriod(pod));
    stopping = { grace, cut };
    await publish();
    const unsubscribe = view.onPod(uid, () => void publish());
    await stopPod(services, pod, grace, cut.signal);
    unsubscribe();
    stopping = undefined;
    stage = "terminated";
  }

  /** A second delete with a shorter grace period takes effect at once. */
  function cutGraceShort(): void {
    if (!stopping) return;
    const left = gracePeriod(pod);
    if (left >= stopping.grace) return;
    stopping.cut.abort();
    for (const container of view.pod(uid).containers) {
      if (container.state === "RUNNING") void runtime.stopContainer(container.id, left).catch(() => {});
    }
  }

  let released = false;
  let deleted = false;

  async function finishPod(): Promise<void> {
    if (!released) {
      await publish();
      await releasePod(services, pod);
      released = true;
      services.roomMade();
    }
    if (removed) {
      await removePod(services, pod);
      stop();
      return onGone(uid);
    }
    if (pod.metadata.deletionTimestamp === undefined || deleted) return;
    await services.published(pod);
    await services.deleteFromApi(pod);
    deleted = true;
  }

  function stop(): void {
    turns.stop();
    interrupt.abort();
    for (const container of view.pod(uid).containers) probes.forget(container.id);
  }

  function end(): void {
    interrupt.abort();
    cutGraceShort();
    wakeNow();
  }

  return {
    get pod() {
      return pod;
    },
    get active() {
      return stage === "sync" || stage === "terminating";
    },
    get deferred() {
      return stage === "sync" && resize.deferred;
    },
    update(next) {
      const before = desired;
      desired = next;
      pod = resize.granted(next);
      const visible = (p: Pod): unknown => [p.metadata.generation, p.metadata.labels, p.metadata.annotations, p.spec];
      const changed = !same(visible(before), visible(next));
      if (changed) holds.clear();
      stale ||= changed;
      if (next.metadata.deletionTimestamp !== undefined) end();
      else if (changed) wakeNow();
      else wake();
    },
    remove() {
      removed = true;
      end();
    },
    wake,
    retry: wakeNow,
    refresh() {
      stale = true;
      holds.clear();
      wakeNow();
    },
    fail(reason) {
      verdict ??= reason;
      end();
    },
    stop,
  };
}
