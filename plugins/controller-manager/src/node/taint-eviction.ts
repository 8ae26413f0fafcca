/** The taint eviction controller: removes pods that do not, or no longer, tolerate a NoExecute taint of their node. */
import {
  isNotFound, keyOf, nodes, pods, setCondition, splitKey, timestamp,
  type Node, type Pod, type Taint,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { isTerminal } from "../lib/pods.ts";
import { tolerates } from "../lib/scheduling.ts";
import { semanticEqual } from "../lib/values.ts";

const noExecute = (node: Node | undefined): Taint[] =>
  (node?.spec?.taints ?? []).filter((taint) => taint.effect === "NoExecute");

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "taint-eviction");
  /** When a pod was first seen under a taint. */
  const since = new Map<string, Map<string, number>>();
  const nodeInformer = c.follow(nodes, (node, { previous }) => {
    const same = previous ? semanticEqual(noExecute(previous), noExecute(node)) : noExecute(node).length === 0;
    return same ? [] : podInformer.byIndex("node", node.metadata.name!).map(keyOf);
  });
  const podInformer = c.follow(pods, podKeys);
  c.run(reconcile);

  function podKeys(pod: Pod, { previous, deleted }: Change<Pod>): string | undefined {
    if (deleted) return void since.delete(keyOf(pod));
    const node = pod.spec?.nodeName;
    if (!node || noExecute(nodeInformer.get(node)).length === 0) return undefined;
    const same = previous?.spec?.nodeName === node && semanticEqual(previous.spec.tolerations, pod.spec?.tolerations);
    return same ? undefined : keyOf(pod);
  }

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const pod = podInformer.get(name, namespace);
    const taints = noExecute(pod?.spec?.nodeName ? nodeInformer.get(pod.spec.nodeName) : undefined);
    if (!pod || pod.metadata.deletionTimestamp || isTerminal(pod)) return void since.delete(key);
    if (taints.length === 0) {
      if (since.delete(key))
        c.events.record(referenceTo(pods, pod), "Normal", "TaintManagerEviction", `Cancelling deletion of Pod ${key}`);
      return;
    }
    const due = dueAt(key, pod, taints);
    if (due === undefined) return;
    const left = due - now().getTime();
    return left > 0 ? left : evict(key, pod);
  }

  /** The earliest end of the pod's patience with any of the taints; undefined when it bears them for ever. */
  function dueAt(key: string, pod: Pod, taints: readonly Taint[]): number | undefined {
    const before = since.get(key);
    const firstSeen = new Map(taints.map((taint) => [taint.key, before?.get(taint.key) ?? now().getTime()]));
    since.set(key, firstSeen);
    const ends = taints.map((taint) => {
      const matching = (pod.spec?.tolerations ?? []).filter((toleration) => tolerates(toleration, taint));
      if (matching.length === 0) return 0;
      const seconds = matching.map((toleration) => toleration.tolerationSeconds).filter((s) => s !== undefined);
      return seconds.length ? firstSeen.get(taint.key)! + Math.max(0, Math.min(...seconds)) * 1000 : Infinity;
    });
    const end = Math.min(...ends);
    return end === Infinity ? undefined : end;
  }

  async function evict(key: string, pod: Pod): Promise<void> {
    c.events.record(referenceTo(pods, pod), "Normal", "TaintManagerEviction", `Marking for deletion Pod ${key}`);
    const disrupted = {
      type: "DisruptionTarget",
      status: "True",
      reason: "DeletionByTaintManager",
      message: "Taint manager: deleting due to NoExecute taint",
      ...(pod.metadata.generation !== undefined && { observedGeneration: pod.metadata.generation }),
    };
    const conditions = setCondition(pod.status?.conditions, disrupted as any, timestamp(now()));
    const { name, namespace, uid } = pod.metadata;
    try {
      await client.patch(pods, name!, { metadata: { uid }, status: { conditions } }, { namespace, subresource: "status" });
      await client.delete(pods, name!, { namespace, preconditions: { uid } });
      since.delete(key);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
