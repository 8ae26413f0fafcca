/** Feeds what the informers see into the cluster picture and the queue. */
import type { Informer, Node, Pod } from "@k3s-p/plugin-api/kube";
import type { ClusterState } from "./cluster.ts";
import type { ClusterEvent, Framework } from "./framework.ts";
import type { Nominations } from "./nominations.ts";
import type { Outcome } from "./outcome.ts";
import { podInfo } from "./pod-info.ts";
import type { SchedulingQueue } from "./queue.ts";

export interface WatchOptions {
  readonly schedulerName: string;
  readonly cluster: ClusterState;
  readonly queue: SchedulingQueue;
  readonly framework: Framework;
  readonly nominations: Nominations;
  readonly outcome: Outcome;
  readonly signal: (event: ClusterEvent, node?: string) => void;
  /** The pod is gone: stop binding it. */
  readonly onGone: (uid: string) => void;
}

export function watchNodes(informer: Informer<Node>, { cluster, signal }: WatchOptions): () => void {
  return informer.on({
    added(node) {
      cluster.setNode(node);
      signal("node", node.metadata.name!);
    },
    updated(node, previous) {
      cluster.setNode(node);
      if (schedulingFacts(node) !== schedulingFacts(previous)) signal("node", node.metadata.name!);
    },
    deleted: (node) => cluster.removeNode(node.metadata.name!),
  });
}

/** Heartbeats change none of these. */
const schedulingFacts = ({ metadata, spec, status }: Node): string =>
  JSON.stringify([metadata.labels, spec?.unschedulable, spec?.taints, status?.allocatable]);

export function watchPods(informer: Informer<Pod>, options: WatchOptions): () => void {
  const { cluster, queue, nominations, signal, onGone, schedulerName } = options;

  function seen(pod: Pod, previous?: Pod): void {
    const { phase } = pod.status ?? {};
    if (phase === "Succeeded" || phase === "Failed") return gone(pod);
    if (pod.spec?.nodeName) return bound(pod, pod.spec.nodeName);
    const mine = (pod.spec?.schedulerName ?? schedulerName) === schedulerName;
    if (!mine || pod.metadata.deletionTimestamp) return unwanted(pod);
    if (!cluster.isAssumed(pod.metadata.uid!)) pending(pod, previous, options);
  }

  function bound(pod: Pod, node: string): void {
    const uid = pod.metadata.uid!;
    const assumed = cluster.isAssumed(uid);
    const before = cluster.setPod(pod, node);
    const info = podInfo(pod);
    queue.remove(uid);
    nominations.remove(uid);
    if (!before || assumed) signal("podAdded", node);
    else if (before.info.classKey !== info.classKey || before.info.requests.cpu !== info.requests.cpu || before.info.requests.memory !== info.requests.memory) {
      signal("podUpdated", node);
    }
  }

  function unwanted(pod: Pod): void {
    const uid = pod.metadata.uid!;
    queue.remove(uid);
    onGone(uid);
    const promised = nominations.nodeOf(uid);
    nominations.remove(uid);
    if (promised) signal("podDeleted", promised);
  }

  function gone(pod: Pod): void {
    const before = cluster.removePod(pod.metadata.uid!);
    unwanted(pod);
    if (before) signal("podDeleted", before.node);
  }

  return informer.on({ added: seen, updated: seen, deleted: gone });
}

function pending(pod: Pod, previous: Pod | undefined, { queue, framework, nominations, outcome }: WatchOptions): void {
  const info = podInfo(pod);
  const known = queue.get(info.uid);
  const open = framework.gate(info);
  if (!known) {
    if (!open) outcome.gated(info);
    if (pod.status?.nominatedNodeName) nominations.set(info, pod.status.nominatedNodeName);
    return queue.add(info, !open);
  }
  if (known.state === "gated") return queue.add(info, !open);
  queue.refresh(info);
  if (previous && ownFacts(pod) !== ownFacts(previous)) queue.renew(info.uid);
}

/** Changes of these by the user may make a pod schedulable; status writes do not. */
const ownFacts = ({ metadata, spec }: Pod): string => JSON.stringify([metadata.labels, spec]);
