/** What the scheduler needs to know of a pod, worked out once per pod object. */
import { matches, selectorRequirements } from "@k3s-p/plugin-api/kube";
import type { LabelSelector, Pod, Requirement } from "@k3s-p/plugin-api/kube";
import { podNonZeroRequests, podRequests, type Resources } from "./resources.ts";

export interface HostPort {
  readonly ip: string;
  readonly protocol: string;
  readonly port: number;
}

type Labels = Readonly<Record<string, string>>;

/** One term of pod (anti-)affinity, ready to match; `weight` is 0 for required terms. */
export interface AffinityTerm {
  readonly topologyKey: string;
  readonly weight: number;
  /** Namespaces by name; a term may also select them by label. */
  readonly namespaces: ReadonlySet<string>;
  readonly namespaceSelector: readonly Requirement[] | undefined;
  readonly selector: readonly Requirement[] | undefined;
}

export interface AffinityTerms {
  readonly required: readonly AffinityTerm[];
  readonly preferred: readonly AffinityTerm[];
}

export interface PodInfo {
  readonly pod: Pod;
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly key: string;
  readonly labels: Labels;
  readonly priority: number;
  readonly requests: Resources;
  readonly nonZeroCpu: number;
  readonly nonZeroMemory: number;
  readonly hostPorts: readonly HostPort[];
  readonly affinity: AffinityTerms;
  readonly antiAffinity: AffinityTerms;
  /** Keys `namespace/name` of the claims that the pod mounts. */
  readonly claims: readonly { readonly key: string; readonly ephemeral: boolean }[];
  readonly terminating: boolean;
  /** Pods that agree in this key are interchangeable for affinity and spreading. */
  readonly classKey: string;
}

const known = new WeakMap<Pod, PodInfo>();

export function podInfo(pod: Pod): PodInfo {
  const before = known.get(pod);
  if (before) return before;
  const info = build(pod);
  known.set(pod, info);
  return info;
}

function build(pod: Pod): PodInfo {
  const { metadata, spec } = pod;
  const namespace = metadata.namespace ?? "default";
  const labels = metadata.labels ?? {};
  const nonZero = podNonZeroRequests(pod);
  const terminating = metadata.deletionTimestamp !== undefined;
  const { podAffinity, podAntiAffinity } = spec?.affinity ?? {};
  return {
    pod, labels, namespace, terminating,
    uid: metadata.uid ?? `${namespace}/${metadata.name}`,
    name: metadata.name!,
    key: `${namespace}/${metadata.name}`,
    priority: spec?.priority ?? 0,
    requests: podRequests(pod),
    nonZeroCpu: nonZero.cpu,
    nonZeroMemory: nonZero.memory,
    hostPorts: hostPorts(pod),
    affinity: terms(podAffinity, namespace, labels),
    antiAffinity: terms(podAntiAffinity, namespace, labels),
    claims: claims(pod, namespace),
    classKey: JSON.stringify([namespace, labels, podAffinity, podAntiAffinity, terminating]),
  };
}

function hostPorts(pod: Pod): HostPort[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === "Always");
  const all = [...(pod.spec?.containers ?? []), ...sidecars].flatMap((c) => c.ports ?? []);
  return all
    .filter((p) => p.hostPort)
    .map((p) => ({ ip: p.hostIP || "0.0.0.0", protocol: p.protocol ?? "TCP", port: p.hostPort! }));
}

function claims(pod: Pod, namespace: string): PodInfo["claims"] {
  const found: { key: string; ephemeral: boolean }[] = [];
  for (const { name, persistentVolumeClaim, ephemeral } of pod.spec?.volumes ?? []) {
    if (persistentVolumeClaim) found.push({ key: `${namespace}/${persistentVolumeClaim.claimName}`, ephemeral: false });
    else if (ephemeral) found.push({ key: `${namespace}/${pod.metadata.name}-${name}`, ephemeral: true });
  }
  return found;
}

type Affinity = NonNullable<NonNullable<NonNullable<Pod["spec"]>["affinity"]>["podAffinity"]>;
type Term = NonNullable<Affinity["requiredDuringSchedulingIgnoredDuringExecution"]>[number];

const noTerms: AffinityTerms = { required: [], preferred: [] };

function terms(affinity: Affinity | undefined, namespace: string, labels: Labels): AffinityTerms {
  if (!affinity) return noTerms;
  return {
    required: (affinity.requiredDuringSchedulingIgnoredDuringExecution ?? []).map((t) => term(t, 0, namespace, labels)),
    preferred: (affinity.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((p) =>
      term(p.podAffinityTerm, p.weight, namespace, labels),
    ),
  };
}

function term(source: Term, weight: number, namespace: string, labels: Labels): AffinityTerm {
  const listed = source.namespaces ?? [];
  const own = listed.length === 0 && !source.namespaceSelector;
  const extra = [
    ...keyRequirements(source.matchLabelKeys, labels, "In"),
    ...keyRequirements(source.mismatchLabelKeys, labels, "NotIn"),
  ];
  return {
    topologyKey: source.topologyKey,
    weight,
    namespaces: new Set(own ? [namespace] : listed),
    namespaceSelector: selectorRequirements(source.namespaceSelector),
    selector: withKeys(source.labelSelector, extra),
  };
}

/** `matchLabelKeys` and `mismatchLabelKeys` stand for requirements on the incoming pod's own values (KEP-3633). */
export function keyRequirements(keys: readonly string[] | undefined, labels: Labels, operator: "In" | "NotIn"): Requirement[] {
  return (keys ?? []).flatMap((key) => (labels[key] === undefined ? [] : [{ key, operator, values: [labels[key]] }]));
}

export function withKeys(selector: LabelSelector | undefined, extra: readonly Requirement[]): readonly Requirement[] | undefined {
  const requirements = selectorRequirements(selector);
  return requirements && (extra.length ? [...requirements, ...extra] : requirements);
}

/** Whether the term selects a pod with these labels in that namespace. */
export function termMatches(
  term: AffinityTerm,
  namespace: string,
  labels: Labels,
  namespaceLabels: (name: string) => Labels | undefined,
): boolean {
  if (!term.selector) return false;
  const inNamespace =
    term.namespaces.has(namespace) ||
    (term.namespaceSelector !== undefined && matches(term.namespaceSelector, namespaceLabels(namespace) ?? {}));
  return inNamespace && matches(term.selector, labels);
}
