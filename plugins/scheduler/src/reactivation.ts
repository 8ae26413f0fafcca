/** Decides which parked pods a change of the cluster may help, and lets only these try again. */
import type { ClusterState } from "./cluster.ts";
import type { ClusterEvent, Framework } from "./framework.ts";
import type { NodeInfo } from "./node-info.ts";
import type { Nominations } from "./nominations.ts";
import type { QueuedPod, SchedulingQueue } from "./queue.ts";

export interface Reactivation {
  /** Something happened; `node` when it concerns one node. Handled together with what else comes in the same turn. */
  signal(event: ClusterEvent, node?: string): void;
}

export function createReactivation(
  cluster: ClusterState,
  framework: Framework,
  queue: SchedulingQueue,
  nominations: Nominations,
  defer: (fn: () => void) => void,
): Reactivation {
  /** Event -> names of the nodes concerned; undefined = anywhere. */
  let pending = new Map<ClusterEvent, Set<string> | undefined>();

  function flush(): void {
    const events = pending;
    pending = new Map();
    for (const item of [...queue.parked()]) if (mayHelp(events, item)) queue.activate(item);
  }

  function mayHelp(events: ReadonlyMap<ClusterEvent, ReadonlySet<string> | undefined>, item: QueuedPod): boolean {
    const local = framework.isLocal(item.rejectedBy);
    const promised = nominations.nodeOf(item.info.uid);
    for (const [event, names] of events) {
      if (!framework.helps(event, item.rejectedBy)) continue;
      if (!local || !names || (promised && names.has(promised)) || fitsOneOf(names, item)) return true;
    }
    return false;
  }

  /**
   * A pod that only nodes themselves refused is tried again when one of the changed nodes would take it. (A pod that
   * was promised a node is tried whenever that node changes, so that a promise of no use does not block others.)
   */
  function fitsOneOf(names: ReadonlySet<string>, item: QueuedPod): boolean {
    const cycle = framework.begin(item.info, cluster);
    if (cycle.refused) return false;
    const fits = (node: NodeInfo | undefined) => node?.node !== undefined && !framework.check(cycle, node, true);
    return [...names].some((name) => fits(cluster.node(name)));
  }

  return {
    signal(event, node) {
      if (pending.size === 0) defer(flush);
      const names = pending.get(event);
      if (node === undefined) pending.set(event, undefined);
      else if (names) names.add(node);
      else if (!pending.has(event)) pending.set(event, new Set([node]));
    },
  };
}
