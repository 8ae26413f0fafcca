/** Binds placed pods in the background: each counts on its node at once, and no more when the API server refuses. */
import { messageOf } from "@k3s-p/plugin-api";
import { isNotFound, pods, type Binding, type KubeClient, type KubeObject, type Pod } from "@k3s-p/plugin-api/kube";
import type { ClusterState } from "./cluster.ts";
import type { ClusterEvent, Framework } from "./framework.ts";
import type { NodeInfo } from "./node-info.ts";
import type { Nominations } from "./nominations.ts";
import type { Outcome } from "./outcome.ts";
import type { Placement } from "./placement.ts";
import { podInfo, type PodInfo } from "./pod-info.ts";
import type { QueuedPod, SchedulingQueue } from "./queue.ts";

export interface BinderOptions {
  readonly client: KubeClient;
  readonly cluster: ClusterState;
  readonly framework: Framework;
  readonly nominations: Nominations;
  readonly outcome: Outcome;
  readonly queue: SchedulingQueue;
  /** The pod as the API server has it now. */
  readonly latest: (info: PodInfo) => Pod | undefined;
  readonly signal: (event: ClusterEvent, node?: string) => void;
  /** A binding has ended, well or not. */
  readonly onSettled: () => void;
}

export interface Binder {
  accept(item: QueuedPod, placement: Extract<Placement, { ok: true }>): void;
  /** The pod is gone: what its binding waits for is given up. */
  abort(uid: string): void;
  stop(): void;
  /** Requests on their way to the API server. */
  readonly calls: number;
}

export function createBinder(options: BinderOptions): Binder {
  const { client, cluster, framework, nominations, outcome, queue } = options;
  const binding = new Map<string, AbortController>();
  let calls = 0;

  async function bind(item: QueuedPod, node: NodeInfo, aborted: AbortSignal): Promise<void> {
    const { info } = item;
    try {
      await framework.preBind(info, node, aborted);
      const { name, namespace } = info;
      calls++;
      await client.create<Pod, KubeObject>(pods, bindingOf(info, node), { subresource: "binding", name, namespace }).finally(() => calls--);
      queue.remove(info.uid);
      outcome.scheduled(info, node.name);
    } catch (error) {
      framework.unreserve(info);
      forget(item, node, error);
    }
  }

  /** Undoes an assumption. A pod that is gone or was bound by someone else needs no retry. */
  function forget(item: QueuedPod, node: NodeInfo, error: unknown): void {
    const { info } = item;
    if (!cluster.isAssumed(info.uid)) return;
    cluster.removePod(info.uid);
    options.signal("podDeleted", node.name);
    if (isNotFound(error) || queue.get(info.uid) !== item) return queue.remove(info.uid);
    const latest = options.latest(info);
    if (latest?.metadata.uid === info.pod.metadata.uid) queue.refresh(podInfo(latest!));
    outcome.failed(info, "SchedulerError", messageOf(error));
    queue.retry(item);
  }

  return {
    get calls() { return calls; },
    accept(item, { cycle, node }) {
      const { info } = item;
      framework.reserve(cycle, node);
      cluster.assume(info, node.name);
      nominations.remove(info.uid);
      const controller = new AbortController();
      binding.set(info.uid, controller);
      void bind(item, node, controller.signal).finally(() => {
        if (binding.get(info.uid) === controller) binding.delete(info.uid);
        options.onSettled();
      });
    },
    abort: (uid) => binding.get(uid)?.abort(),
    stop() {
      for (const controller of binding.values()) controller.abort();
    },
  };
}

function bindingOf({ name, namespace, pod }: PodInfo, node: NodeInfo): Binding {
  const { uid } = pod.metadata;
  return { apiVersion: "v1", kind: "Binding", metadata: { name, namespace, ...(uid && { uid }) }, target: { kind: "Node", apiVersion: "v1", name: node.name } };
}
