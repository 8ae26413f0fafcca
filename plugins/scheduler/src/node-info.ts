/** A node with the sums over its pods, kept up to date one pod at a time. */
import type { Node, Taint } from "@k3s-p/plugin-api/kube";
import type { HostPort, PodInfo } from "./pod-info.ts";
import { addTo, emptyResources, quantity, toResources, type Resources } from "./resources.ts";

export interface NodeInfo {
  readonly name: string;
  /** Undefined while pods are bound to a node that is not (or no longer) there. */
  node: Node | undefined;
  labels: Readonly<Record<string, string>>;
  /** Position in the cluster's node order; -1 when not in it. */
  index: number;
  allocatable: Resources;
  maxPods: number;
  readonly requested: Resources;
  nonZeroCpu: number;
  nonZeroMemory: number;
  readonly pods: Map<string, PodInfo>;
  /** `protocol/port` -> host addresses in use, with counts. */
  readonly ports: Map<string, Map<string, number>>;
  /** Taints that keep pods away: NoSchedule and NoExecute. */
  hardTaints: readonly Taint[];
  softTaints: readonly Taint[];
  unschedulable: boolean;
  /** Image name -> bytes. */
  images: ReadonlyMap<string, number>;
}

export function newNodeInfo(name: string): NodeInfo {
  return {
    name, node: undefined, labels: {}, index: -1, allocatable: emptyResources(), maxPods: 0,
    requested: emptyResources(), nonZeroCpu: 0, nonZeroMemory: 0, pods: new Map(), ports: new Map(),
    hardTaints: [], softTaints: [], unschedulable: false, images: new Map(),
  };
}

export function setNode(info: NodeInfo, node: Node | undefined): void {
  const taints = node?.spec?.taints ?? [];
  const allocatable = node?.status?.allocatable ?? node?.status?.capacity;
  if (info.node?.status?.images !== node?.status?.images) info.images = imagesOf(node);
  info.node = node;
  info.labels = node?.metadata.labels ?? {};
  info.allocatable = toResources(allocatable);
  info.maxPods = quantity(allocatable?.["pods"] ?? 0, false);
  info.hardTaints = taints.filter((t) => t.effect === "NoSchedule" || t.effect === "NoExecute");
  info.softTaints = taints.filter((t) => t.effect === "PreferNoSchedule");
  info.unschedulable = node?.spec?.unschedulable === true;
}

function imagesOf(node: Node | undefined): Map<string, number> {
  const out = new Map<string, number>();
  for (const image of node?.status?.images ?? []) {
    for (const name of image.names ?? []) out.set(name, image.sizeBytes ?? 0);
  }
  return out;
}

export function addPod(info: NodeInfo, pod: PodInfo): void {
  info.pods.set(pod.uid, pod);
  count(info, pod, 1);
}

export function removePod(info: NodeInfo, pod: PodInfo): void {
  if (info.pods.delete(pod.uid)) count(info, pod, -1);
}

function count(info: NodeInfo, pod: PodInfo, sign: 1 | -1): void {
  addTo(info.requested, pod.requests, sign);
  info.nonZeroCpu += sign * pod.nonZeroCpu;
  info.nonZeroMemory += sign * pod.nonZeroMemory;
  for (const port of pod.hostPorts) {
    const key = portKey(port);
    const ips = info.ports.get(key) ?? new Map<string, number>();
    info.ports.set(key, ips);
    const left = (ips.get(port.ip) ?? 0) + sign;
    if (left > 0) ips.set(port.ip, left);
    else ips.delete(port.ip);
    if (ips.size === 0) info.ports.delete(key);
  }
}

const portKey = (port: HostPort): string => `${port.protocol}/${port.port}`;

/** Two host ports clash when their addresses are equal or one of them is the wildcard. */
export function portInUse(info: NodeInfo, port: HostPort): boolean {
  const ips = info.ports.get(portKey(port));
  if (!ips) return false;
  return isWildcard(port.ip) || ips.has(port.ip) || ips.has("0.0.0.0") || ips.has("::");
}

const isWildcard = (ip: string): boolean => ip === "0.0.0.0" || ip === "::";
