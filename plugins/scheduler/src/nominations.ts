/** Places promised to preemptors: a pod for which others were evicted keeps its claim on the node until it is bound. */
import type { PodInfo } from "./pod-info.ts";

export interface Nominations {
  set(info: PodInfo, node: string): void;
  remove(uid: string): void;
  nodeOf(uid: string): string | undefined;
  /** Pods promised to the node whose priority is at least the given pod's. */
  rivals(node: string, pod: PodInfo): readonly PodInfo[];
  /** Pods promised to the node whose priority is lower. */
  lesser(node: string, pod: PodInfo): readonly PodInfo[];
}

const none: readonly PodInfo[] = [];

export function createNominations(): Nominations {
  const byNode = new Map<string, Map<string, PodInfo>>();
  const nodeOf = new Map<string, string>();

  function remove(uid: string): void {
    const node = nodeOf.get(uid);
    if (node === undefined) return;
    nodeOf.delete(uid);
    const pods = byNode.get(node);
    pods?.delete(uid);
    if (pods?.size === 0) byNode.delete(node);
  }

  return {
    set(info, node) {
      remove(info.uid);
      nodeOf.set(info.uid, node);
      const pods = byNode.get(node) ?? new Map<string, PodInfo>();
      byNode.set(node, pods.set(info.uid, info));
    },
    remove,
    nodeOf: (uid) => nodeOf.get(uid),
    rivals(node, pod) {
      const pods = byNode.get(node);
      return pods ? [...pods.values()].filter((other) => other.priority >= pod.priority && other.uid !== pod.uid) : none;
    },
    lesser(node, pod) {
      const pods = byNode.get(node);
      return pods ? [...pods.values()].filter((other) => other.priority < pod.priority) : none;
    },
  };
}
