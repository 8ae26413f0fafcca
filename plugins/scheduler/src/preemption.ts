/** DefaultPreemption: finds the node where removing the least important pods makes room for a more important one. */
import { matchesSelector } from "@k3s-p/plugin-api/kube";
import type { PodDisruptionBudget } from "@k3s-p/plugin-api/kube";
import type { ClusterState } from "./cluster.ts";
import type { Cycle, Diagnosis, Framework } from "./framework.ts";
import { nodesMessage } from "./messages.ts";
import type { NodeInfo } from "./node-info.ts";
import type { Placer } from "./placement.ts";
import type { PodInfo } from "./pod-info.ts";

export interface Candidate {
  readonly node: NodeInfo;
  readonly victims: readonly PodInfo[];
  readonly violations: number;
}

export interface PreemptionResult {
  readonly candidate?: Candidate;
  /** What to add to the message when there is no candidate. */
  readonly message: string;
  /** Victims of an earlier preemption are still terminating: the pod keeps its promised node. */
  readonly waiting?: boolean;
}

export interface PreemptionSources {
  readonly cluster: ClusterState;
  readonly framework: Framework;
  readonly placer: Placer;
  readonly budgets: (namespace: string) => readonly PodDisruptionBudget[];
  readonly nominatedNode: (pod: PodInfo) => string | undefined;
  readonly random: () => number;
}

const notHelpful = "Preemption is not helpful for scheduling";
const noVictims = "No preemption victims found for incoming pod";
const stillTerminating = "not eligible due to a terminating pod on the nominated node";
const minCandidates = 100;

export function createPreemption(sources: PreemptionSources): (cycle: Cycle, diagnosis: Diagnosis) => PreemptionResult {
  const { random } = sources;
  return (cycle, diagnosis) => {
    const barred = ineligible(cycle.pod, sources);
    if (barred) return { message: `preemption: ${barred}.`, waiting: barred === stillTerminating };
    const reasons = new Map<string, number>();
    const open = [...diagnosis.verdicts].filter(([, verdict]) => verdict.rejection.preemptible).map(([node]) => node);
    if (diagnosis.total > open.length) reasons.set(notHelpful, diagnosis.total - open.length);
    const enough = Math.max(minCandidates, Math.floor(open.length / 10));
    const offset = Math.floor(random() * open.length);
    const candidates: Candidate[] = [];
    for (let i = 0; i < open.length && candidates.length < enough; i++) {
      const found = victimsOn(open[(offset + i) % open.length]!, cycle, sources);
      if (!Array.isArray(found)) candidates.push(found as Candidate);
      else for (const reason of found as readonly string[]) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    const candidate = pickCandidate(candidates);
    return { ...(candidate && { candidate }), message: `preemption: ${nodesMessage(diagnosis.total, reasons)}` };
  };
}

/** A pod that already made others leave waits for them to be gone. */
function ineligible(pod: PodInfo, { cluster, nominatedNode }: PreemptionSources): string | undefined {
  if (pod.pod.spec?.preemptionPolicy === "Never") return "not eligible due to preemptionPolicy=Never";
  const nominated = nominatedNode(pod);
  const node = nominated ? cluster.node(nominated) : undefined;
  for (const other of node?.pods.values() ?? []) {
    if (other.priority < pod.priority && other.terminating && wasPreempted(other)) {
      return stillTerminating;
    }
  }
  return undefined;
}

const wasPreempted = ({ pod }: PodInfo): boolean =>
  pod.status?.conditions?.some((c) => c.type === "DisruptionTarget" && c.status === "True" && c.reason === "PreemptionByScheduler") === true;

/** The fewest and least important pods whose leaving makes the pod fit; or the reasons why it cannot. */
function victimsOn(node: NodeInfo, cycle: Cycle, sources: PreemptionSources): Candidate | readonly string[] {
  const { cluster, budgets } = sources;
  const lower = [...node.pods.values()].filter((other) => other.priority < cycle.pod.priority);
  if (!lower.length) return [noVictims];
  return cluster.pretend(node, { remove: lower }, () => {
    const still = refusal(node, cycle, sources);
    if (still) return still;
    lower.sort(moreImportantFirst);
    const { violating, free } = splitByBudget(lower, budgets);
    const victims = reprieve(node, cycle, [...violating, ...free], 0, sources);
    if (!victims.length) return [noVictims];
    const violations = victims.filter((victim) => violating.includes(victim)).length;
    return { node, victims: [...victims].sort(moreImportantFirst), violations };
  });
}

/** Keeps as many pods as still leave room, most important first, and returns those that must go. */
function reprieve(node: NodeInfo, cycle: Cycle, pods: readonly PodInfo[], index: number, sources: PreemptionSources): PodInfo[] {
  const pod = pods[index];
  if (!pod) return [];
  const kept = sources.cluster.pretend(node, { add: [pod] }, () =>
    refusal(node, cycle, sources) ? undefined : reprieve(node, cycle, pods, index + 1, sources),
  );
  return kept ?? [pod, ...reprieve(node, cycle, pods, index + 1, sources)];
}

/** Filters that look beyond the node are worked out anew, because pods have been taken away. */
function refusal(node: NodeInfo, cycle: Cycle, { cluster, framework, placer }: PreemptionSources): readonly string[] | undefined {
  const current = cycle.filters.every((f) => f.local) ? cycle : framework.begin(cycle.pod, cluster);
  return (current.refused ?? placer.verdict(current, node))?.rejection.reasons;
}

const startOf = ({ pod }: PodInfo): string => pod.status?.startTime ?? pod.metadata.creationTimestamp ?? "";

const moreImportantFirst = (a: PodInfo, b: PodInfo): number =>
  b.priority - a.priority || (startOf(a) < startOf(b) ? -1 : startOf(a) > startOf(b) ? 1 : 0);

function splitByBudget(
  pods: readonly PodInfo[],
  budgets: PreemptionSources["budgets"],
): { violating: PodInfo[]; free: PodInfo[] } {
  const left = new Map<PodDisruptionBudget, number>();
  const violating: PodInfo[] = [];
  const free: PodInfo[] = [];
  for (const pod of pods) {
    let violates = false;
    for (const budget of Object.keys(pod.labels).length ? budgets(pod.namespace) : []) {
      if (!matchesSelector(budget.spec?.selector, pod.labels) || budget.status?.disruptedPods?.[pod.name]) continue;
      const allowed = (left.get(budget) ?? budget.status?.disruptionsAllowed ?? 0) - 1;
      left.set(budget, allowed);
      if (allowed < 0) violates = true;
    }
    (violates ? violating : free).push(pod);
  }
  return { violating, free };
}

/** Upstream's order: fewest budget violations, least important top victim, lowest sum of priorities, fewest, youngest. */
function pickCandidate(candidates: readonly Candidate[]): Candidate | undefined {
  const offset = 2 ** 31;
  const rank = ({ victims, violations }: Candidate): readonly (number | string)[] => [
    violations,
    victims[0]!.priority,
    victims.reduce((sum, victim) => sum + victim.priority + offset, 0),
    victims.length,
  ];
  const earliestTop = ({ victims }: Candidate): string =>
    victims.filter((v) => v.priority === victims[0]!.priority).map(startOf).sort()[0]!;
  return [...candidates].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    const i = x.findIndex((value, k) => value !== y[k]);
    if (i >= 0) return x[i]! < y[i]! ? -1 : 1;
    return earliestTop(a) > earliestTop(b) ? -1 : earliestTop(a) < earliestTop(b) ? 1 : 0;
  })[0];
}
