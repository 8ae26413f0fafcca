/** CRI messages as the slot's plain values. */
import type {
  Container, ContainerState, ContainerStats, ContainerStatus, Image, PodSandbox, PodSandboxStatus,
} from "@k3s-p/plugin-api/slots";
import type { Message } from "./cri.ts";
import { askedSignal, signalNames } from "./stop-signal.ts";

export const containerStates: readonly ContainerState[] = ["CREATED", "RUNNING", "EXITED", "UNKNOWN"];

export const toSandbox = (m: Message): PodSandbox => ({
  id: m.id,
  metadata: m.metadata,
  state: m.state === 0 ? "READY" : "NOTREADY",
  createdAt: BigInt(m.createdAt),
  labels: m.labels,
  annotations: m.annotations,
});

export const toSandboxStatus = (m: Message): PodSandboxStatus => ({
  ...toSandbox(m),
  ips: [m.network?.ip, ...(m.network?.additionalIps ?? []).map((each: Message) => each.ip)].filter(Boolean),
});

export const toContainer = (m: Message): Container => ({
  id: m.id,
  podSandboxId: m.podSandboxId,
  metadata: m.metadata,
  state: containerStates[m.state] ?? "UNKNOWN",
  image: m.image?.image ?? "",
  imageRef: m.imageRef,
  createdAt: BigInt(m.createdAt),
  labels: m.labels,
  annotations: m.annotations,
});

/** CRI's status does not name the sandbox; containerd keeps it in no label either, so the caller supplies it. */
export const toContainerStatus = (m: Message, podSandboxId: string): ContainerStatus => ({
  ...toContainer(m),
  podSandboxId,
  startedAt: BigInt(m.startedAt),
  finishedAt: BigInt(m.finishedAt),
  exitCode: m.exitCode,
  reason: m.reason,
  message: m.message,
  logPath: m.logPath,
  ...withSignal(signalNames[m.stopSignal] ?? askedSignal(m.annotations)),
});

const withSignal = (stopSignal: string | undefined): Pick<ContainerStatus, "stopSignal"> => (stopSignal === undefined ? {} : { stopSignal });

export const toStats = (m: Message): ContainerStats => ({
  id: m.attributes.id,
  labels: m.attributes.labels,
  timestamp: BigInt(m.cpu?.timestamp ?? 0),
  cpuUsageCoreNanoSeconds: BigInt(m.cpu?.usageCoreNanoSeconds?.value ?? 0),
  memoryWorkingSetBytes: Number(m.memory?.workingSetBytes?.value ?? 0),
  ...(m.memory?.usageBytes && { memoryUsageBytes: Number(m.memory.usageBytes.value) }),
  ...(m.memory?.rssBytes && { memoryRssBytes: Number(m.memory.rssBytes.value) }),
  ...(m.writableLayer?.usedBytes && { writableLayerBytes: Number(m.writableLayer.usedBytes.value) }),
  ...(m.writableLayer?.inodesUsed && { writableLayerInodes: Number(m.writableLayer.inodesUsed.value) }),
});

/** `pinned` names images that must survive garbage collection; containerd before 1.7 cannot say so itself. */
export const toImage = (m: Message, pinned: ReadonlySet<string>): Image => ({
  id: m.id,
  repoTags: m.repoTags,
  repoDigests: m.repoDigests,
  size: Number(m.size),
  ...(m.uid && { uid: Number(m.uid.value) }),
  ...(m.username && { username: m.username }),
  pinned: m.pinned || m.repoTags.some((tag: string) => pinned.has(tag)),
});
