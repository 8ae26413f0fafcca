/** Looks for the node of one pod: filters a sample of nodes, scores those that fit, and says why none does. */
import type { ClusterState } from "./cluster.ts";
import { reject, type Cycle, type Diagnosis, type Framework, type NodeVerdict } from "./framework.ts";
import type { NodeInfo } from "./node-info.ts";
import type { Nominations } from "./nominations.ts";
import type { PodInfo } from "./pod-info.ts";

export type Placement =
  | { readonly ok: true; readonly node: NodeInfo; readonly cycle: Cycle }
  | { readonly ok: false; readonly cycle: Cycle; readonly diagnosis: Diagnosis };

export interface Placer {
  place(pod: PodInfo): Placement;
  /** Why the pod does not fit the node, counting the pods that were promised a place there. */
  verdict(cycle: Cycle, node: NodeInfo): NodeVerdict | undefined;
}

const minFeasible = 100;

/** Upstream's `numFeasibleNodesToFind`: 50 % of 100 nodes, falling to 5 % of many; 0 = adaptive. */
export function feasibleEnough(total: number, percentage: number): number {
  if (total < minFeasible || percentage >= 100) return total;
  const share = percentage || Math.max(5, 50 - Math.floor(total / 125));
  return Math.max(minFeasible, Math.floor((total * share) / 100));
}

export function createPlacer(
  cluster: ClusterState,
  framework: Framework,
  nominations: Nominations,
  percentageOfNodes: number,
): Placer {
  let start = 0;

  function verdict(cycle: Cycle, node: NodeInfo): NodeVerdict | undefined {
    const promised = nominations.rivals(node.name, cycle.pod);
    if (promised.length) {
      const crowded = cluster.pretend(node, { add: promised }, () => {
        const again = framework.begin(cycle.pod, cluster);
        return again.refused ?? framework.check(again, node);
      });
      if (crowded) return crowded;
    }
    return framework.check(cycle, node);
  }

  function search(cycle: Cycle, verdicts: Map<NodeInfo, NodeVerdict>): NodeInfo[] {
    const all = cluster.nodes();
    const nominated = cycle.pod.pod.status?.nominatedNodeName;
    const own = nominated ? cluster.node(nominated) : undefined;
    if (own?.node && (cycle.nodes?.has(own.name) ?? true) && !verdict(cycle, own)) return [own];
    if (cycle.nodes) return named(cycle, verdicts);
    const enough = feasibleEnough(all.length, percentageOfNodes);
    const found: NodeInfo[] = [];
    let tried = 0;
    for (; tried < all.length && found.length < enough; tried++) {
      const node = all[(start + tried) % all.length]!;
      const refused = verdict(cycle, node);
      if (refused) verdicts.set(node, refused);
      else found.push(node);
    }
    start = (start + tried) % all.length;
    return found;
  }

  function named(cycle: Cycle, verdicts: Map<NodeInfo, NodeVerdict>): NodeInfo[] {
    const found: NodeInfo[] = [];
    for (const name of cycle.nodes!) {
      const node = cluster.node(name);
      if (!node?.node) continue;
      const refused = verdict(cycle, node);
      if (refused) verdicts.set(node, refused);
      else found.push(node);
    }
    if (found.length) return found;
    const left = reject(`node(s) didn't satisfy plugin(s) [${cycle.narrowedBy.join(",")}]`);
    const plugin = cycle.narrowedBy[0]!;
    for (const node of cluster.nodes()) if (!verdicts.has(node)) verdicts.set(node, { plugin, rejection: left });
    return found;
  }

  return {
    verdict,
    place(pod) {
      const total = cluster.nodes().length;
      const cycle = framework.begin(pod, cluster);
      const verdicts = new Map<NodeInfo, NodeVerdict>();
      if (cycle.refused) return { ok: false, cycle, diagnosis: { total, verdicts, preFilter: cycle.refused } };
      const nodes = total ? search(cycle, verdicts) : [];
      if (!nodes.length) return { ok: false, cycle, diagnosis: { total, verdicts } };
      return { ok: true, cycle, node: nodes[framework.best(nodes, pod, cluster)]! };
    },
  };
}
