/** NodeResourcesBalancedAllocation: prefers nodes whose CPU and memory are used to a like degree. */
import type { SchedulingPlugin } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";

export const balancedAllocation: SchedulingPlugin = {
  name: "NodeResourcesBalancedAllocation",
  weight: 1,
  score(nodes, pod, _cluster, out) {
    if (pod.requests.cpu === 0 && pod.requests.memory === 0) return false;
    for (let i = 0; i < nodes.length; i++) out[i] = balance(nodes[i]!, pod);
    return true;
  },
};

/** 100 minus the standard deviation of the two used shares, in percent. */
function balance(node: NodeInfo, pod: PodInfo): number {
  const { cpu, memory } = node.allocatable;
  if (cpu === 0 || memory === 0) return 100;
  const cpuShare = Math.min(1, (node.requested.cpu + pod.requests.cpu) / cpu);
  const memoryShare = Math.min(1, (node.requested.memory + pod.requests.memory) / memory);
  return Math.trunc((1 - Math.abs(cpuShare - memoryShare) / 2) * 100);
}
