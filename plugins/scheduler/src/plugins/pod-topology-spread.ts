/** PodTopologySpread: keeps the pods of a group even over zones, hosts or any other topology. */
import { matches, type Requirement } from "@k3s-p/plugin-api/kube";
import type { Cluster } from "../cluster.ts";
import { reject, type SchedulingPlugin, type Scores } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import { keyRequirements, withKeys, type PodInfo } from "../pod-info.ts";
import { matchesNode, nodeRequirements } from "./node-affinity.ts";
import { tolerates } from "./tolerations.ts";

const uneven = reject("node(s) didn't match pod topology spread constraints", true);
const unlabelled = reject("node(s) didn't match pod topology spread constraints (missing required label)");

interface Constraint {
  readonly key: string;
  readonly maxSkew: number;
  readonly minDomains: number;
  readonly selector: readonly Requirement[];
  readonly honorAffinity: boolean;
  readonly honorTaints: boolean;
}

interface Domains extends Constraint {
  /** Topology value -> matching pods there. */
  readonly counts: Map<string, number>;
  readonly least: number;
  /** 1 when the incoming pod counts itself. */
  readonly self: number;
}

/** The labels by which a pod's group is known (its Services and its controller), for pods without constraints of their own. */
export type DefaultSelector = (pod: PodInfo) => readonly Requirement[] | undefined;

export function podTopologySpread(defaultSelector: DefaultSelector): SchedulingPlugin<readonly Domains[]> {
  return {
    name: "PodTopologySpread",
    events: ["node", "podAdded", "podDeleted", "podUpdated"],
    weight: 2,
    preFilter(pod, cluster) {
      const constraints = ownConstraints(pod, "DoNotSchedule");
      if (!constraints.length) return { skip: true };
      const keys = constraints.map((c) => c.key);
      return { state: constraints.map((c) => countDomains(c, keys, pod, cluster)) };
    },
    filter(node, _pod, state) {
      for (const { key, counts, least, self, maxSkew } of state) {
        const value = node.labels[key];
        if (value === undefined) return unlabelled;
        if ((counts.get(value) ?? 0) + self - least > maxSkew) return uneven;
      }
      return undefined;
    },
    score: (nodes, pod, cluster, out) => score(nodes, pod, cluster, out, defaultSelector),
  };
}

function ownConstraints({ pod, labels }: PodInfo, when: "DoNotSchedule" | "ScheduleAnyway"): Constraint[] {
  return (pod.spec?.topologySpreadConstraints ?? [])
    .filter((c) => c.whenUnsatisfiable === when)
    .map((c) => ({
      key: c.topologyKey,
      maxSkew: c.maxSkew,
      minDomains: c.minDomains ?? 1,
      selector: withKeys(c.labelSelector, keyRequirements(c.matchLabelKeys, labels, "In")) ?? nothing,
      honorAffinity: c.nodeAffinityPolicy !== "Ignore",
      honorTaints: c.nodeTaintsPolicy === "Honor",
    }));
}

/** No label selector selects no pods. */
const nothing: readonly Requirement[] = [{ key: "-", operator: "In", values: [] }];

function countDomains(constraint: Constraint, keys: readonly string[], pod: PodInfo, cluster: Cluster): Domains {
  const counts = new Map<string, number>();
  const nodes = cluster.nodes();
  /** By the node's index; a set of a thousand nodes made for each pod would cost more than all else. */
  const eligible = new Uint8Array(nodes.length);
  for (const node of nodes) {
    if (keys.some((key) => node.labels[key] === undefined) || !isEligible(constraint, node, pod)) continue;
    eligible[node.index] = 1;
    const value = node.labels[constraint.key]!;
    if (!counts.has(value)) counts.set(value, 0);
  }
  addMatching(counts, constraint, pod, cluster, (node) => eligible[node.index] === 1);
  const least = counts.size < constraint.minDomains ? 0 : Math.min(...counts.values());
  const self = matches(constraint.selector, pod.labels) ? 1 : 0;
  return { ...constraint, counts, least: counts.size ? least : 0, self };
}

function isEligible({ honorAffinity, honorTaints }: Constraint, node: NodeInfo, pod: PodInfo): boolean {
  if (honorAffinity && !matchesNode(nodeRequirements(pod), node)) return false;
  return !honorTaints || node.hardTaints.every((taint) => tolerates(pod.pod.spec?.tolerations, taint));
}

function addMatching(
  counts: Map<string, number>,
  { key, selector }: Constraint,
  pod: PodInfo,
  cluster: Cluster,
  counted: (node: NodeInfo) => boolean,
): void {
  for (const { sample, perNode } of cluster.classesIn(pod.namespace)) {
    if (sample.terminating || !matches(selector, sample.labels)) continue;
    for (const [node, count] of perNode) {
      const value = node.labels[key];
      if (value !== undefined && counts.has(value) && counted(node)) counts.set(value, counts.get(value)! + count);
    }
  }
}

const hostname = "kubernetes.io/hostname";

/** Upstream's system defaults: spread over hosts and zones, both only as a wish. */
function defaultConstraints(selector: readonly Requirement[] | undefined): Constraint[] {
  if (!selector) return [];
  const common = { minDomains: 1, selector, honorAffinity: true, honorTaints: false };
  return [
    { key: hostname, maxSkew: 3, ...common },
    { key: "topology.kubernetes.io/zone", maxSkew: 5, ...common },
  ];
}

function score(
  nodes: readonly NodeInfo[],
  pod: PodInfo,
  cluster: Cluster,
  out: Scores,
  defaultSelector: DefaultSelector,
): boolean {
  const explicit = (pod.pod.spec?.topologySpreadConstraints?.length ?? 0) > 0;
  const constraints = explicit ? ownConstraints(pod, "ScheduleAnyway") : defaultConstraints(defaultSelector(pod));
  if (!constraints.length) return false;
  const ignored = (node: NodeInfo) => explicit && constraints.some((c) => node.labels[c.key] === undefined);
  const n = nodes.length;
  out.fill(0, 0, n);
  for (const constraint of constraints) {
    const counts = new Map<string, number>();
    for (const node of nodes) {
      const value = node.labels[constraint.key];
      if (value !== undefined && !ignored(node)) counts.set(value, 0);
    }
    if (!counts.size) continue;
    addMatching(counts, constraint, pod, cluster, (node) => isEligible(constraint, node, pod));
    const weight = Math.log(counts.size + 2);
    for (let i = 0; i < n; i++) {
      const value = nodes[i]!.labels[constraint.key];
      if (value !== undefined) out[i]! += (counts.get(value) ?? 0) * weight + constraint.maxSkew - 1;
    }
  }
  favourFewest(nodes, out, ignored);
  return true;
}

/** Fewest matching pods get 100; nodes without the topology get 0. */
function favourFewest(nodes: readonly NodeInfo[], out: Scores, ignored: (node: NodeInfo) => boolean): void {
  let min = Infinity;
  let max = 0;
  const skip = nodes.map(ignored);
  for (let i = 0; i < nodes.length; i++) {
    if (skip[i]) continue;
    out[i] = Math.round(out[i]!);
    min = Math.min(min, out[i]!);
    max = Math.max(max, out[i]!);
  }
  for (let i = 0; i < nodes.length; i++) {
    if (skip[i]) out[i] = 0;
    else out[i] = max === 0 ? 100 : Math.trunc((100 * (max + min - out[i]!)) / max);
  }
}
