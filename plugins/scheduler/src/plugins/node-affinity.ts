/** NodeAffinity: `nodeSelector`, required and preferred node affinity. */
import { matches, matchesMap } from "@k3s-p/plugin-api/kube";
import type { NodeSelectorTerm, Requirement } from "@k3s-p/plugin-api/kube";
import { normalize, reject, type SchedulingPlugin } from "../framework.ts";
import type { NodeInfo } from "../node-info.ts";
import type { PodInfo } from "../pod-info.ts";

const mismatch = reject("node(s) didn't match Pod's node affinity/selector");
const conflicting = reject("pod affinity terms conflict");

/** A pod's compiled node requirements; terms are ORed, requirements inside a term ANDed. */
export interface NodeRequirements {
  readonly selector: Readonly<Record<string, string>> | undefined;
  readonly terms: readonly CompiledTerm[] | undefined;
}

interface CompiledTerm {
  readonly labels: readonly Requirement[];
  readonly fields: readonly Requirement[];
}

const known = new WeakMap<object, NodeRequirements>();

export function nodeRequirements(pod: PodInfo): NodeRequirements {
  const before = known.get(pod);
  if (before) return before;
  const spec = pod.pod.spec;
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const selector = spec?.nodeSelector && Object.keys(spec.nodeSelector).length ? spec.nodeSelector : undefined;
  const result = { selector, terms: required && compileTerms(required.nodeSelectorTerms) };
  known.set(pod, result);
  return result;
}

export function matchesNode({ selector, terms }: NodeRequirements, node: NodeInfo): boolean {
  if (selector && !matchesMap(selector, node.labels)) return false;
  return terms === undefined || matchesTerms(terms, node);
}

/** Terms without any requirement match nothing, as the API says. */
export function compileTerms(terms: readonly NodeSelectorTerm[]): readonly CompiledTerm[] {
  return terms
    .map((term) => ({ labels: requirements(term.matchExpressions), fields: requirements(term.matchFields) }))
    .filter((term) => term.labels.length + term.fields.length > 0);
}

export function matchesTerms(terms: readonly CompiledTerm[], node: NodeInfo): boolean {
  return terms.some((t) => matches(t.labels, node.labels) && (!t.fields.length || matches(t.fields, { "metadata.name": node.name })));
}

function requirements(list: NodeSelectorTerm["matchExpressions"]): Requirement[] {
  return (list ?? []).map((e) => ({ key: e.key, operator: e.operator as Requirement["operator"], values: e.values ?? [] }));
}

/** When every term names its nodes (as those of a DaemonSet's pods do), only these nodes are looked at. */
function namedNodes(terms: readonly CompiledTerm[] | undefined): ReadonlySet<string> | undefined {
  if (!terms?.length) return undefined;
  const names = new Set<string>();
  for (const term of terms) {
    const named = term.fields.filter((f) => f.key === "metadata.name" && f.operator === "In").map((f) => new Set(f.values));
    if (!named.length) return undefined;
    for (const name of named.reduce((a, b) => a.intersection(b))) names.add(name);
  }
  return names;
}

export const nodeAffinity: SchedulingPlugin<NodeRequirements> = {
  name: "NodeAffinity",
  events: ["node"],
  local: true,
  weight: 2,
  preFilter(pod) {
    const state = nodeRequirements(pod);
    if (!state.selector && !state.terms) return { skip: true };
    const nodes = namedNodes(state.terms);
    if (nodes?.size === 0) return { reject: conflicting };
    return nodes ? { state, nodes } : { state };
  },
  filter: (node, _pod, state) => (matchesNode(state, node) ? undefined : mismatch),
  score(nodes, { pod }, _cluster, out) {
    const preferred = pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution;
    if (!preferred?.length) return false;
    const weighted = preferred.map((p) => ({ weight: p.weight, terms: compileTerms([p.preference]) }));
    nodes.forEach((node, i) => {
      out[i] = weighted.reduce((sum, p) => sum + (matchesTerms(p.terms, node) ? p.weight : 0), 0);
    });
    normalize(out, nodes.length);
    return true;
  },
};
