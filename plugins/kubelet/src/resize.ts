/**
 * In-place resize of a pod (KEP-1287). What the spec asks for is `desired`; the node grants it or lets it wait, and the
 * containers run with what was granted; what the runtime was last told is `actuated`, and only that is shown as in force.
 * After a restart of the server the pod's own status says what was granted and actuated.
 */
import { findCondition, quantityMilli, type ContainerSpec, type Pod, type ResourceRequirements } from "@k3s-p/plugin-api/kube";
import { allContainers, type ContainerRef } from "./pod.ts";
import type { PodCondition } from "./status.ts";

/** Why a resize waits: the node will never have the room, or does not have it now. */
export interface ResizeRefusal {
  readonly reason: "Infeasible" | "Deferred";
  readonly message: string;
}

/** A resize that came to a new state, for the pod's events. */
export interface ResizeNews {
  readonly reason: "ResizeStarted" | "ResizeCompleted" | "ResizeDeferred" | "ResizeInfeasible" | "ResizeError";
  readonly message: string;
}

export interface PodResize {
  /** The pod with the resources that were granted to its containers. */
  granted(desired: Pod): Pod;
  /** The pod with the resources that its containers still run with while they are brought to what was granted. */
  inForce(granted: Pod): Pod;
  /** Asks for what is desired when it is not granted yet; returns whether more or less is granted now. */
  consider(desired: Pod, refuse: (pod: Pod) => ResizeRefusal | undefined): boolean;
  /** The resources that the runtime was last told for a container; without a name, those of the pod as a whole. */
  actuated(name?: string): ResourceRequirements | undefined;
  setActuated(ref: ContainerRef): void;
  /** Whether a running container has still to be brought to its granted resources, and whether that takes a restart. */
  open(ref: ContainerRef): "no" | "update" | "restart";
  /** The runtime refused; undefined when it did not. */
  setError(message: string | undefined): void;
  /** Nothing is open any more. */
  complete(pod: Pod): void;
  readonly inProgress: boolean;
  readonly deferred: boolean;
  conditions(): readonly ResizeCondition[];
}

type ResizeCondition = Pick<PodCondition, "type" | "status" | "reason" | "message" | "observedGeneration">;

/** Stands for the pod as a whole among its containers, whose names are never empty. */
const WHOLE = "";

type Sized = Pick<ContainerSpec, "name" | "resources">;

const sizedParts = (pod: Pod): Sized[] =>
  [{ name: WHOLE, ...(pod.spec?.resources && { resources: pod.spec.resources }) }, ...allContainers(pod).map((ref) => ref.spec)];

const KINDS = ["requests", "limits"] as const;
const NAMES = ["cpu", "memory"] as const;

export function podResize(first: Pod, tell: (news: ResizeNews) => void): PodResize {
  const grants = new Map<string, ResourceRequirements>();
  const applied = new Map<string, ResourceRequirements>();
  let pending: (ResizeRefusal & { readonly generation: number | undefined }) | undefined;
  let progress: { readonly generation: number | undefined; readonly error?: string } | undefined;
  const left = findCondition(first.status?.conditions, "PodResizeInProgress");
  if (left) progress = { generation: left.observedGeneration };

  for (const [name, resources] of reported(first)) {
    applied.set(name, resources.actuated);
    grants.set(name, resources.granted);
  }

  const grantOf = (spec: Sized): ResourceRequirements => grants.get(spec.name) ?? spec.resources ?? {};
  const isMet = (spec: Sized): boolean => sameSize(grantOf(spec), spec.resources);
  const isAllMet = (desired: Pod): boolean => sizedParts(desired).every(isMet);

  return {
    granted: (desired) => (isAllMet(desired) ? desired : withSizes(desired, (part) => (isMet(part) ? undefined : grantOf(part)))),
    inForce: (granted) => (progress ? withSizes(granted, ({ name }) => applied.get(name)) : granted),
    consider(desired, refuse) {
      const { generation } = desired.metadata;
      const isMore = !isAllMet(desired);
      const refusal = isMore ? refuse(desired) : undefined;
      if (refusal) {
        if (pending?.reason !== refusal.reason || pending.generation !== generation) {
          tell({ reason: `Resize${refusal.reason}`, message: `Pod resize ${refusal.reason}: ${describe(desired, refusal.message)}` });
        }
        pending = { ...refusal, generation };
        return false;
      }
      pending = undefined;
      for (const { name, resources } of sizedParts(desired)) grants.set(name, resources ?? {});
      if (!applied.has(WHOLE)) applied.set(WHOLE, desired.spec?.resources ?? {});
      if (!isMore) return false;
      progress = { generation };
      tell({ reason: "ResizeStarted", message: `Pod resize started: ${describe(desired)}` });
      return true;
    },
    actuated: (name = WHOLE) => applied.get(name),
    setActuated: ({ spec }) => void applied.set(spec.name, spec.resources ?? {}),
    open({ spec }) {
      const before = applied.get(spec.name);
      if (!before || sameSize(before, spec.resources)) return "no";
      const restarts = (spec.resizePolicy ?? []).some(({ resourceName, restartPolicy }) =>
        restartPolicy === "RestartContainer" && !sameSize(before, spec.resources, [resourceName]));
      return restarts ? "restart" : "update";
    },
    setError(message) {
      if (!progress || progress.error === message) return;
      progress = { generation: progress.generation, ...(message !== undefined && { error: message }) };
      if (message !== undefined) tell({ reason: "ResizeError", message: `Pod resize error: ${message}` });
    },
    complete(pod) {
      progress = undefined;
      applied.set(WHOLE, pod.spec?.resources ?? {});
      tell({ reason: "ResizeCompleted", message: `Pod resize completed: ${describe(pod)}` });
    },
    get inProgress() {
      return progress !== undefined;
    },
    get deferred() {
      return pending?.reason === "Deferred";
    },
    conditions: () => [
      ...(pending ? [condition("PodResizePending", pending.generation, pending.reason, pending.message)] : []),
      ...(progress ? [condition("PodResizeInProgress", progress.generation, progress.error && "Error", progress.error)] : []),
    ],
  };
}

/** The pod with other resources for those of its parts that have some. */
function withSizes(pod: Pod, sizeOf: (part: Sized) => ResourceRequirements | undefined): Pod {
  const sized = <T extends Sized>(part: T): T => {
    const resources = sizeOf(part);
    return resources ? { ...part, resources } : part;
  };
  const { containers, initContainers, resources } = pod.spec!;
  return {
    ...pod,
    spec: {
      ...pod.spec!, containers: containers.map(sized), ...(initContainers && { initContainers: initContainers.map(sized) }),
      ...(resources && { resources: sized({ name: WHOLE, resources }).resources! }),
    },
  };
}

function condition(type: string, generation: number | undefined, reason?: string, message?: string): ResizeCondition {
  return {
    type, status: "True", ...(reason && { reason }), ...(message && { message }),
    ...(generation !== undefined && { observedGeneration: generation }),
  };
}

/** Whether both ask for the same CPU and memory, however it is written; nothing else can be resized. */
function sameSize(a: ResourceRequirements | undefined, b: ResourceRequirements | undefined, names: readonly string[] = NAMES): boolean {
  return KINDS.every((kind) => names.every((name) => {
    const [x, y] = [a?.[kind]?.[name], b?.[kind]?.[name]];
    return x === undefined || y === undefined ? x === y : quantityMilli(x) === quantityMilli(y);
  }));
}

/** What the status of an earlier server process says of the pod and of each container that has run. */
function reported(pod: Pod): [string, { actuated: ResourceRequirements; granted: ResourceRequirements }][] {
  const { containerStatuses = [], initContainerStatuses = [], resources: own, allocatedResources: granted } = pod.status ?? {};
  const whole = { name: WHOLE, resources: own, allocatedResources: granted };
  const ran = [...initContainerStatuses, ...containerStatuses].filter((status) => status.containerID);
  return [whole, ...ran].flatMap(({ name, resources, allocatedResources }) => {
    if (!resources) return [];
    const { claims: _, ...actuated } = resources;
    return [[name, { actuated, granted: { ...actuated, ...(allocatedResources && { requests: allocatedResources }) } }]];
  });
}

const describe = (pod: Pod, error?: string): string => JSON.stringify({
  containers: allContainers(pod).filter((ref) => ref.kind !== "ephemeral").map(({ spec }) => ({ name: spec.name, resources: spec.resources ?? {} })),
  generation: pod.metadata.generation, ...(error && { error }),
});
