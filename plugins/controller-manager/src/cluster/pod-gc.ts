/** The pod garbage collector: pods of nodes that are gone, pods that end before they started, and too many finished ones. */
import {
  isNotFound, keyOf, nodes, pods, setCondition, splitKey, timestamp,
  type Informer, type Node, type Pod,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { byCreation, isTerminal, isTerminating } from "../lib/pods.ts";

/** Time that a node may be missing before its pods are removed. */
const QUARANTINE_MS = 40_000;
const OUT_OF_SERVICE = "node.kubernetes.io/out-of-service";

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const threshold = deps.tuning.terminatedPodThreshold;
  const c = createController(deps, "pod-garbage-collector", { workers: 2 });
  const missingSince = new Map<string, number>();
  let finished = 0;
  const podInformer: Informer<Pod> = c.follow(pods, (pod, { previous, deleted }): string | undefined => {
    const before = Number(previous !== undefined && isTerminal(previous) || (deleted && isTerminal(pod)));
    finished += Number(!deleted && isTerminal(pod)) - before;
    if (deleted) return undefined;
    if (finished > threshold) return "*";
    if (pod.spec?.nodeName) return nodeInformer.get(pod.spec.nodeName) && !isTerminating(pod) ? undefined : keyOf(pod);
    return isTerminating(pod) ? keyOf(pod) : undefined;
  });
  const nodeInformer: Informer<Node> = c.follow(nodes, (node, { deleted }): string[] | undefined => {
    if (!deleted) missingSince.delete(node.metadata.name!);
    const outOfService = node.spec?.taints?.some((taint) => taint.key === OUT_OF_SERVICE);
    return deleted || outOfService ? podInformer.byIndex("node", node.metadata.name!).map(keyOf) : undefined;
  });
  c.run((key) => (key === "*" ? trimFinished() : reconcile(key)));

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const pod = podInformer.get(name, namespace);
    if (!pod) return;
    const nodeName = pod.spec?.nodeName;
    if (!nodeName) return isTerminating(pod) ? forceDelete(pod, undefined) : undefined;
    const node = nodeInformer.get(nodeName);
    if (node) {
      const taken = node.spec?.taints?.some((taint) => taint.key === OUT_OF_SERVICE);
      const ready = node.status?.conditions?.find((condition) => condition.type === "Ready")?.status === "True";
      return taken && !ready && isTerminating(pod) ? forceDelete(pod, undefined) : undefined;
    }
    const since = missingSince.get(nodeName) ?? now().getTime();
    missingSince.set(nodeName, since);
    const left = since + QUARANTINE_MS - now().getTime();
    if (left > 0) return left;
    if (await nodeExists(nodeName)) return;
    return forceDelete(pod, "PodGC: node no longer exists");
  }

  async function nodeExists(name: string): Promise<boolean> {
    try {
      await client.get(nodes, name);
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /** A pod that did not end by itself is marked failed first, so that its owner counts it. */
  async function forceDelete(pod: Pod, why: string | undefined): Promise<void> {
    try {
      if (!isTerminal(pod)) await markFailed(pod, why);
      await client.delete(pods, pod.metadata.name!, {
        namespace: pod.metadata.namespace, gracePeriodSeconds: 0, preconditions: { uid: pod.metadata.uid },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  async function markFailed(pod: Pod, why: string | undefined): Promise<void> {
    const disrupted = why && {
      type: "DisruptionTarget",
      status: "True",
      reason: "DeletionByPodGC",
      message: why,
      ...(pod.metadata.generation !== undefined && { observedGeneration: pod.metadata.generation }),
    };
    const conditions = disrupted
      ? setCondition(pod.status?.conditions, disrupted as any, timestamp(now()))
      : pod.status?.conditions;
    await client.patch(
      pods,
      pod.metadata.name!,
      { status: { phase: "Failed", ...(conditions && { conditions }) } },
      {
        namespace: pod.metadata.namespace,
        subresource: "status",
      },
    );
  }

  async function trimFinished(): Promise<void> {
    const done = podInformer.list().filter(isTerminal).sort(byCreation);
    for (const pod of done.slice(0, Math.max(0, done.length - threshold))) await forceDelete(pod, undefined);
  }
}
