/** The pods of a DaemonSet: where they belong, what they look like, which of them go. */
import {
  type ControllerRevision, type DaemonSet, type Node, type ObjectMeta, type Pod, type PodSpec, type Toleration,
  daemonSets,
} from "@k3s-p/plugin-api/kube";
import { ownerReference } from "../lib/claim.ts";
import { podFromTemplate } from "../lib/pod-control.ts";
import { byCreation, isAvailable, isTerminating } from "../lib/pods.ts";
import { fitsNode, untolerated } from "../lib/scheduling.ts";
import { resolveIntOrPercent } from "../lib/values.ts";

export const HASH = "controller-revision-hash";
const GENERATION = "deprecated.daemonset.template.generation";

const defaultTolerations: readonly (readonly [key: string, effect: string])[] = [
  ["node.kubernetes.io/not-ready", "NoExecute"],
  ["node.kubernetes.io/unreachable", "NoExecute"],
  ["node.kubernetes.io/disk-pressure", "NoSchedule"],
  ["node.kubernetes.io/memory-pressure", "NoSchedule"],
  ["node.kubernetes.io/pid-pressure", "NoSchedule"],
  ["node.kubernetes.io/unschedulable", "NoSchedule"],
];

function withTolerations(spec: PodSpec): Toleration[] {
  const wanted = spec.hostNetwork
    ? [...defaultTolerations, ["node.kubernetes.io/network-unavailable", "NoSchedule"] as const]
    : defaultTolerations;
  const tolerations = [...(spec.tolerations ?? [])];
  for (const [key, effect] of wanted) {
    const toleration: Toleration = { key, operator: "Exists", effect };
    const at = tolerations.findIndex((t) => t.key === key && t.effect === effect && (t.operator ?? "Equal") === "Exists");
    if (at >= 0) tolerations[at] = toleration;
    else tolerations.push(toleration);
  }
  return tolerations;
}

export function buildDaemonPod(set: DaemonSet, nodeName: string, hash: string): Pod {
  const pod = podFromTemplate(set.spec!.template, set, ownerReference(daemonSets, set));
  const generation = set.metadata.annotations?.[GENERATION];
  const spec = pod.spec!;
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      labels: { ...pod.metadata.labels, [HASH]: hash, ...(generation && { "pod-template-generation": generation }) },
    },
    spec: {
      ...spec, tolerations: withTolerations(spec),
      affinity: {
        ...spec.affinity,
        nodeAffinity: {
          ...spec.affinity?.nodeAffinity,
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: [nodeName] }] }],
          },
        },
      },
    },
  };
}

/** The node a pod runs on, or is meant for while it is not scheduled. */
export function targetNode(pod: Pod): string | undefined {
  if (pod.spec?.nodeName) return pod.spec.nodeName;
  const terms =
    pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  return terms
    .flatMap((term) => term.matchFields ?? [])
    .find((field) => field.key === "metadata.name" && field.operator === "In")?.values?.[0];
}

export interface Placement {
  readonly shouldRun: boolean;
  /** A running pod may stay although a new one would not be started. */
  readonly mayStay: boolean;
}

export function placement(set: DaemonSet, node: Node): Placement {
  const spec = set.spec!.template.spec!;
  if (!fitsNode(node, spec)) return { shouldRun: false, mayStay: false };
  const tolerations = withTolerations(spec);
  const mayStay = !untolerated(node.spec?.taints, tolerations, ["NoExecute"]);
  return { shouldRun: mayStay && !untolerated(node.spec?.taints, tolerations, ["NoSchedule"]), mayStay };
}

export const isUpdated = (pod: Pod, hash: string): boolean => pod.metadata.labels?.[HASH] === hash;
export const hashOf = (revision: ControllerRevision): string => (revision.metadata as ObjectMeta).labels![HASH]!;

export interface Limits {
  readonly surge: number;
  readonly unavailable: number;
}

/** Both are percentages of the desired pods, rounded up; a surge of zero needs at least one unavailable. */
export function limitsOf(set: DaemonSet, desired: number): Limits {
  const rolling = set.spec?.updateStrategy?.rollingUpdate;
  const surge = resolveIntOrPercent(rolling?.maxSurge ?? 0, desired, "up");
  const unavailable = resolveIntOrPercent(rolling?.maxUnavailable ?? 1, desired, "up");
  return { surge, unavailable: surge === 0 ? Math.max(1, unavailable) : unavailable };
}

export interface RollPlan {
  readonly create: readonly string[];
  readonly remove: readonly Pod[];
}

/** The next step of a rolling update: old pods to remove, or nodes that get a new pod beside the old one. */
export function planRoll(
  set: DaemonSet,
  podsByNode: ReadonlyMap<string, readonly Pod[]>,
  runs: (node: string) => boolean,
  hash: string,
  limits: Limits,
  now: Date,
): RollPlan {
  const minReady = set.spec?.minReadySeconds ?? 0;
  const available = (pod: Pod) => isAvailable(pod, minReady, now) && !isTerminating(pod);
  const pairs = [...podsByNode].filter(([node]) => runs(node)).sort(([a], [b]) => (a < b ? -1 : 1)).map(([node, list]) => {
    const live = list.filter((pod) => !isTerminating(pod)).sort(byCreation);
    return { node, old: live.find((pod) => !isUpdated(pod, hash)), fresh: live.find((pod) => isUpdated(pod, hash)) };
  });
  if (limits.surge > 0) return planSurge(pairs, available, limits.surge);
  let unavailable = 0;
  const now_: Pod[] = [];
  const candidates: Pod[] = [];
  for (const { old, fresh } of pairs) {
    if (fresh && !old) unavailable += Number(!available(fresh));
    else if (!old || fresh) unavailable++;
    else (available(old) ? candidates : now_).push(old);
  }
  return {
    create: [],
    remove: [...now_, ...candidates.slice(0, Math.max(0, limits.unavailable - unavailable - now_.length))],
  };
}

function planSurge(
  pairs: readonly { node: string; old: Pod | undefined; fresh: Pod | undefined }[],
  available: (pod: Pod) => boolean,
  surge: number,
): RollPlan {
  let surging = 0;
  const remove: Pod[] = [];
  const urgent: string[] = [];
  const candidates: string[] = [];
  for (const { node, old, fresh } of pairs) {
    if (!old) continue;
    if (!fresh) (available(old) ? candidates : urgent).push(node);
    else if (available(fresh)) remove.push(old);
    else surging++;
  }
  return { remove, create: [...urgent, ...candidates.slice(0, Math.max(0, surge - surging))] };
}
