/** The node lifecycle controller: nodes that stop reporting, the taints that conditions stand for, pods that are not ready with them. */
import {
  findCondition, leases, nodes, pods, setCondition, timestamp,
  type Lease, type Node, type Pod, type Taint,
} from "@k3s-p/plugin-api/kube";
import { createController, type Change, type ControllerDeps } from "../controller.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { isReady } from "../lib/pods.ts";
import { semanticEqual } from "../lib/values.ts";
import { conditionTaints, evictionTaints, isOwnTaint, mirroredLabels } from "./taints.ts";

const LEASE_NAMESPACE = "kube-node-lease";
const watched = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] as const;

const readyOf = (node: Node): string => findCondition(node.status?.conditions, "Ready")?.status ?? "Unknown";

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  /** Silence after which a node's state is unknown, and the longer patience with one that never reported. */
  const { nodeMonitorGrace, nodeStartupGrace } = deps.tuning;
  const c = createController(deps, "node-lifecycle", { component: "node-controller" });
  const lastSeen = new Map<string, number>();
  const known = new Set<string>();
  const podInformer = c.read(pods);
  const informer = c.follow(nodes, nodeKeys);
  c.follow(leases, leaseSeen);
  c.run(reconcile);

  /** A sign of life only moves the deadline; the timer that is set finds that out when it fires. */
  function leaseSeen(lease: Lease, { previous, deleted }: Change<Lease>): void {
    if (lease.metadata.namespace !== LEASE_NAMESPACE || deleted || lease.spec?.renewTime === previous?.spec?.renewTime)
      return;
    seen(lease.metadata.name!, lease.spec?.renewTime);
  }

  /** At the start the written time counts; later the moment at which a change arrives, since clocks of nodes may differ. */
  function seen(name: string, written: string | undefined): void {
    const first = !lastSeen.has(name);
    const at = now().getTime();
    const stamp = first && written ? Math.min(Date.parse(written) || at, at) : at;
    lastSeen.set(name, Math.max(stamp, lastSeen.get(name) ?? 0));
  }

  function nodeKeys(node: Node, { previous, deleted }: Change<Node>): string[] {
    const name = node.metadata.name!;
    if (deleted) {
      lastSeen.delete(name);
      known.delete(name);
      c.events.record(
        referenceTo(nodes, node),
        "Normal",
        "RemovingNode",
        `Node ${name} event: Removing Node ${name} from Controller`,
      );
      return [];
    }
    const heartbeat = (n: Node) => findCondition(n.status?.conditions, "Ready")?.lastHeartbeatTime as string | undefined;
    if (!previous || heartbeat(previous) !== heartbeat(node) || readyOf(previous) !== readyOf(node)) {
      if (heartbeat(node) && readyOf(node) !== "Unknown") seen(name, heartbeat(node));
    }
    // The first node to become ready lets the evictions of all others begin.
    return previous && readyOf(previous) !== readyOf(node) ? informer.list().map((n) => n.metadata.name!) : [name];
  }

  async function reconcile(name: string): Promise<number | void> {
    const listed = informer.get(name);
    if (!listed) return;
    if (!known.has(name)) {
      known.add(name);
      c.events.record(
        referenceTo(nodes, listed),
        "Normal",
        "RegisteredNode",
        `Node ${name} event: Registered Node ${name} in Controller`,
      );
    }
    const left = deadlineOf(listed) - now().getTime();
    const node = left > 0 ? listed : await markUnknown(listed);
    await writeTaints(node);
    if (readyOf(node) !== "True") await markPodsNotReady(node);
    return left > 0 ? left : undefined;
  }

  function deadlineOf(node: Node): number {
    const seenAt = lastSeen.get(node.metadata.name!);
    if (seenAt !== undefined) return seenAt + nodeMonitorGrace;
    const reported = findCondition(node.status?.conditions, "Ready") !== undefined;
    return Date.parse(node.metadata.creationTimestamp!) + (reported ? nodeMonitorGrace : nodeStartupGrace);
  }

  async function markUnknown(node: Node): Promise<Node> {
    const at = timestamp(now());
    let conditions = node.status?.conditions;
    for (const type of watched) {
      const before = findCondition(conditions, type);
      if (before?.status === "Unknown") continue;
      const next = before
        ? { ...before, status: "Unknown", reason: "NodeStatusUnknown", message: "Kubelet stopped posting node status." }
        : {
            type,
            status: "Unknown",
            reason: "NodeStatusNeverUpdated",
            message: "Kubelet never posted node status.",
            lastHeartbeatTime: node.metadata.creationTimestamp,
          };
      conditions = setCondition(conditions, next as any, at);
    }
    if (conditions === node.status?.conditions) return node;
    c.events.record(
      referenceTo(nodes, node),
      "Normal",
      "NodeNotReady",
      `Node ${node.metadata.name} status is now: NodeNotReady`,
    );
    return client.update(nodes, { ...node, status: { ...node.status, conditions } }, { subresource: "status" });
  }

  async function writeTaints(node: Node): Promise<void> {
    // With no node ready at all the fault is more likely here: nothing is evicted.
    const anyReady = informer.list().some((other) => readyOf(other) === "True");
    const before = node.spec?.taints ?? [];
    const wanted: Taint[] = [...conditionTaints(node), ...(anyReady ? evictionTaints(node) : [])];
    const kept = before.filter(
      (taint) => !isOwnTaint(taint) || wanted.some((w) => w.key === taint.key && w.effect === taint.effect),
    );
    const added = wanted
      .filter((w) => !before.some((taint) => w.key === taint.key && w.effect === taint.effect))
      .map((taint) => ({ ...taint, timeAdded: timestamp(now()) as any }));
    const taints = [...kept, ...added];
    const labels = mirroredLabels(node);
    const sameTaints = semanticEqual(taints, before);
    if (sameTaints && !labels) return;
    const metadata = { resourceVersion: node.metadata.resourceVersion, ...(labels && { labels }) };
    await client.patch(nodes, node.metadata.name!, {
      metadata,
      ...(!sameTaints && { spec: { taints: taints.length ? taints : null } }),
    });
  }

  async function markPodsNotReady(node: Node): Promise<void> {
    const affected = podInformer.byIndex("node", node.metadata.name!).filter((pod) => isReady(pod));
    await Promise.all(affected.map((pod) => markNotReady(pod)));
  }

  async function markNotReady(pod: Pod): Promise<void> {
    const before = findCondition(pod.status?.conditions, "Ready")!;
    const conditions = setCondition(pod.status?.conditions, { ...before, status: "False" }, timestamp(now()));
    await client.patch(
      pods,
      pod.metadata.name!,
      { metadata: { resourceVersion: pod.metadata.resourceVersion }, status: { conditions } },
      {
        namespace: pod.metadata.namespace,
        subresource: "status",
      },
    );
    c.events.record(referenceTo(pods, pod), "Warning", "NodeNotReady", "Node is not ready");
  }
}
