/** NodeResourcesFit: requests must fit what is left; emptier nodes score higher (LeastAllocated). */
import type { Rejection, SchedulingPlugin } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";

interface Shortage {
  readonly reason: string;
  /** The node could not hold the pod even when empty. */
  readonly hopeless: boolean;
}

export const nodeResourcesFit: SchedulingPlugin = {
  name: "NodeResourcesFit",
  events: ["node", "podDeleted", "podUpdated"],
  local: true,
  weight: 1,
  filter: (node, pod) => (fits(node, pod) ? undefined : shortages(node, pod)),
  score(nodes, pod, _cluster, out) {
    for (let i = 0; i < nodes.length; i++) out[i] = leastAllocated(nodes[i]!, pod);
    return true;
  },
};

function fits(node: NodeInfo, { requests }: PodInfo): boolean {
  const { allocatable, requested } = node;
  if (node.pods.size + 1 > node.maxPods) return false;
  if (requests.cpu > 0 && requests.cpu > allocatable.cpu - requested.cpu) return false;
  if (requests.memory > 0 && requests.memory > allocatable.memory - requested.memory) return false;
  if (requests.ephemeral > 0 && requests.ephemeral > allocatable.ephemeral - requested.ephemeral) return false;
  for (const [name, value] of requests.scalars) {
    if (value > 0 && value > (allocatable.scalars.get(name) ?? 0) - (requested.scalars.get(name) ?? 0)) return false;
  }
  return true;
}

function shortages(node: NodeInfo, { requests }: PodInfo): Rejection {
  const found: Shortage[] = [];
  const { allocatable, requested } = node;
  const compare = (name: string, asked: number, has: number, used: number): void => {
    if (asked > 0 && asked > has - used) found.push({ reason: `Insufficient ${name}`, hopeless: asked > has });
  };
  if (node.pods.size + 1 > node.maxPods) found.push({ reason: "Too many pods", hopeless: node.maxPods === 0 });
  compare("cpu", requests.cpu, allocatable.cpu, requested.cpu);
  compare("memory", requests.memory, allocatable.memory, requested.memory);
  compare("ephemeral-storage", requests.ephemeral, allocatable.ephemeral, requested.ephemeral);
  for (const [name, asked] of requests.scalars) {
    compare(name, asked, allocatable.scalars.get(name) ?? 0, requested.scalars.get(name) ?? 0);
  }
  return { reasons: found.map((s) => s.reason), preemptible: !found.some((s) => s.hopeless) };
}

/** Mean of the free shares of CPU and memory after the pod is placed. */
function leastAllocated(node: NodeInfo, pod: PodInfo): number {
  const { cpu, memory } = node.allocatable;
  let sum = 0;
  let kinds = 0;
  if (cpu > 0) {
    sum += freeShare(cpu, node.nonZeroCpu + pod.nonZeroCpu);
    kinds++;
  }
  if (memory > 0) {
    sum += freeShare(memory, node.nonZeroMemory + pod.nonZeroMemory);
    kinds++;
  }
  return kinds ? Math.trunc(sum / kinds) : 0;
}

const freeShare = (has: number, used: number): number => (used > has ? 0 : Math.trunc(((has - used) * 100) / has));
