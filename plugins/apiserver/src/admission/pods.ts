/** Defaults and checks of pods that come from other objects: priority, tolerations, runtime class; and of new nodes. */
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import { canonicalQuantity } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, refuse, toPlugin } from "./common.ts";

const DEFAULT_PREEMPTION = "PreemptLowerPriority";

/** Priority: the class becomes the number that the scheduler compares. */
export function priority({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin[] {
  const classes = () => view.list("scheduling.k8s.io", "priorityclasses");
  return [
    toPlugin({
      name: "Priority", resources: ["pods"], operations: ["CREATE", "UPDATE"],
      mutate(pod, request) {
        const { spec } = pod;
        if (request.operation === "UPDATE") {
          const old = (request.oldObject as Obj).spec;
          spec.priority ??= old.priority;
          spec.preemptionPolicy ??= old.preemptionPolicy;
          return;
        }
        const { value, policy } = classOf(spec, classes(), request);
        if (spec.priority !== undefined && spec.priority !== value) {
          throw refuse(request, `the integer value of priority (${spec.priority}) must not be provided in pod spec; ` +
            `priority admission controller computed ${value} from the given PriorityClass name`);
        }
        if (spec.preemptionPolicy && spec.preemptionPolicy !== policy) {
          throw refuse(request, `the string value of PreemptionPolicy (${spec.preemptionPolicy}) must not be provided in pod spec; ` +
            `priority admission controller computed ${policy} from the given PriorityClass name`);
        }
        spec.priority = value;
        spec.preemptionPolicy = policy;
      },
    }),
    toPlugin({
      name: "Priority", resources: ["priorityclasses.scheduling.k8s.io"], operations: ["CREATE", "UPDATE"],
      validate(object, request) {
        const other = classes().find((c) => c.globalDefault && c.metadata!.name !== object.metadata!.name);
        if (object.globalDefault && other) {
          throw refuse(request, `PriorityClass ${other.metadata!.name} is already marked as default. Only one default can exist`);
        }
      },
    }),
  ];
}

function classOf(spec: Obj, classes: readonly Obj[], request: AdmissionRequest): { value: number; policy: string } {
  if (spec.priorityClassName) {
    const found = classes.find((c) => c.metadata!.name === spec.priorityClassName);
    if (!found) throw refuse(request, `no PriorityClass with name ${spec.priorityClassName} was found`);
    return { value: found.value, policy: found.preemptionPolicy ?? DEFAULT_PREEMPTION };
  }
  const lowest = classes.filter((c) => c.globalDefault).sort((a, b) => a.value - b.value)[0];
  if (!lowest) return { value: 0, policy: DEFAULT_PREEMPTION };
  spec.priorityClassName = lowest.metadata!.name;
  return { value: lowest.value, policy: lowest.preemptionPolicy ?? DEFAULT_PREEMPTION };
}

const TOLERATION_SECONDS = 300;
const outages = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] as const;

/** DefaultTolerationSeconds: pods stay for five minutes on a node that does not answer. */
export const defaultTolerationSeconds = (): AdmissionPlugin => toPlugin({
  name: "DefaultTolerationSeconds", resources: ["pods"], operations: ["CREATE", "UPDATE"],
  mutate(pod) {
    const tolerations: Obj[] = pod.spec.tolerations ?? [];
    const missing = outages.filter((key) => !tolerations.some((t) =>
      (!t.key || t.key === key) && (!t.effect || t.effect === "NoExecute")));
    if (missing.length === 0) return;
    pod.spec.tolerations = [...tolerations, ...missing.map((key) =>
      ({ key, operator: "Exists", effect: "NoExecute", tolerationSeconds: TOLERATION_SECONDS }))];
  },
});

/** RuntimeClass: its overhead, node selector and tolerations become the pod's. */
export const runtimeClass = ({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin => toPlugin({
  name: "RuntimeClass", resources: ["pods"], operations: ["CREATE"],
  mutate(pod, request) {
    const { spec } = pod;
    const name = spec.runtimeClassName;
    const found = name ? view.get("node.k8s.io", "runtimeclasses", name) : undefined;
    if (name && !found) throw refuse(request, `pod rejected: RuntimeClass "${name}" not found`);
    const overhead = found?.overhead?.podFixed as Record<string, string> | undefined;
    if (spec.overhead && !overhead) {
      throw refuse(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    }
    if (overhead) {
      if (spec.overhead && !sameResources(spec.overhead, overhead)) {
        throw refuse(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
      }
      spec.overhead = { ...overhead };
    }
    if (found?.scheduling) addScheduling(spec, found.scheduling, request);
  },
});

function addScheduling(spec: Obj, scheduling: Obj, request: AdmissionRequest): void {
  for (const [key, value] of Object.entries<string>(scheduling.nodeSelector ?? {})) {
    const own = spec.nodeSelector?.[key];
    if (own !== undefined && own !== value) {
      throw refuse(request, `conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${own}`);
    }
    spec.nodeSelector = { ...spec.nodeSelector, [key]: value };
  }
  const own = new Set((spec.tolerations ?? []).map((t: Obj) => JSON.stringify(t)));
  const added = (scheduling.tolerations ?? []).filter((t: Obj) => !own.has(JSON.stringify(t)));
  if (added.length > 0) spec.tolerations = [...(spec.tolerations ?? []), ...added];
}

function sameResources(a: Record<string, string>, b: Record<string, string>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) => b[key] !== undefined && canonicalQuantity(a[key]!) === canonicalQuantity(b[key]!));
}

/** TaintNodesByCondition: a new node takes no pods before it is ready. */
export const taintNodesByCondition = (): AdmissionPlugin => toPlugin({
  name: "TaintNodesByCondition", resources: ["nodes"], operations: ["CREATE"],
  mutate(node) {
    const taints: Obj[] = node.spec?.taints ?? [];
    const [key, effect] = [outages[0], "NoSchedule"];
    if (taints.some((taint) => taint.key === key && taint.effect === effect)) return;
    node.spec = { ...node.spec, taints: [...taints, { key, effect }] };
  },
});
