/**
 * The scheduling framework: what a scheduling plugin is, and how a set of them is compiled once into flat arrays
 * that the per-node loops walk without look-ups. After upstream's scheduler framework (KEP-624).
 */
import { messageOf } from "@k3s-p/plugin-api";
import type { Cluster } from "./cluster.ts";
import type { NodeInfo } from "./node-info.ts";
import type { PodInfo } from "./pod-info.ts";

/** Changes of the cluster that may help a pod which a plugin rejected. */
export type ClusterEvent = "node" | "podAdded" | "podDeleted" | "podUpdated" | "claim" | "volume" | "storageClass" | "namespace";

/** Why a node is refused. `preemptible` = removing pods from the node may help. */
export interface Rejection {
  readonly reasons: readonly string[];
  readonly preemptible: boolean;
}

export const reject = (reason: string, preemptible = false): Rejection =>
  Object.freeze({ reasons: Object.freeze([reason]), preemptible });

/** `skip`: the plugin has nothing to say on this pod; `reject`: no node will do; `nodes`: only these will. */
export type PreFilterResult<S> =
  | { readonly skip: true }
  | { readonly reject: Rejection }
  | { readonly state: S; readonly nodes?: ReadonlySet<string> };

/** A candidate column: for each node a raw or final score. */
export type Scores = Float64Array;

export interface SchedulingPlugin<S = unknown> {
  readonly name: string;
  /** What may help a pod that this plugin rejected. */
  readonly events?: readonly ClusterEvent[];
  /** The verdict depends on the node alone, not on pods elsewhere. */
  readonly local?: boolean;
  /** Whether the pod may enter the queue at all. */
  readonly preEnqueue?: (pod: PodInfo) => boolean;
  readonly preFilter?: (pod: PodInfo, cluster: Cluster) => PreFilterResult<S>;
  readonly filter?: (node: NodeInfo, pod: PodInfo, state: S) => Rejection | undefined;
  readonly weight?: number;
  /** Fills `out[i]` with 0..100 for `nodes[i]`; false when the plugin does not distinguish these nodes. */
  readonly score?: (nodes: readonly NodeInfo[], pod: PodInfo, cluster: Cluster, out: Scores) => boolean;
  /** Claims what the pod will use; undone by `unreserve`. Synchronous, in the scheduling cycle. */
  readonly reserve?: (pod: PodInfo, node: NodeInfo, state: S | undefined) => void;
  readonly unreserve?: (pod: PodInfo) => void;
  /** Awaited before the binding; a rejection sends the pod back to the queue. */
  readonly preBind?: (pod: PodInfo, node: NodeInfo, signal: AbortSignal) => Promise<void>;
}

export interface NodeVerdict {
  readonly plugin: string;
  readonly rejection: Rejection;
}

/** Why no node was found. */
export interface Diagnosis {
  readonly total: number;
  /** Set when a plugin refused the pod as a whole. */
  readonly preFilter?: NodeVerdict;
  readonly verdicts: ReadonlyMap<NodeInfo, NodeVerdict>;
}

/** One pod's way through the filters: the states that the plugins made for it. */
export interface Cycle {
  readonly pod: PodInfo;
  readonly refused?: NodeVerdict;
  readonly nodes?: ReadonlySet<string>;
  /** Who narrowed the nodes, for the message. */
  readonly narrowedBy: readonly string[];
  readonly filters: readonly ActiveFilter[];
}

interface ActiveFilter {
  readonly plugin: string;
  readonly local: boolean;
  readonly filter: (node: NodeInfo, pod: PodInfo, state: any) => Rejection | undefined;
  readonly state: unknown;
}

export interface Framework {
  readonly plugins: readonly SchedulingPlugin<any>[];
  /** Runs the pre-filters. */
  begin(pod: PodInfo, cluster: Cluster): Cycle;
  /** The first refusal of the node, or undefined when the pod fits. */
  check(cycle: Cycle, node: NodeInfo, localOnly?: boolean): NodeVerdict | undefined;
  /** Index of the best of `nodes`. */
  best(nodes: readonly NodeInfo[], pod: PodInfo, cluster: Cluster): number;
  gate(pod: PodInfo): boolean;
  reserve(cycle: Cycle, node: NodeInfo): void;
  unreserve(pod: PodInfo): void;
  preBind(pod: PodInfo, node: NodeInfo, signal: AbortSignal): Promise<void>;
  /** Whether the event may help a pod that these plugins rejected. */
  helps(event: ClusterEvent, plugins: ReadonlySet<string>): boolean;
  /** Whether all of these plugins look at one node only. */
  isLocal(plugins: ReadonlySet<string>): boolean;
}

export function compile(plugins: readonly SchedulingPlugin<any>[], random: () => number = Math.random): Framework {
  const filtering = plugins.filter((p) => p.preFilter || p.filter);
  const scoring = plugins.filter((p) => p.score);
  const gates = plugins.filter((p) => p.preEnqueue);
  const reserving = plugins.filter((p) => p.reserve);
  const binding = plugins.filter((p) => p.preBind);
  const byName = new Map(plugins.map((p) => [p.name, p]));
  let totals: Scores = new Float64Array(128);
  let column: Scores = new Float64Array(128);

  function best(nodes: readonly NodeInfo[], pod: PodInfo, cluster: Cluster): number {
    const n = nodes.length;
    if (n === 1) return 0;
    if (totals.length < n) {
      totals = new Float64Array(n * 2);
      column = new Float64Array(n * 2);
    }
    totals.fill(0, 0, n);
    for (const plugin of scoring) {
      if (!plugin.score!(nodes, pod, cluster, column)) continue;
      const weight = plugin.weight ?? 1;
      for (let i = 0; i < n; i++) totals[i]! += column[i]! * weight;
    }
    return pickHighest(totals, n, random);
  }

  return {
    plugins,
    begin: (pod, cluster) => begin(filtering, pod, cluster),
    check,
    best,
    gate: (pod) => gates.every((p) => p.preEnqueue!(pod)),
    reserve(cycle, node) {
      for (const p of reserving) p.reserve!(cycle.pod, node, cycle.filters.find((f) => f.plugin === p.name)?.state);
    },
    unreserve(pod) {
      for (const p of reserving) p.unreserve?.(pod);
    },
    async preBind(pod, node, signal) {
      for (const p of binding) await named(p.name, p.preBind!(pod, node, signal));
    },
    helps: (event, names) => [...names].some((name) => byName.get(name)?.events?.includes(event) ?? true),
    isLocal: (names) => [...names].every((name) => byName.get(name)?.local === true),
  };
}

function begin(plugins: readonly SchedulingPlugin<any>[], pod: PodInfo, cluster: Cluster): Cycle {
  const filters: ActiveFilter[] = [];
  const narrowedBy: string[] = [];
  let nodes: ReadonlySet<string> | undefined;
  for (const { name: plugin, preFilter, filter, local = false } of plugins) {
    const result = preFilter ? preFilter(pod, cluster) : { state: undefined };
    if ("skip" in result) continue;
    if ("reject" in result) return { pod, narrowedBy, filters, refused: { plugin, rejection: result.reject } };
    if (result.nodes) {
      nodes = nodes ? nodes.intersection(result.nodes) : result.nodes;
      narrowedBy.push(plugin);
    }
    if (filter) filters.push({ plugin, local, filter, state: result.state });
  }
  return { pod, narrowedBy, filters, ...(nodes && { nodes }) };
}

function check(cycle: Cycle, node: NodeInfo, localOnly = false): NodeVerdict | undefined {
  const { filters, pod } = cycle;
  for (let i = 0; i < filters.length; i++) {
    const active = filters[i]!;
    if (localOnly && !active.local) continue;
    const rejection = active.filter(node, pod, active.state);
    if (rejection) return { plugin: active.plugin, rejection };
  }
  return undefined;
}

/** Ties are broken at random, so that equal nodes share the load. */
function pickHighest(scores: Scores, n: number, random: () => number): number {
  let best = 0;
  let ties = 1;
  for (let i = 1; i < n; i++) {
    if (scores[i]! > scores[best]!) {
      best = i;
      ties = 1;
    } else if (scores[i] === scores[best] && random() * ++ties < 1) best = i;
  }
  return best;
}

/** Scales raw scores to 0..100 against the highest; `reverse` makes the highest the worst. */
export function normalize(out: Scores, n: number, reverse = false): void {
  let max = 0;
  for (let i = 0; i < n; i++) if (out[i]! > max) max = out[i]!;
  for (let i = 0; i < n; i++) {
    const scaled = max === 0 ? 0 : Math.trunc((out[i]! * 100) / max);
    out[i] = reverse ? 100 - scaled : scaled;
  }
}

async function named(plugin: string, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (cause) {
    const why = messageOf(cause);
    throw new Error(`running PreBind plugin "${plugin}": ${why}`, { cause });
  }
}
