/** From the usage of pods to a number of replicas, as the horizontal pod autoscaler defines it. Pure but for the one request. */
import { parseNano, type HorizontalPodAutoscaler, type KubeClient, type Pod } from "@k3s-p/plugin-api/kube";
import { isReady, isTerminal } from "../lib/pods.ts";

export type MetricSpec = NonNullable<NonNullable<HorizontalPodAutoscaler["spec"]>["metrics"]>[number];
export type MetricStatus = NonNullable<NonNullable<HorizontalPodAutoscaler["status"]>["currentMetrics"]>[number];

/** After its start a pod's CPU figures mislead. */
const CPU_INITIALIZATION_MS = 300_000;
const READINESS_DELAY_MS = 30_000;

export interface PodMetrics {
  readonly metadata: { readonly name: string };
  readonly timestamp: string;
  readonly window: string;
  readonly containers: readonly { readonly name: string; readonly usage: Readonly<Record<string, string>> }[];
}

export async function readPodMetrics(
  client: KubeClient, namespace: string, selector: string, resource: string,
): Promise<readonly PodMetrics[]> {
  const path = `/apis/metrics.k8s.io/v1beta1/namespaces/${namespace}/pods?labelSelector=${encodeURIComponent(selector)}`;
  const { status, body } = await client.request("GET", path);
  if (status !== 200)
    throw new Error(
      `unable to get metrics for resource ${resource}: unable to fetch metrics from resource metrics API: ${(body as { message?: string } | undefined)?.message ?? `status ${status}`}`,
    );
  return (body as { items: readonly PodMetrics[] }).items;
}

/** How far the ratio of usage to target may be from 1, up and down, without a change. */
export interface Tolerance {
  readonly up: number;
  readonly down: number;
}

export const isNear = (ratio: number, { up, down }: Tolerance): boolean => ratio >= 1 - down && ratio <= 1 + up;

export interface Replicas {
  readonly count: number;
  /** As the HPA's messages name it: `cpu resource utilization (percentage of request)`. */
  readonly name: string;
  readonly status: MetricStatus;
}

interface Source {
  readonly resource: string;
  readonly container: string | undefined;
  readonly target: { averageUtilization?: number; averageValue?: string };
}

/** The resource that a metric watches; undefined for kinds that adapters serve. */
export function sourceOf(metric: MetricSpec): Source | undefined {
  if (metric.type === "Resource" && metric.resource)
    return { resource: metric.resource.name, container: undefined, target: metric.resource.target };
  if (metric.type === "ContainerResource" && metric.containerResource) {
    const { name, container, target } = metric.containerResource;
    return { resource: name, container, target };
  }
  return undefined;
}

const milli = (nano: bigint): number => Number(nano / 1_000_000n);

export function replicasFor(
  source: Source,
  current: number,
  pods: readonly Pod[],
  metrics: readonly PodMetrics[],
  now: Date,
  tolerance: Tolerance,
): Replicas {
  if (source.target.averageUtilization === undefined) {
    const { count, average } = averageReplicas(source, current, pods, metrics, now, tolerance);
    return { count, name: `${label(source)} resource`, status: statusOf(source, { averageValue: format(source.resource, average) }) };
  }
  const { groups, usage } = measure(source, pods, metrics, now, tolerance);
  return byUtilization(source, current, groups, usage);
}

interface Measured {
  readonly groups: Groups;
  readonly usage: ReadonlyMap<string, bigint>;
}

function measure(source: Source, pods: readonly Pod[], metrics: readonly PodMetrics[], now: Date, tolerance: Tolerance): Measured {
  const usage = usageByPod(source, metrics);
  if (usage.size === 0) throw new Error(`unable to get metrics for resource ${source.resource}: no metrics returned from resource metrics API`);
  const groups = groupPods(source.resource, pods, usage, metrics, now, tolerance);
  if (groups.ready.length === 0) throw new Error("did not receive metrics for targeted pods (pods might be unready)");
  return { groups, usage };
}

function usageByPod({ resource, container }: Source, metrics: readonly PodMetrics[]): Map<string, bigint> {
  const usage = new Map<string, bigint>();
  for (const { metadata, containers } of metrics) {
    const wanted = containers.filter((c) => container === undefined || c.name === container);
    if (wanted.length === 0 || wanted.some((c) => c.usage[resource] === undefined)) continue;
    usage.set(metadata.name, wanted.reduce((sum, c) => sum + (parseNano(c.usage[resource]!) ?? 0n), 0n));
  }
  return usage;
}

interface Groups {
  readonly tolerance: Tolerance;
  readonly ready: Pod[];
  readonly unready: Pod[];
  readonly missing: Pod[];
}

function groupPods(
  resource: string,
  pods: readonly Pod[],
  usage: ReadonlyMap<string, bigint>,
  metrics: readonly PodMetrics[],
  now: Date,
  tolerance: Tolerance,
): Groups {
  const groups: Groups = { tolerance, ready: [], unready: [], missing: [] };
  const at = new Map(metrics.map((m) => [m.metadata.name, Date.parse(m.timestamp)]));
  for (const pod of pods) {
    if (pod.metadata.deletionTimestamp || pod.status?.phase === "Failed" || isTerminal(pod)) continue;
    if (pod.status?.phase === "Pending") groups.unready.push(pod);
    else if (!usage.has(pod.metadata.name!)) groups.missing.push(pod);
    else if (resource === "cpu" && isWarmingUp(pod, at.get(pod.metadata.name!) ?? 0, now)) groups.unready.push(pod);
    else groups.ready.push(pod);
  }
  return groups;
}

function isWarmingUp(pod: Pod, measuredAt: number, now: Date): boolean {
  const condition = pod.status?.conditions?.find((c) => c.type === "Ready");
  const started = Date.parse(pod.status?.startTime ?? "");
  if (!condition || Number.isNaN(started)) return true;
  const changed = Date.parse(condition.lastTransitionTime ?? "") || started;
  if (started + CPU_INITIALIZATION_MS > now.getTime()) return !isReady(pod) || measuredAt < changed;
  return !isReady(pod) && started + READINESS_DELAY_MS > changed;
}

function requestOf({ resource, container }: Source, pod: Pod): bigint {
  const containers = [
    ...(pod.spec?.containers ?? []),
    ...(pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === "Always"),
  ];
  const wanted = containers.filter((c) => container === undefined || c.name === container);
  return wanted.reduce((sum, c) => {
    const request = parseNano(c.resources?.requests?.[resource] ?? "");
    if (request === undefined)
      throw new Error(`missing request for ${resource} in container ${c.name} of Pod ${pod.metadata.name}`);
    return sum + request;
  }, 0n);
}

function byUtilization(
  source: Source, current: number, groups: Groups, usage: ReadonlyMap<string, bigint>,
): Replicas {
  const target = source.target.averageUtilization!;
  const ratioOf = (
    list: readonly Pod[],
    used: (pod: Pod) => bigint,
  ): { ratio: number; utilization: number; average: bigint } => {
    const total = list.reduce((sum, pod) => sum + used(pod), 0n);
    const requests = list.reduce((sum, pod) => sum + requestOf(source, pod), 0n);
    const utilization = requests === 0n ? 0 : Math.floor((milli(total) * 100) / milli(requests));
    return { ratio: utilization / target, utilization, average: total / BigInt(list.length) };
  };
  const seen = ratioOf(groups.ready, (pod) => usage.get(pod.metadata.name!)!);
  const count = decide(current, groups, seen.ratio, (assumed) =>
    ratioOf([...groups.ready, ...assumed.keys()], (pod) => assumed.has(pod)
      ? (requestOf(source, pod) * BigInt(Math.round(assumed.get(pod)! * target))) / 100n
      : usage.get(pod.metadata.name!)!).ratio);
  return {
    count, name: `${label(source)} resource utilization (percentage of request)`,
    status: statusOf(source, { averageUtilization: seen.utilization, averageValue: format(source.resource, seen.average) }),
  };
}

/** By a value that each pod is to have on average. */
export function averageReplicas(
  source: Source, current: number, pods: readonly Pod[], metrics: readonly PodMetrics[], now: Date, tolerance: Tolerance,
): { readonly count: number; readonly average: bigint } {
  const { groups, usage } = measure(source, pods, metrics, now, tolerance);
  const target = parseNano(source.target.averageValue ?? "0") || 1n;
  const total = groups.ready.reduce((sum, pod) => sum + usage.get(pod.metadata.name!)!, 0n);
  const average = total / BigInt(groups.ready.length);
  const count = decide(current, groups, Number(average) / Number(target), (assumed) => {
    const rest = [...assumed.values()].reduce((sum, share) => sum + (share * Number(target)), 0);
    return (Number(total) + rest) / (groups.ready.length + assumed.size) / Number(target);
  });
  return { count, average };
}

/**
 * Pods without figures never make the change larger: on the way down they are taken to use all of the target,
 * on the way up, as pods that are not ready yet, nothing.
 */
function decide(
  current: number, groups: Groups, ratio: number, ratioWith: (assumed: Map<Pod, number>) => number,
): number {
  const near = (r: number) => isNear(r, groups.tolerance);
  const scaleUp = ratio > 1;
  const unready = scaleUp ? groups.unready : [];
  if (unready.length === 0 && groups.missing.length === 0)
    return near(ratio) ? current : Math.ceil(ratio * groups.ready.length);
  const assumed = new Map<Pod, number>([
    ...unready.map((pod) => [pod, 0] as const), ...groups.missing.map((pod) => [pod, scaleUp ? 0 : 1] as const),
  ]);
  const cautious = ratioWith(assumed);
  if (near(cautious) || (ratio < 1 && cautious > 1) || (ratio > 1 && cautious < 1)) return current;
  const next = Math.ceil(cautious * (groups.ready.length + assumed.size));
  return (cautious < 1 && next > current) || (cautious > 1 && next < current) ? current : next;
}

const label = ({ resource, container }: Source): string =>
  container === undefined ? resource : `${resource} container ${container}`;

/** Milli units for the CPU, whole bytes for memory. */
const format = (resource: string, nano: bigint): string =>
  resource === "cpu" ? `${milli(nano)}m` : String(nano / 1_000_000_000n);

function statusOf(
  { resource, container }: Source, current: { averageUtilization?: number; averageValue: string },
): MetricStatus {
  return container === undefined
    ? { type: "Resource", resource: { name: resource, current } }
    : { type: "ContainerResource", containerResource: { name: resource, container, current } };
}
