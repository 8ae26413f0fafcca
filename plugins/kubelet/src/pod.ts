/** Reading a Pod: its containers in order, names for messages, and the labels that tie it to the runtime. */
import { createHash } from "node:crypto";
import type { Container, ContainerStatus } from "@k3s-p/plugin-api/slots";
import type { ContainerSpec, ObjectReference, Pod } from "@k3s-p/plugin-api/kube";

export const labelsOf = {
  podName: "io.kubernetes.pod.name",
  podNamespace: "io.kubernetes.pod.namespace",
  podUid: "io.kubernetes.pod.uid",
  container: "io.kubernetes.container.name",
} as const;

export const annotationsOf = {
  hash: "io.kubernetes.container.hash",
  restartCount: "io.kubernetes.container.restartCount",
  messagePath: "io.kubernetes.container.terminationMessagePath",
  messagePolicy: "io.kubernetes.container.terminationMessagePolicy",
  ports: "io.kubernetes.container.ports",
  preStop: "io.kubernetes.container.preStopHandler",
  grace: "io.kubernetes.pod.terminationGracePeriod",
  source: "kubernetes.io/config.source",
  configHash: "kubernetes.io/config.hash",
  mirror: "kubernetes.io/config.mirror",
  seen: "kubernetes.io/config.seen",
} as const;

export type ContainerKind = "container" | "init" | "ephemeral";

/** A container of the pod's spec, with its place in it. */
export interface ContainerRef {
  readonly spec: ContainerSpec;
  readonly kind: ContainerKind;
  /** `spec.containers{name}`, the field path of its events. */
  readonly fieldPath: string;
  /** An init container with `restartPolicy: Always`: a sidecar. */
  readonly sidecar: boolean;
}

const path: Record<ContainerKind, string> = {
  container: "containers", init: "initContainers", ephemeral: "ephemeralContainers",
};

function refs(list: readonly ContainerSpec[] | undefined, kind: ContainerKind): ContainerRef[] {
  return (list ?? []).map((spec) => ({
    spec, kind, fieldPath: `spec.${path[kind]}{${spec.name}}`,
    sidecar: kind === "init" && spec.restartPolicy === "Always",
  }));
}

export const mainContainers = (pod: Pod): ContainerRef[] => refs(pod.spec?.containers, "container");
export const initContainers = (pod: Pod): ContainerRef[] => refs(pod.spec?.initContainers, "init");
export const ephemeralContainers = (pod: Pod): ContainerRef[] =>
  refs(pod.spec?.ephemeralContainers as unknown as ContainerSpec[] | undefined, "ephemeral");
export const allContainers = (pod: Pod): ContainerRef[] => [
  ...initContainers(pod), ...mainContainers(pod), ...ephemeralContainers(pod),
];

/** The uid under which the runtime knows the pod; a mirror pod stands for the static pod of its hash. */
export const uidOf = (pod: Pod): string => pod.metadata.annotations?.[annotationsOf.mirror] ?? pod.metadata.uid!;
export const nameOf = (pod: Pod): string => pod.metadata.name!;
export const namespaceOf = (pod: Pod): string => pod.metadata.namespace ?? "default";
/** `name_namespace(uid)`, as upstream's messages name a pod. */
export const formatPod = (pod: Pod): string => `${nameOf(pod)}_${namespaceOf(pod)}(${uidOf(pod)})`;
export const isHostNetwork = (pod: Pod): boolean => pod.spec?.hostNetwork === true;
export const isMirror = (pod: Pod): boolean => annotationsOf.mirror in (pod.metadata.annotations ?? {});
export const isStatic = (pod: Pod): boolean => {
  const source = pod.metadata.annotations?.[annotationsOf.source];
  return source !== undefined && source !== "api";
};
export const isTerminalPhase = (phase: string | undefined): boolean => phase === "Succeeded" || phase === "Failed";

/** Containers whose name and image agree are the same: any other difference does not restart one (as since 1.31). */
export const containerHash = (spec: ContainerSpec): string =>
  createHash("sha256").update(JSON.stringify([spec.name, spec.image])).digest("hex").slice(0, 8);

export const podUidOf = (c: { labels: Readonly<Record<string, string>> }): string | undefined =>
  c.labels[labelsOf.podUid];
export const containerNameOf = (c: Container): string => c.labels[labelsOf.container] ?? c.metadata.name;
export const restartCountOf = (c: Container): number =>
  Number(c.annotations[annotationsOf.restartCount] ?? c.metadata.attempt);

/** The newest instance of a container, if the runtime has one. */
export function newest(
  statuses: readonly ContainerStatus[], name: string, sandboxId?: string,
): ContainerStatus | undefined {
  let found: ContainerStatus | undefined;
  for (const status of statuses) {
    if (containerNameOf(status) !== name) continue;
    if (sandboxId !== undefined && status.podSandboxId !== sandboxId) continue;
    if (!found || status.createdAt > found.createdAt) found = status;
  }
  return found;
}

export type RestartPolicy = "Always" | "OnFailure" | "Never";

/** Whether an exited container runs again: its own policy and rules first (KEP-5307), then the pod's. */
export function restarts(pod: Pod, ref: ContainerRef, exitCode: number): boolean {
  if (ref.kind === "ephemeral") return false;
  const rules = ref.spec.restartPolicyRules ?? [];
  for (const { exitCodes } of rules) {
    const listed = (exitCodes?.values ?? []).includes(exitCode);
    if (exitCodes && (exitCodes.operator === "In") === listed) return true;
  }
  const policy = (ref.spec.restartPolicy ?? pod.spec?.restartPolicy ?? "Always") as RestartPolicy;
  if (ref.kind === "init" && !ref.sidecar) return policy !== "Never" && exitCode !== 0;
  return policy === "Always" || (policy === "OnFailure" && exitCode !== 0);
}

export function podReference(pod: Pod, fieldPath?: string): ObjectReference {
  return {
    kind: "Pod", apiVersion: "v1", name: nameOf(pod), namespace: namespaceOf(pod), uid: pod.metadata.uid,
    ...(pod.metadata.resourceVersion && { resourceVersion: pod.metadata.resourceVersion }),
    ...(fieldPath && { fieldPath }),
  } as ObjectReference;
}

/** Old objects may have a negative period: upstream takes it for one second. */
const notNegative = (seconds: number): number => (seconds < 0 ? 1 : seconds);

/** Seconds that the pod has to end when nobody deletes it. */
export const terminationGrace = ({ spec }: Pod): number => notNegative(spec?.terminationGracePeriodSeconds ?? 30);

/** Seconds that the pod has to end. */
export const gracePeriod = (pod: Pod): number => notNegative(pod.metadata.deletionGracePeriodSeconds ?? terminationGrace(pod));
