/** What a pod may use: QoS class, CPU shares and quota, memory limits, OOM score. */
import { quantityMilli, quantityValue, type ContainerSpec, type Pod } from "@k3s-p/plugin-api/kube";
import type { LinuxContainerResources } from "@k3s-p/plugin-api/slots";
import { initContainers, mainContainers } from "./pod.ts";

export type QosClass = "Guaranteed" | "Burstable" | "BestEffort";
type Amounts = Readonly<Record<string, string>>;

const CPU_PERIOD = 100_000;
const MIN_QUOTA = 1000;
const MIN_SHARES = 2;

export function qosClass(pod: Pod): QosClass {
  const own = pod.spec?.resources;
  const lists = own?.requests || own?.limits
    ? [own]
    : [...mainContainers(pod), ...initContainers(pod)].map((ref) => ref.spec.resources);
  const counted = lists.flatMap((r) => [...positive(r?.requests), ...positive(r?.limits)]);
  if (counted.length === 0) return "BestEffort";
  const guaranteed = lists.every((r) => ["cpu", "memory"].every((name) => {
    const limit = r?.limits?.[name];
    const request = r?.requests?.[name] ?? limit;
    return limit !== undefined && quantityMilli(limit) > 0 && quantityMilli(limit) === quantityMilli(request);
  }));
  return guaranteed ? "Guaranteed" : "Burstable";
}

const positive = (list: Amounts | undefined): string[] =>
  Object.entries(list ?? {})
    .filter(([name, amount]) => (name === "cpu" || name === "memory") && quantityMilli(amount) > 0)
    .map(([name]) => name);

export const milliToShares = (milli: number): number =>
  Math.min(262_144, Math.max(MIN_SHARES, Math.floor((milli * 1024) / 1000)));
const milliToQuota = (milli: number): number =>
  milli > 0 ? Math.max(MIN_QUOTA, Math.floor((milli * CPU_PERIOD) / 1000)) : 0;

/** Requests or limits of the whole pod: sidecars add up, plain init containers count one at a time, plus overhead. */
export function podTotal(pod: Pod, which: "requests" | "limits", name: string): number {
  const amount = (spec: ContainerSpec): number => {
    const text = spec.resources?.[which]?.[name] ?? (which === "requests" ? spec.resources?.limits?.[name] : undefined);
    return name === "cpu" ? quantityMilli(text) : quantityValue(text);
  };
  const own = pod.spec?.resources?.[which]?.[name];
  let sidecars = 0;
  let peak = 0;
  for (const ref of initContainers(pod)) {
    if (ref.sidecar) sidecars += amount(ref.spec);
    peak = Math.max(peak, sidecars + (ref.sidecar ? 0 : amount(ref.spec)));
  }
  const running = mainContainers(pod).reduce((sum, ref) => sum + amount(ref.spec), sidecars);
  const overhead = pod.spec?.overhead?.[name];
  const size = name === "cpu" ? quantityMilli : quantityValue;
  const total = own === undefined ? Math.max(running, peak) : size(own);
  return total + (overhead && total > 0 ? size(overhead) : 0);
}

/** True when every container sets the limit, so that the pod as a whole has one. */
function hasPodLimit(pod: Pod, name: string): boolean {
  if (pod.spec?.resources?.limits?.[name] !== undefined) return true;
  return [...mainContainers(pod), ...initContainers(pod)].every((ref) => ref.spec.resources?.limits?.[name] !== undefined);
}

export interface PodLimits {
  readonly shares: number;
  /** Microseconds in each 100 ms; 0 = unlimited. */
  readonly quota: number;
  /** Bytes; 0 = unlimited. */
  readonly memory: number;
}

export function podLimits(pod: Pod): PodLimits {
  const qos = qosClass(pod);
  return {
    shares: qos === "BestEffort" ? MIN_SHARES : milliToShares(podTotal(pod, "requests", "cpu")),
    quota: hasPodLimit(pod, "cpu") ? milliToQuota(podTotal(pod, "limits", "cpu")) : 0,
    memory: hasPodLimit(pod, "memory") ? podTotal(pod, "limits", "memory") : 0,
  };
}

/** CRI resources of one container; `capacity` is the node's memory in bytes, for the OOM score. */
export function containerResources(pod: Pod, spec: ContainerSpec, capacity: number): LinuxContainerResources {
  const { requests, limits } = spec.resources ?? {};
  const cpuRequest = requests?.["cpu"] ?? limits?.["cpu"];
  const quota = milliToQuota(quantityMilli(limits?.["cpu"]));
  const memory = quantityValue(limits?.["memory"]);
  return {
    cpuPeriod: CPU_PERIOD,
    cpuQuota: quota,
    cpuShares: cpuRequest === undefined ? MIN_SHARES : milliToShares(quantityMilli(cpuRequest)),
    ...(memory > 0 && { memoryLimitInBytes: memory }),
    oomScoreAdj: oomScore(pod, spec, capacity),
    ...hugePageLimits(limits),
  };
}

const pageSizes: Readonly<Record<string, string>> = { "hugepages-2Mi": "2MB", "hugepages-1Gi": "1GB" };

function hugePageLimits(limits: Amounts | undefined): Pick<LinuxContainerResources, "hugepageLimits"> {
  const found = Object.entries(pageSizes).filter(([name]) => limits?.[name] !== undefined);
  if (found.length === 0) return {};
  return { hugepageLimits: found.map(([name, pageSize]) => ({ pageSize, limit: quantityValue(limits![name]) })) };
}

/** Guaranteed and critical pods die last; burstable ones by the share of memory that they asked for. */
export function oomScore(pod: Pod, spec: ContainerSpec, capacity: number): number {
  if ((pod.spec?.priority ?? 0) >= 2_000_000_000) return -997;
  const qos = qosClass(pod);
  if (qos === "Guaranteed") return -997;
  if (qos === "BestEffort") return 1000;
  const request = quantityValue(spec.resources?.requests?.["memory"] ?? spec.resources?.limits?.["memory"]);
  const score = 1000 - Math.floor((1000 * request) / Math.max(1, capacity));
  return Math.min(999, Math.max(3, score));
}
