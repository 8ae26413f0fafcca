/** InterPodAffinity: pods that must, or like to, be near or far from other pods. */
import type { Cluster, PodClass } from "../cluster.ts";
import { reject, type SchedulingPlugin, type Scores } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import { termMatches, type AffinityTerm, type PodInfo } from "../pod-info.ts";

const affinityUnmet = reject("node(s) didn't match pod affinity rules");
const antiAffinityUnmet = reject("node(s) didn't match pod anti-affinity rules", true);
const existingRefuse = reject("node(s) didn't satisfy existing pods anti-affinity rules", true);

/** Topology key -> value -> number (of pods, or a score). */
type Tally = Map<string, Map<string, number>>;

interface State {
  readonly affinity: readonly AffinityTerm[];
  readonly antiAffinity: readonly AffinityTerm[];
  /** Pods that fulfil all of the incoming pod's affinity terms. */
  readonly wanted: Tally;
  readonly shunned: Tally;
  /** Where pods are whose own anti-affinity refuses the incoming pod. */
  readonly refusing: Tally;
  readonly fulfilsItself: boolean;
}

export const interPodAffinity: SchedulingPlugin<State> = {
  name: "InterPodAffinity",
  events: ["node", "podAdded", "podDeleted", "podUpdated", "namespace"],
  weight: 2,
  preFilter(pod, cluster) {
    const affinity = pod.affinity.required;
    const antiAffinity = pod.antiAffinity.required;
    const refusing = refusals(pod, cluster);
    if (!affinity.length && !antiAffinity.length && !refusing.size) return { skip: true };
    const matchesPod = (term: AffinityTerm, other: PodInfo) => matchesTerm(term, other, cluster);
    const wanted: Tally = new Map();
    const shunned: Tally = new Map();
    const all = affinity.length || antiAffinity.length ? cluster.allClasses() : [];
    for (const found of all) {
      if (affinity.length && affinity.every((term) => matchesPod(term, found.sample))) {
        for (const term of affinity) tally(wanted, term.topologyKey, found, 1);
      }
      for (const term of antiAffinity) if (matchesPod(term, found.sample)) tally(shunned, term.topologyKey, found, 1);
    }
    const fulfilsItself = affinity.every((term) => matchesPod(term, pod));
    return { state: { affinity, antiAffinity, wanted, shunned, refusing, fulfilsItself } };
  },
  filter(node, _pod, state) {
    if (!fulfilsAffinity(node, state)) return affinityUnmet;
    if (state.antiAffinity.some((term) => countAt(state.shunned, term.topologyKey, node) > 0)) return antiAffinityUnmet;
    for (const key of state.refusing.keys()) if (countAt(state.refusing, key, node) > 0) return existingRefuse;
    return undefined;
  },
  score,
};

const matchesTerm = (term: AffinityTerm, other: PodInfo, cluster: Cluster): boolean =>
  termMatches(term, other.namespace, other.labels, cluster.namespaceLabels);

function refusals(pod: PodInfo, cluster: Cluster): Tally {
  const refusing: Tally = new Map();
  for (const found of cluster.affinityClasses()) {
    for (const term of found.sample.antiAffinity.required) {
      if (matchesTerm(term, pod, cluster)) tally(refusing, term.topologyKey, found, 1);
    }
  }
  return refusing;
}

function tally(into: Tally, key: string, { perNode }: PodClass, weight: number): void {
  const values = into.get(key) ?? new Map<string, number>();
  for (const [node, count] of perNode) {
    const value = node.labels[key];
    if (value !== undefined) values.set(value, (values.get(value) ?? 0) + weight * count);
  }
  if (values.size) into.set(key, values);
}

function countAt(tallies: Tally, key: string, node: NodeInfo): number {
  const value = node.labels[key];
  return value === undefined ? 0 : (tallies.get(key)?.get(value) ?? 0);
}

/** The first pod of a group that wants its own kind may go anywhere that has the topology. */
function fulfilsAffinity(node: NodeInfo, { affinity, wanted, fulfilsItself }: State): boolean {
  if (!affinity.length) return true;
  if (affinity.some((term) => node.labels[term.topologyKey] === undefined)) return false;
  if (affinity.every((term) => countAt(wanted, term.topologyKey, node) > 0)) return true;
  return wanted.size === 0 && fulfilsItself;
}

/** Weight of required affinity of existing pods in scores, upstream's `hardPodAffinityWeight`. */
const hardWeight = 1;

function score(nodes: readonly NodeInfo[], pod: PodInfo, cluster: Cluster, out: Scores): boolean {
  const scores: Tally = new Map();
  const own = [...pod.affinity.preferred, ...pod.antiAffinity.preferred];
  if (own.length) {
    for (const found of cluster.allClasses()) ownPreferences(scores, pod, found, cluster);
  }
  for (const found of cluster.affinityClasses()) theirPreferences(scores, pod, found, cluster);
  if (!scores.size) return false;
  let min = Infinity;
  let max = -Infinity;
  for (let i = 0; i < nodes.length; i++) {
    let sum = 0;
    for (const key of scores.keys()) sum += countAt(scores, key, nodes[i]!);
    out[i] = sum;
    min = Math.min(min, sum);
    max = Math.max(max, sum);
  }
  for (let i = 0; i < nodes.length; i++) out[i] = max > min ? Math.trunc((100 * (out[i]! - min)) / (max - min)) : 0;
  return true;
}

function ownPreferences(scores: Tally, pod: PodInfo, found: PodClass, cluster: Cluster): void {
  for (const term of pod.affinity.preferred) {
    if (matchesTerm(term, found.sample, cluster)) tally(scores, term.topologyKey, found, term.weight);
  }
  for (const term of pod.antiAffinity.preferred) {
    if (matchesTerm(term, found.sample, cluster)) tally(scores, term.topologyKey, found, -term.weight);
  }
}

function theirPreferences(scores: Tally, pod: PodInfo, found: PodClass, cluster: Cluster): void {
  const { affinity, antiAffinity } = found.sample;
  for (const term of affinity.required) if (matchesTerm(term, pod, cluster)) tally(scores, term.topologyKey, found, hardWeight);
  for (const term of affinity.preferred) if (matchesTerm(term, pod, cluster)) tally(scores, term.topologyKey, found, term.weight);
  for (const term of antiAffinity.preferred) if (matchesTerm(term, pod, cluster)) tally(scores, term.topologyKey, found, -term.weight);
}
