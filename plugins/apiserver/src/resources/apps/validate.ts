/** Validation of Deployments, ReplicaSets, DaemonSets, StatefulSets and ReplicationControllers. */
import { type LabelSelector, matchesSelector } from "@k3s-p/plugin-api/kube";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validateClaimSpec } from "../core/validate-claim.ts";
import { validatePodTemplate } from "../core/validate-pod.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidValue, nonNegative, notSupported, required } from "../validate/field.ts";
import { intOrPercent, isZero } from "../validate/names.ts";
import { isEmptySelector, validateLabelSelector } from "../validate/selector.ts";

const MISMATCH = "`selector` does not match template `labels`";

/** The selector is there, selects something, and selects the template. */
export function validateSelector(spec: Obj, kind: string): FieldError[] {
  if (!isObject(spec.selector)) return [required("spec.selector")];
  const errors = validateLabelSelector("spec.selector", spec.selector);
  if (isEmptySelector(spec.selector)) errors.push(invalidValue("spec.selector", spec.selector, `empty selector is invalid for ${kind}`));
  const labels = spec.template?.metadata?.labels;
  if (errors.length === 0 && !matchesSelector(spec.selector as LabelSelector, labels)) errors.push(invalidValue("spec.template.metadata.labels", labels, MISMATCH));
  return errors;
}

/** A template whose pods are restarted for ever. */
function validateTemplate(spec: Obj, kind: string): FieldError[] {
  const errors = validatePodTemplate("spec.template", spec.template);
  const pod = spec.template?.spec ?? {};
  if (pod.restartPolicy && pod.restartPolicy !== "Always" && ["OnFailure", "Never"].includes(pod.restartPolicy)) {
    errors.push(notSupported("spec.template.spec.restartPolicy", pod.restartPolicy, ["Always"]));
  }
  if (pod.activeDeadlineSeconds != null) errors.push(forbidden("spec.template.spec.activeDeadlineSeconds", `activeDeadlineSeconds in ${kind} is not Supported`));
  return errors;
}

const counts = (spec: Obj, ...names: string[]): FieldError[] => names.flatMap((name) => nonNegative(`spec.${name}`, spec[name]));

const immutable = (object: Obj, old: Obj, field: string): FieldError[] =>
  same(object.spec[field], old.spec[field]) ? [] : [invalidValue(`spec.${field}`, object.spec[field], IMMUTABLE)];

export function validateDeployment({ spec }: Obj): FieldError[] {
  const errors = [
    ...counts(spec, "replicas"), ...validateSelector(spec, "deployment"), ...validateTemplate(spec, "ReplicaSet"), ...validateStrategy(spec),
    ...counts(spec, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"),
  ];
  if (spec.progressDeadlineSeconds != null && spec.progressDeadlineSeconds <= (spec.minReadySeconds ?? 0)) {
    errors.push(invalidValue("spec.progressDeadlineSeconds", spec.progressDeadlineSeconds, "must be greater than minReadySeconds"));
  }
  return errors;
}

export const validateDeploymentUpdate = (deployment: Obj, old: Obj): FieldError[] =>
  [...validateDeployment(deployment), ...immutable(deployment, old, "selector")];

function validateStrategy({ strategy }: Obj): FieldError[] {
  const at = "spec.strategy";
  if (strategy.type === "Recreate") {
    return strategy.rollingUpdate == null ? [] : [forbidden(`${at}.rollingUpdate`, "may not be specified when strategy `type` is 'Recreate'")];
  }
  if (strategy.type !== "RollingUpdate") return [notSupported(`${at}.type`, strategy.type, ["Recreate", "RollingUpdate"])];
  if (!isObject(strategy.rollingUpdate)) return [required(`${at}.rollingUpdate`, "this should be defaulted and never be nil")];
  const { maxUnavailable, maxSurge } = strategy.rollingUpdate;
  const field = `${at}.rollingUpdate`;
  const errors = [...intOrPercent(`${field}.maxUnavailable`, maxUnavailable, true), ...intOrPercent(`${field}.maxSurge`, maxSurge)];
  if (isZero(maxUnavailable) && isZero(maxSurge)) errors.push(invalidValue(`${field}.maxUnavailable`, maxUnavailable, "may not be 0 when `maxSurge` is 0"));
  return errors;
}

export function validateReplicaSet({ spec }: Obj): FieldError[] {
  return [
    ...counts(spec, "replicas", "minReadySeconds"), ...validateSelector(spec, "deployment"), ...validateTemplate(spec, "ReplicaSet"),
  ];
}

export const validateReplicaSetUpdate = (set: Obj, old: Obj): FieldError[] => [...validateReplicaSet(set), ...immutable(set, old, "selector")];

export function validateDaemonSet({ spec }: Obj): FieldError[] {
  return [
    ...validateSelector(spec, "daemonset"), ...validateTemplate(spec, "DaemonSet"), ...counts(spec, "minReadySeconds"),
    ...validateDaemonStrategy(spec), ...counts(spec, "revisionHistoryLimit"),
  ];
}

export const validateDaemonSetUpdate = (set: Obj, old: Obj): FieldError[] => [...validateDaemonSet(set), ...immutable(set, old, "selector")];

function validateDaemonStrategy({ updateStrategy }: Obj): FieldError[] {
  const at = "spec.updateStrategy";
  if (updateStrategy.type === "OnDelete") return [];
  if (updateStrategy.type !== "RollingUpdate") return [notSupported(`${at}.type`, updateStrategy.type, ["RollingUpdate", "OnDelete"])];
  if (!isObject(updateStrategy.rollingUpdate)) return [required(`${at}.rollingUpdate`)];
  const { maxUnavailable, maxSurge } = updateStrategy.rollingUpdate;
  const field = `${at}.rollingUpdate`;
  const errors = [...intOrPercent(`${field}.maxUnavailable`, maxUnavailable, true), ...intOrPercent(`${field}.maxSurge`, maxSurge, true)];
  if (isZero(maxUnavailable) && isZero(maxSurge)) errors.push(required(`${field}.maxUnavailable`, "cannot be 0 when maxSurge is 0"));
  if (!isZero(maxUnavailable) && !isZero(maxSurge)) errors.push(invalidValue(`${field}.maxSurge`, maxSurge, "may not be set when maxUnavailable is non-zero"));
  return errors;
}

export function validateStatefulSet({ spec }: Obj): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.podManagementPolicy !== "OrderedReady" && spec.podManagementPolicy !== "Parallel") {
    errors.push(invalidValue("spec.podManagementPolicy", spec.podManagementPolicy, "must be 'OrderedReady' or 'Parallel'"));
  }
  const { type, rollingUpdate } = spec.updateStrategy;
  if (type !== "RollingUpdate" && type !== "OnDelete") errors.push(invalidValue("spec.updateStrategy", spec.updateStrategy, "must be 'RollingUpdate' or 'OnDelete'"));
  else if (type === "OnDelete" && rollingUpdate != null) {
    errors.push(invalidValue("spec.updateStrategy.rollingUpdate", rollingUpdate, "only allowed for updateStrategy 'RollingUpdate'"));
  }
  if (rollingUpdate?.partition != null) errors.push(...nonNegative("spec.updateStrategy.rollingUpdate.partition", rollingUpdate.partition));
  errors.push(...validateRetention(spec.persistentVolumeClaimRetentionPolicy), ...counts(spec, "replicas", "minReadySeconds"));
  if (spec.ordinals) errors.push(...nonNegative("spec.ordinals.start", spec.ordinals.start));
  items(spec, "volumeClaimTemplates").forEach((claim, i) => errors.push(...validateClaimSpec(`spec.volumeClaimTemplates[${i}].spec`, claim.spec ?? {})));
  return [...errors, ...validateSelector(spec, "statefulset"), ...validateTemplate(withClaims(spec), "StatefulSet")];
}

/** Claims become volumes of the pod under their own names. */
function withClaims(spec: Obj): Obj {
  const pod = spec.template?.spec;
  if (!isObject(pod)) return spec;
  const names = new Set(items(pod, "volumes").map((v) => v.name));
  const claims = items(spec, "volumeClaimTemplates").map((c) => c.metadata?.name).filter((name) => name && !names.has(name))
    .map((name) => ({ name, persistentVolumeClaim: { claimName: name } }));
  return { ...spec, template: { ...spec.template, spec: { ...pod, volumes: [...(pod.volumes ?? []), ...claims] } } };
}

function validateRetention(policy: Obj): FieldError[] {
  return ["whenDeleted", "whenScaled"].flatMap((name) =>
    ["Delete", "Retain"].includes(policy?.[name]) ? [] : [notSupported(`spec.persistentVolumeClaimRetentionPolicy.${name}`, policy?.[name], ["Delete", "Retain"])]);
}

const mutableInStatefulSet = ["replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"];

export function validateStatefulSetUpdate(set: Obj, old: Obj): FieldError[] {
  const masked = { ...set.spec, ...Object.fromEntries(mutableInStatefulSet.map((field) => [field, old.spec[field]])) };
  const errors = validateStatefulSet(set);
  if (same(masked, old.spec)) return errors;
  return [...errors, forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")];
}

export function validateReplicationController({ spec }: Obj): FieldError[] {
  const selector: Record<string, string> = spec.selector ?? {};
  const errors = [...counts(spec, "minReadySeconds", "replicas")];
  if (Object.keys(selector).length === 0) errors.push(required("spec.selector"));
  if (!isObject(spec.template)) return [...errors, required("spec.template")];
  const labels = spec.template.metadata?.labels ?? {};
  if (!Object.entries(selector).every(([key, value]) => labels[key] === value)) errors.push(invalidValue("spec.template.metadata.labels", labels, MISMATCH));
  return [...errors, ...validateTemplate(spec, "ReplicationController")];
}
