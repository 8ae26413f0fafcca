/** Pods: columns, defaults, strategy, validation. */
import { isObject, items } from "../fields.ts";
import type { Behaviour } from "../row.ts";
import type { Obj } from "../types.ts";
import { podColumns } from "./pod-columns.ts";
import { defaultPod, qosClass, syncPodIps, syncServiceAccount } from "./pod-defaults.ts";
import { validatePod } from "./validate-pod.ts";
import { validatePodUpdate } from "./validate-pod-update.ts";
import { warnOfPod } from "./warn-pod.ts";

const text = (value: unknown): string => (value == null ? "" : String(value));

export const pod: Behaviour = {
  columns: podColumns,
  defaults: defaultPod,
  prepareCreate,
  prepareUpdate,
  prepareStatusUpdate,
  validate: validatePod,
  validateUpdate: validatePodUpdate,
  warnings: warnOfPod,
  generationOf: (object) => object.spec,
  selectableFields: {
    "spec.nodeName": (o) => text(o.spec?.nodeName),
    "spec.restartPolicy": (o) => text(o.spec?.restartPolicy),
    "spec.schedulerName": (o) => text(o.spec?.schedulerName),
    "spec.serviceAccountName": (o) => text(o.spec?.serviceAccountName),
    "spec.hostNetwork": (o) => text(o.spec?.hostNetwork ?? false),
    "status.phase": (o) => text(o.status?.phase),
    "status.podIP": (o) => text(o.status?.podIPs?.[0]?.ip ?? o.status?.podIP),
    "status.podIPs": (o) => text(o.status?.podIPs?.[0]?.ip ?? o.status?.podIP),
    "status.nominatedNodeName": (o) => text(o.status?.nominatedNodeName),
  },
};

function prepareCreate(object: Obj): void {
  syncServiceAccount(object.spec);
  selectByOwnLabels(object);
  object.status = { phase: "Pending", qosClass: qosClass(object.spec) };
  if (object.spec.schedulingGates?.length) {
    object.status.conditions = [{
      type: "PodScheduled", status: "False", reason: "SchedulingGated",
      message: "Scheduling is blocked due to non-empty scheduling gates", lastProbeTime: null, lastTransitionTime: null,
    }];
  }
}

function prepareUpdate(object: Obj, old: Obj): void {
  syncServiceAccount(object.spec);
  object.status = old.status;
}

function prepareStatusUpdate(object: Obj, old: Obj): void {
  const status: Obj = (object.status ??= {});
  status.qosClass ||= old.status?.qosClass ?? qosClass(object.spec);
  if (Array.isArray(status.podIPs) && status.podIPs.length && !status.podIP) status.podIP = status.podIPs[0]?.ip;
  syncPodIps(status);
}

/** `matchLabelKeys` and `mismatchLabelKeys` stand for the pod's own labels: their values go into the selectors. */
function selectByOwnLabels({ metadata, spec }: Obj): void {
  for (const constraint of items(spec, "topologySpreadConstraints")) select(constraint, metadata?.labels ?? {});
  for (const affinity of [spec.affinity?.podAffinity, spec.affinity?.podAntiAffinity]) {
    if (!isObject(affinity)) continue;
    for (const term of items(affinity, "requiredDuringSchedulingIgnoredDuringExecution")) select(term, metadata?.labels ?? {});
    for (const { podAffinityTerm } of items(affinity, "preferredDuringSchedulingIgnoredDuringExecution")) select(podAffinityTerm ?? {}, metadata?.labels ?? {});
  }
}

function select({ labelSelector, matchLabelKeys, mismatchLabelKeys }: Obj, labels: Readonly<Record<string, string>>): void {
  if (!isObject(labelSelector)) return;
  const expressions = (keys: readonly string[] | null | undefined, operator: string): Obj[] =>
    (keys ?? []).filter((key) => key in labels).map((key) => ({ key, operator, values: [labels[key]] }));
  const added = [...expressions(matchLabelKeys, "In"), ...expressions(mismatchLabelKeys, "NotIn")];
  if (added.length > 0) labelSelector.matchExpressions = [...(labelSelector.matchExpressions ?? []), ...added];
}
