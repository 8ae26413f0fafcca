/** Node selectors, node affinity and tolerations, as far as controllers need them. */
import {
  matches, matchesMap, type Node, type NodeSelectorTerm, type PodSpec, type Taint, type Toleration,
} from "@k3s-p/plugin-api/kube";

type Operator = "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt";
type Expressions = NodeSelectorTerm["matchExpressions"];

const requirements = (expressions: Expressions) =>
  (expressions ?? []).map(({ key, operator, values }) => ({ key, operator: operator as Operator, values: values ?? [] }));

/** An empty term matches nothing. */
export function matchesTerm(node: Node, term: NodeSelectorTerm): boolean {
  if (!term.matchExpressions?.length && !term.matchFields?.length) return false;
  return matches(requirements(term.matchExpressions), node.metadata.labels) &&
    matches(requirements(term.matchFields), { "metadata.name": node.metadata.name! });
}

/** `nodeName`, `nodeSelector` and required node affinity. */
export function fitsNode(node: Node, spec: PodSpec): boolean {
  if (spec.nodeName && spec.nodeName !== node.metadata.name) return false;
  if (!matchesMap(spec.nodeSelector, node.metadata.labels)) return false;
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return !required || required.nodeSelectorTerms.some((term) => matchesTerm(node, term));
}

export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  const operator = toleration.operator || "Equal";
  if (operator === "Exists") return true;
  if (!toleration.key) return false;
  if (operator === "Gt") return Number(taint.value) > Number(toleration.value);
  if (operator === "Lt") return Number(taint.value) < Number(toleration.value);
  return (toleration.value ?? "") === (taint.value ?? "");
}

/** The first taint of these effects that no toleration covers. */
export const untolerated = (
  taints: readonly Taint[] | undefined,
  tolerations: readonly Toleration[] | undefined,
  effects: readonly string[],
): Taint | undefined =>
  taints?.find(
    (taint) => effects.includes(taint.effect) && !tolerations?.some((toleration) => tolerates(toleration, taint)),
  );
