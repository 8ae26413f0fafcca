/** A pod's status, made from its spec, the runtime's state and the probes: a pure function of what is known. */
import {
  conditionIsTrue, findCondition, type ContainerStatus as ApiContainerStatus, type Pod, type PodStatus, type ResourceRequirements,
} from "@k3s-p/plugin-api/kube";
import type { ContainerStatus, PodSandboxStatus } from "@k3s-p/plugin-api/slots";
import type { ProbeResults } from "./probes/probes.ts";
import {
  ephemeralContainers, initContainers, isHostNetwork, isTerminalPhase, mainContainers, newest, restartCountOf, restarts,
  type ContainerRef,
} from "./pod.ts";
import { qosClass } from "./resources.ts";
import type { Verdict } from "./pod-services.ts";
import type { PodResize } from "./resize.ts";
import type { PodRuntimeState } from "./runtime-cache.ts";

export interface Waiting {
  readonly reason: string;
  readonly message?: string;
}

export interface StatusInput {
  readonly pod: Pod;
  readonly state: PodRuntimeState;
  /** Why a container does not run, by name. */
  readonly waiting: ReadonlyMap<string, Waiting>;
  readonly probes: ProbeResults;
  /** The size of each container that the runtime was last told, and how far a change of it has come. */
  readonly resize?: Pick<PodResize, "actuated" | "conditions">;
  /** Last words of exited containers, by id. */
  readonly messages: ReadonlyMap<string, string>;
  readonly hostIp: string;
  /** Nothing of the pod runs any more, and nothing will. */
  readonly ended: boolean;
  /** Set from outside: eviction, deadline, refused by the node. */
  readonly verdict?: Verdict;
  readonly now: string;
}

type State = NonNullable<ApiContainerStatus["state"]>;
type Phase = "Pending" | "Running" | "Succeeded" | "Failed";

/** Whether the pod has come to its end; its containers may still have to be stopped. */
export function isOver(input: StatusInput): boolean {
  const { pod, verdict } = input;
  const inits = initContainers(pod).map((ref) => containerStatus(input, ref));
  const mains = mainContainers(pod).map((ref) => containerStatus(input, ref));
  return isTerminalPhase(verdict?.phase ?? podPhase(input, inits, mains));
}

export function podStatus(input: StatusInput): PodStatus {
  const { pod, state, hostIp, now } = input;
  const before = pod.status;
  const inits = initContainers(pod).map((ref) => containerStatus(input, ref));
  const mains = mainContainers(pod).map((ref) => containerStatus(input, ref));
  const ephemerals = ephemeralContainers(pod).map((ref) => containerStatus(input, ref));
  // The end is told only when nothing runs any more: controllers take it as leave to start another pod.
  const early = state.containers.some((c) => c.state === "RUNNING");
  const verdict = early ? undefined : input.verdict;
  const decided = verdict?.phase ?? podPhase(input, inits, mains);
  const phase = early && isTerminalPhase(decided) && !isTerminalPhase(before?.phase) ? standingPhase(before?.phase) : decided;
  const ips = podIps(pod, state.sandboxes, hostIp);
  const refused = verdict !== undefined && state.sandboxes.length === 0 && !before?.containerStatuses;
  return {
    phase,
    ...(pod.metadata.generation !== undefined && { observedGeneration: pod.metadata.generation }),
    conditions: podConditions(input, phase, inits, mains),
    ...(verdict && { reason: verdict.reason, message: verdict.message }),
    hostIP: hostIp, hostIPs: [{ ip: hostIp }],
    ...(ips.length > 0 && { podIP: ips[0]!, podIPs: ips.map((ip) => ({ ip })) }),
    startTime: before?.startTime ?? now,
    qosClass: before?.qosClass ?? qosClass(pod),
    ...(pod.spec?.resources && wholeResources(pod.spec.resources, input.resize?.actuated())),
    ...(!refused && inits.length > 0 && { initContainerStatuses: inits }),
    ...(!refused && { containerStatuses: mains }),
    ...(!refused && ephemerals.length > 0 && { ephemeralContainerStatuses: ephemerals }),
  } as PodStatus;
}

const standingPhase = (before: string | undefined): Phase => (before === "Pending" ? "Pending" : "Running");

/** The addresses of the sandbox; a pod that has ended keeps those it had. */
export function podIps(pod: Pod, sandboxes: readonly PodSandboxStatus[], hostIp: string): string[] {
  if (isHostNetwork(pod)) return [hostIp];
  const ips = sandboxes.find((sandbox) => sandbox.ips.length > 0)?.ips;
  return ips ? [...ips] : (pod.status?.podIPs ?? []).flatMap(({ ip }) => ip ?? []);
}

/** containerd's sandbox and container times are nanoseconds; the API's are whole seconds. */
export const fromNanos = (nanos: bigint): string =>
  new Date(Number(nanos / 1_000_000n)).toISOString().replace(/\.\d+Z$/, "Z");

const known = (input: StatusInput, ref: ContainerRef): ApiContainerStatus | undefined => {
  const { containerStatuses, initContainerStatuses, ephemeralContainerStatuses } = input.pod.status ?? {};
  const list = { container: containerStatuses, init: initContainerStatuses, ephemeral: ephemeralContainerStatuses }[ref.kind];
  return list?.find((status) => status.name === ref.spec.name);
};

function containerStatus(input: StatusInput, ref: ContainerRef): ApiContainerStatus {
  const { pod, state, waiting, probes } = input;
  const { spec } = ref;
  const before = known(input, ref);
  const instances = state.containers.filter((c) => c.metadata.name === spec.name);
  const current = newest(instances, spec.name);
  if (!current) return absentStatus(input, ref, before);
  const previous = instances.filter((c) => c.id !== current.id && c.state === "EXITED").sort((a, b) => (a.createdAt > b.createdAt ? -1 : 1))[0];
  const ended = current.state === "EXITED" && !restarts(pod, ref, current.exitCode);
  const reason = ended ? undefined : waiting.get(spec.name);
  const exited = current.state === "EXITED" || current.state === "UNKNOWN";
  const shown: State = reason && current.state !== "RUNNING" ? { waiting: { ...reason } } : stateOf(input, current);
  const last = exited && "waiting" in shown ? stateOf(input, current) : previous ? stateOf(input, previous) : (before?.lastState ?? {});
  const running = current.state === "RUNNING";
  const started = running && probes.started(current.id, ref);
  const completedInit = ref.kind === "init" && !ref.sidecar && current.state === "EXITED" && current.exitCode === 0;
  const plainInit = ref.kind === "init" && !ref.sidecar;
  return {
    name: spec.name,
    state: shown, lastState: ref.kind === "ephemeral" ? {} : last,
    ready: ref.kind === "ephemeral" ? false : plainInit ? completedInit : running && probes.ready(current.id, ref),
    restartCount: Math.max(restartCountOf(current), before?.restartCount ?? 0),
    image: current.image || spec.image || "", imageID: current.imageRef,
    containerID: `containerd://${current.id}`,
    started: ref.kind === "init" && !ref.sidecar ? false : started,
    ...(ref.kind !== "ephemeral" && resourcesOf(ref, running ? input.resize?.actuated(spec.name) : undefined)),
    ...mountsOf(ref),
    ...(current.stopSignal && { stopSignal: current.stopSignal }),
  } as ApiContainerStatus;
}

/** A container that the runtime does not have: not started yet, or forgotten after it ended. */
function absentStatus(input: StatusInput, ref: ContainerRef, before: ApiContainerStatus | undefined): ApiContainerStatus {
  const { pod, waiting, state, ended, now } = input;
  const { spec } = ref;
  const lost = before?.state?.running && state.sandboxes.length > 0;
  if (before?.state?.terminated && !waiting.has(spec.name)) return { ...before, ready: before.ready && ref.kind === "init" };
  const gone: State = {
    terminated: {
      exitCode: 137, reason: "ContainerStatusUnknown", startedAt: before?.state?.running?.startedAt ?? now, finishedAt: now,
      message: "The container could not be located when the pod was terminated",
    } as NonNullable<State["terminated"]>,
  };
  const hasInits = (pod.spec?.initContainers ?? []).length > 0;
  const reason = waiting.get(spec.name) ?? { reason: hasInits ? "PodInitializing" : "ContainerCreating" };
  const shown = ended && (before?.state?.running || lost) ? gone : { waiting: { ...reason } };
  return {
    name: spec.name, state: shown, lastState: before?.lastState ?? {}, ready: false,
    restartCount: before?.restartCount ?? 0, image: spec.image ?? "", imageID: before?.imageID ?? "", started: false,
    ...(ref.kind !== "ephemeral" && resourcesOf(ref)),
    ...mountsOf(ref),
  } as ApiContainerStatus;
}

function stateOf(input: StatusInput, c: ContainerStatus): State {
  if (c.state === "CREATED") return { waiting: { reason: "ContainerCreating" } };
  if (c.state === "RUNNING") return { running: { startedAt: fromNanos(c.startedAt) } } as State;
  const message = input.messages.get(c.id) || c.message;
  return {
    terminated: {
      exitCode: c.state === "UNKNOWN" ? 137 : c.exitCode,
      reason: c.reason || (c.exitCode === 0 ? "Completed" : "Error"),
      ...(message && { message }),
      startedAt: fromNanos(c.startedAt), finishedAt: fromNanos(c.finishedAt), containerID: `containerd://${c.id}`,
    },
  } as State;
}

/** What is in force, and what the node has granted: the spec that the kubelet works with names granted resources. */
function resourcesOf({ spec }: ContainerRef, actuated?: ResourceRequirements): Partial<ApiContainerStatus> {
  const { requests, limits } = actuated ?? spec.resources ?? {};
  const granted = spec.resources?.requests;
  return {
    resources: { ...(limits && { limits }), ...(requests && { requests }) },
    ...(granted && { allocatedResources: granted }),
  };
}

/** The same of the pod as a whole, when it has a size as a whole. */
function wholeResources(granted: ResourceRequirements, actuated = granted): Pick<PodStatus, "resources" | "allocatedResources"> {
  return { resources: actuated, ...(granted.requests && { allocatedResources: granted.requests }) };
}

function mountsOf({ spec }: ContainerRef): Partial<ApiContainerStatus> {
  if (!spec.volumeMounts?.length) return {};
  return {
    volumeMounts: spec.volumeMounts.map((m) => ({
      name: m.name, mountPath: m.mountPath,
      ...(m.readOnly && { readOnly: true, recursiveReadOnly: "Disabled" }),
    })),
  };
}

function podPhase(input: StatusInput, inits: readonly ApiContainerStatus[], mains: readonly ApiContainerStatus[]): Phase {
  const { pod, ended } = input;
  if (pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed") return pod.status.phase;
  const refs = initContainers(pod);
  const initialized = isInitialized(input);
  let pendingInit = 0;
  for (const [i, status] of inits.entries()) {
    const end = status.state?.terminated ?? (status.state?.waiting && status.lastState?.terminated);
    const ref = refs[i]!;
    if (ref.sidecar) pendingInit += status.started || initialized ? 0 : 1;
    else if (end && end.exitCode !== 0 && !restarts(pod, ref, end.exitCode)) return "Failed";
    else if (!status.state?.terminated || status.state.terminated.exitCode !== 0) pendingInit += 1;
  }
  if (pendingInit > 0 && !initialized) return ended ? "Failed" : "Pending";
  const waiting = mains.filter((s) => s.state?.waiting && !s.lastState?.terminated);
  const running = mains.filter((s) => s.state?.running);
  const stopped = mains.filter((s) => s.state?.terminated || (s.state?.waiting && s.lastState?.terminated));
  if (waiting.length > 0) return ended ? "Failed" : "Pending";
  if (running.length > 0 || stopped.length === 0) return running.length > 0 ? "Running" : "Pending";
  const code = (s: ApiContainerStatus): number => (s.state?.terminated ?? s.lastState?.terminated)?.exitCode ?? 0;
  const succeeded = stopped.every((s) => code(s) === 0);
  if (ended) return succeeded ? "Succeeded" : "Failed";
  const again = stopped.some((s) => restarts(pod, mainContainers(pod).find((r) => r.spec.name === s.name)!, code(s)));
  if (again) return "Running";
  return succeeded ? "Succeeded" : "Failed";
}

/** Some main container exists or existed: the init containers are done. */
export function isInitialized({ pod, state }: Pick<StatusInput, "pod" | "state">): boolean {
  const sandbox = state.sandboxes[0]?.id;
  return mainContainers(pod).some((ref) => newest(state.containers, ref.spec.name, sandbox) !== undefined);
}

export type PodCondition = NonNullable<PodStatus["conditions"]>[number];

interface Finding {
  readonly type: string;
  readonly status: boolean;
  readonly reason?: string;
  readonly message?: string;
}

/** Conditions that are there only while they are true. */
export const passingConditions: ReadonlySet<string> = new Set(["PodResizePending", "PodResizeInProgress"]);

function podConditions(
  input: StatusInput, phase: Phase, inits: readonly ApiContainerStatus[], mains: readonly ApiContainerStatus[],
): PodCondition[] {
  const { pod, state, ended, now, verdict } = input;
  const sandboxReady = state.sandboxes.some((s) => s.state === "READY" && (isHostNetwork(pod) || s.ips.length > 0));
  const ready = containersReady(input, phase, mains);
  const found: Finding[] = [
    { type: "PodReadyToStartContainers", status: sandboxReady && !ended },
    initialized(input, phase, inits),
    podReady(pod, ready),
    { ...ready, type: "ContainersReady" },
    { type: "PodScheduled", status: true },
    ...(verdict?.isDisruption ? [{ type: "DisruptionTarget", status: true, reason: "TerminationByKubelet", message: verdict.message }] : []),
  ];
  const passing = (input.resize?.conditions() ?? []).map((c) => ({ ...toCondition(pod, { type: c.type, status: true }, now), ...c }));
  return [...found.map((f) => toCondition(pod, f, now)), ...passing];
}

function toCondition(pod: Pod, f: Finding, now: string): PodCondition {
  const old = findCondition(pod.status?.conditions, f.type);
  const status = f.status ? "True" : "False";
  return {
    type: f.type, status,
    ...(pod.metadata.generation !== undefined && { observedGeneration: pod.metadata.generation }),
    ...(f.reason && { reason: f.reason }), ...(f.message && { message: f.message }),
    lastProbeTime: null as unknown as string,
    lastTransitionTime: old?.status === status ? (old.lastTransitionTime ?? now) : now,
  } as PodCondition;
}

function initialized(input: StatusInput, phase: Phase, inits: readonly ApiContainerStatus[]): Finding {
  const type = "Initialized";
  if (phase === "Succeeded") return { type, status: true, reason: "PodCompleted" };
  if (inits.length === 0 || isInitialized(input)) return { type, status: true };
  const refs = initContainers(input.pod);
  const open = inits.filter((s, i) => (refs[i]!.sidecar ? !s.started : !s.ready)).map((s) => s.name);
  if (open.length === 0) return { type, status: true };
  return { type, status: false, reason: "ContainersNotInitialized", message: `containers with incomplete status: [${open.join(" ")}]` };
}

function containersReady(input: StatusInput, phase: Phase, mains: readonly ApiContainerStatus[]): Omit<Finding, "type"> {
  if (phase === "Succeeded") return { status: false, reason: "PodCompleted" };
  if (phase === "Failed") return { status: false, reason: "PodFailed" };
  const sidecars = initContainers(input.pod).filter((r) => r.sidecar).map((r) => containerStatus(input, r));
  const unready = [...sidecars, ...mains].filter((s) => !s.ready).map((s) => s.name);
  if (unready.length === 0) return { status: true };
  return { status: false, reason: "ContainersNotReady", message: `containers with unready status: [${unready.join(" ")}]` };
}

function podReady(pod: Pod, containers: Omit<Finding, "type">): Finding {
  if (!containers.status) return { ...containers, type: "Ready" };
  const gates = (pod.spec?.readinessGates ?? []).map((gate) => gate.conditionType);
  const open = gates.filter((type) => !conditionIsTrue(pod.status?.conditions, type));
  if (open.length === 0) return { type: "Ready", status: true };
  const missing = open.map((type) => findCondition(pod.status?.conditions, type)
    ? `the status of pod readiness gate "${type}" is not "True", but ${findCondition(pod.status?.conditions, type)!.status}`
    : `corresponding condition of pod readiness gate "${type}" does not exist.`);
  return { type: "Ready", status: false, reason: "ReadinessGatesNotReady", message: missing.join(", ") };
}
