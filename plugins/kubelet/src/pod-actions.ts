/** What has to be done so that a pod runs as its spec says: a pure function of spec, runtime state and probes. */
import type { Pod } from "@k3s-p/plugin-api/kube";
import type { ContainerStatus, PodSandboxStatus } from "@k3s-p/plugin-api/slots";
import {
  annotationsOf, containerHash, ephemeralContainers, initContainers, isHostNetwork, mainContainers, newest, restarts,
  type ContainerRef,
} from "./pod.ts";
import { probeGrace, type ProbeResults } from "./probes/probes.ts";
import type { PodRuntimeState } from "./runtime-cache.ts";
import { isInitialized } from "./status.ts";

export interface StartAction {
  readonly ref: ContainerRef;
  /** The exit that the restart back-off counts from. */
  readonly lastExit: ContainerStatus | undefined;
}

export interface KillAction {
  readonly ref: ContainerRef | undefined;
  readonly status: ContainerStatus;
  readonly message: string;
  /** Seconds; default the pod's. */
  readonly grace?: number;
}

export interface PodActions {
  /** Number of the sandbox to make; undefined keeps the one that is there. */
  readonly createSandbox: number | undefined;
  readonly kill: readonly KillAction[];
  /** In this order; the next one only after the one before is started. */
  readonly start: readonly StartAction[];
}

const nothing: PodActions = { createSandbox: undefined, kill: [], start: [] };

/** `resized` says of a running container that its new size takes a restart. */
export function podActions(
  pod: Pod, state: PodRuntimeState, probes: ProbeResults, resized: (ref: ContainerRef) => boolean = () => false,
): PodActions {
  const sandbox = state.sandboxes[0];
  if (!sandbox || !isUsable(pod, sandbox, state.sandboxes)) return newSandbox(pod, state);
  const look: Look = { pod, state, probes, resized };
  const started = nextInit(look, sandbox.id);
  const ephemerals = ephemeralContainers(pod)
    .filter((ref) => !newest(state.containers, ref.spec.name))
    .map((ref) => ({ ref, lastExit: undefined }));
  const mains = started.done ? eachMain(look, sandbox.id) : nothing;
  return {
    createSandbox: undefined,
    kill: [...started.kill, ...mains.kill],
    start: [...ephemerals, ...started.start, ...mains.start],
  };
}

interface Look {
  readonly pod: Pod;
  readonly state: PodRuntimeState;
  readonly probes: ProbeResults;
  readonly resized: (ref: ContainerRef) => boolean;
}

/** One ready sandbox with an address, in the network that the spec asks for. */
function isUsable(pod: Pod, sandbox: PodSandboxStatus, all: readonly PodSandboxStatus[]): boolean {
  if (sandbox.state !== "READY") return false;
  if (all.filter((s) => s.state === "READY").length > 1) return false;
  return isHostNetwork(pod) || sandbox.ips.length > 0;
}

function newSandbox(pod: Pod, state: PodRuntimeState): PodActions {
  const attempt = state.sandboxes[0] ? state.sandboxes[0].metadata.attempt + 1 : 0;
  const ran = state.containers.length > 0;
  const never = pod.spec?.restartPolicy === "Never";
  if (attempt > 0 && never && ran) return nothing;
  const finished = mainContainers(pod).every((ref) => {
    const last = newest(state.containers, ref.spec.name);
    return last?.state === "EXITED" && !restarts(pod, ref, last.exitCode);
  });
  if (attempt > 0 && ran && finished) return nothing;
  const running = state.containers.filter((c) => c.state === "RUNNING");
  const message = "Pod sandbox changed, it will be killed and re-created.";
  return { createSandbox: attempt, start: [], kill: running.map((status) => ({ ref: undefined, status, message })) };
}

interface InitStep {
  readonly done: boolean;
  readonly kill: readonly KillAction[];
  readonly start: readonly StartAction[];
}

/** Init containers run one after the other in the current sandbox; a sidecar only has to be started. */
function nextInit(look: Look, sandboxId: string): InitStep {
  const { pod, state, probes } = look;
  const done = isInitialized({ pod, state });
  const kill: KillAction[] = [];
  const start: StartAction[] = [];
  for (const ref of initContainers(pod)) {
    const status = newest(state.containers, ref.spec.name, sandboxId);
    if (ref.sidecar) {
      const step = keepSidecar(look, ref, status);
      kill.push(...step.kill);
      start.push(...step.start);
      if (!done && !(status?.state === "RUNNING" && probes.started(status.id, ref))) return { done: false, kill, start };
      continue;
    }
    if (done || (status?.state === "EXITED" && status.exitCode === 0)) continue;
    const again = !status || (status.state !== "RUNNING" && (status.state !== "EXITED" || restarts(pod, ref, status.exitCode)));
    if (again) start.push({ ref, lastExit: exited(state, ref) });
    return { done: false, kill, start };
  }
  return { done: true, kill, start };
}

function keepSidecar(look: Look, ref: ContainerRef, status: ContainerStatus | undefined): Pick<InitStep, "kill" | "start"> {
  const start = [{ ref, lastExit: exited(look.state, ref) }];
  if (status?.state !== "RUNNING") return { kill: [], start };
  const kill = reasonToKill(look, ref, status, true);
  return kill ? { kill: [kill], start } : { kill: [], start: [] };
}

function eachMain(look: Look, sandboxId: string): Pick<InitStep, "kill" | "start"> {
  const { pod, state } = look;
  const kill: KillAction[] = [];
  const start: StartAction[] = [];
  for (const ref of mainContainers(pod)) {
    const status = newest(state.containers, ref.spec.name);
    const lastExit = exited(state, ref);
    if (!status || status.state === "CREATED") start.push({ ref, lastExit });
    else if (status.state === "EXITED") {
      if (restarts(pod, ref, status.exitCode)) start.push({ ref, lastExit });
    } else if (status.state === "UNKNOWN" || status.podSandboxId !== sandboxId) {
      kill.push({ ref, status, message: `Container ${ref.spec.name} is in unknown state, try killing it before restart` });
      start.push({ ref, lastExit });
    } else {
      const again = restarts(pod, ref, 137);
      const reason = reasonToKill(look, ref, status, again);
      if (reason) kill.push(reason);
      if (reason && again) start.push({ ref, lastExit });
    }
  }
  return { kill, start };
}

const exited = (state: PodRuntimeState, ref: ContainerRef): ContainerStatus | undefined =>
  newest(state.containers.filter((c) => c.state === "EXITED"), ref.spec.name);

function reasonToKill(
  { pod, probes, resized }: Look, ref: ContainerRef, status: ContainerStatus, again: boolean,
): KillAction | undefined {
  const { name } = ref.spec;
  const ending = again ? ", will be restarted" : "";
  if (status.annotations[annotationsOf.hash] !== containerHash(ref.spec)) {
    return { ref, status, message: `Container ${name} definition changed${ending}` };
  }
  if (again && resized(ref)) return { ref, status, message: `Container ${name} resize requires restart` };
  const probe = probes.failed(status.id);
  if (!probe) return undefined;
  return { ref, status, message: `Container ${name} failed ${probe} probe${ending}`, grace: probeGrace(pod, ref, probe) };
}
