/** Validation of Deployments, ReplicaSets, DaemonSets, StatefulSets and ReplicationControllers. */
import { type LabelSelector, matchesSelector } from "@k3s-p/plugin-api/kube";
import { isObject, items, same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { validateClaimSpec } from "../core/validate-claim.ts";
import { validatePodTemplate } from "../core/validate-pod.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, nonNegative, notSupported, required } from "../validate/field.ts";
import { atMostAll, dns1123Label, intOrPercent, isZero } from "../validate/names.ts";
import { isEmptySelector, validateLabelSelector } from "../validate/selector.ts";

const MISMATCH = "`selector` does not match template `labels`";

const mismatch = ({ template }: Obj): FieldError => invalidValue("spec.template.metadata.labels", template?.metadata?.labels, MISMATCH);

/** No selector selects nothing. */
const selectsTemplate = ({ selector, template }: Obj): boolean =>
  isObject(selector) && matchesSelector(selector as LabelSelector, template?.metadata?.labels);

/** The selector is there, selects something, and selects the template, which is judged when that can be told. */
function validateSelected(spec: Obj, kind: string, detail: string, judge: () => FieldError[]): FieldError[] {
  const { selector } = spec;
  const problems = validateLabelSelector("spec.selector", selector);
  const errors = isObject(selector) ? [...problems] : [required("spec.selector")];
  const isEmpty = isObject(selector) && isEmptySelector(selector);
  if (isEmpty) errors.push(invalidValue("spec.selector", selector, `empty selector is invalid for ${kind}`));
  if (problems.length > 0) return [...errors, invalidValue("spec.selector", selector, detail)];
  if (!isEmpty && !selectsTemplate(spec)) errors.push(mismatch(spec));
  return [...errors, ...judge()];
}

/** A template whose pods are restarted for ever. */
function validateTemplate(spec: Obj, kind: string): FieldError[] {
  const errors = validatePodTemplate("spec.template", spec.template);
  const pod = spec.template?.spec ?? {};
  if (pod.restartPolicy && pod.restartPolicy !== "Always") errors.push(notSupported("spec.template.spec.restartPolicy", pod.restartPolicy, ["Always"]));
  if (pod.activeDeadlineSeconds != null) errors.push(forbidden("spec.template.spec.activeDeadlineSeconds", `activeDeadlineSeconds in ${kind} is not Supported`));
  return errors;
}

const counts = (spec: Obj, ...names: string[]): FieldError[] => names.flatMap((name) => nonNegative(`spec.${name}`, spec[name]));

const immutable = (object: Obj, old: Obj, field: string): FieldError[] =>
  same(object.spec[field], old.spec[field]) ? [] : [invalidValue(`spec.${field}`, object.spec[field], IMMUTABLE)];

export function validateDeployment({ spec }: Obj): FieldError[] {
  const errors = [
    ...counts(spec, "replicas"), ...validateSelected(spec, "deployment", INVALID_SELECTOR, () => validateTemplate(spec, "ReplicaSet")), ...validateStrategy(spec),
    ...counts(spec, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"),
  ];
  if (spec.progressDeadlineSeconds != null && spec.progressDeadlineSeconds <= (spec.minReadySeconds ?? 0)) {
    errors.push(invalidValue("spec.progressDeadlineSeconds", spec.progressDeadlineSeconds, "must be greater than minReadySeconds"));
  }
  return errors;
}

const INVALID_SELECTOR = "invalid label selector";

export const validateDeploymentUpdate = (deployment: Obj, old: Obj): FieldError[] =>
  [...validateDeployment(deployment), ...immutable(deployment, old, "selector")];

function validateStrategy({ strategy }: Obj): FieldError[] {
  const at = "spec.strategy";
  if (strategy.type === "Recreate") {
    return strategy.rollingUpdate == null ? [] : [forbidden(`${at}.rollingUpdate`, "may not be specified when strategy `type` is 'Recreate'")];
  }
  if (strategy.type !== "RollingUpdate") return [notSupported(at, strategy, ["Recreate", "RollingUpdate"])];
  if (!isObject(strategy.rollingUpdate)) return [required(`${at}.rollingUpdate`, "this should be defaulted and never be nil")];
  const { maxUnavailable, maxSurge } = strategy.rollingUpdate;
  const field = `${at}.rollingUpdate`;
  const errors = [...intOrPercent(`${field}.maxUnavailable`, maxUnavailable), ...intOrPercent(`${field}.maxSurge`, maxSurge)];
  if (isZero(maxUnavailable) && isZero(maxSurge)) errors.push(invalidValue(`${field}.maxUnavailable`, maxUnavailable, "may not be 0 when `maxSurge` is 0"));
  return [...errors, ...atMostAll(`${field}.maxUnavailable`, maxUnavailable)];
}

export function validateReplicaSet({ spec }: Obj): FieldError[] {
  return [
    ...counts(spec, "replicas", "minReadySeconds"), ...validateSelected(spec, "deployment", INVALID_SELECTOR, () => validateTemplate(spec, "ReplicaSet")),
  ];
}

export const validateReplicaSetUpdate = (set: Obj, old: Obj): FieldError[] => [...validateReplicaSet(set), ...immutable(set, old, "selector")];

export function validateDaemonSet({ spec }: Obj): FieldError[] {
  const problems = validateLabelSelector("spec.selector", spec.selector);
  return [
    ...problems, ...(problems.length > 0 || selectsTemplate(spec) ? [] : [mismatch(spec)]),
    ...(isObject(spec.selector) && isEmptySelector(spec.selector) ? [invalidValue("spec.selector", spec.selector, "empty selector is invalid for daemonset")] : []),
    ...validateTemplate(spec, "DaemonSet"), ...counts(spec, "minReadySeconds"), ...validateDaemonStrategy(spec), ...counts(spec, "revisionHistoryLimit"),
  ];
}

export const validateDaemonSetUpdate = (set: Obj, old: Obj): FieldError[] => [...validateDaemonSet(set), ...immutable(set, old, "selector")];

function validateDaemonStrategy({ updateStrategy }: Obj): FieldError[] {
  const at = "spec.updateStrategy";
  if (updateStrategy.type === "OnDelete") return [];
  if (updateStrategy.type !== "RollingUpdate") return [notSupported(at, updateStrategy, ["RollingUpdate", "OnDelete"])];
  if (!isObject(updateStrategy.rollingUpdate)) return [required(`${at}.rollingUpdate`)];
  const { maxUnavailable, maxSurge } = updateStrategy.rollingUpdate;
  const [unavailable, surge] = [`${at}.rollingUpdate.maxUnavailable`, `${at}.rollingUpdate.maxSurge`];
  const errors = [
    ...intOrPercent(unavailable, maxUnavailable), ...intOrPercent(surge, maxSurge), ...atMostAll(unavailable, maxUnavailable), ...atMostAll(surge, maxSurge),
  ];
  if (isZero(maxUnavailable) && isZero(maxSurge)) errors.push(required(unavailable, "cannot be 0 when maxSurge is 0"));
  if (!isZero(maxUnavailable) && !isZero(maxSurge)) errors.push(invalidValue(surge, maxSurge, "may not be set when maxUnavailable is non-zero"));
  return errors;
}

/** The service's name cannot change, so that one which was accepted once stays. */
export const validateStatefulSet = ({ spec }: Obj): FieldError[] => validateStatefulSetSpec(spec, true);

function validateStatefulSetSpec(spec: Obj, isNew: boolean): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.podManagementPolicy !== "OrderedReady" && spec.podManagementPolicy !== "Parallel") {
    errors.push(invalidValue("spec.podManagementPolicy", spec.podManagementPolicy, "must be 'OrderedReady' or 'Parallel'"));
  }
  errors.push(
    ...validateUpdateStrategy("spec.updateStrategy", spec.updateStrategy), ...validateRetention(spec.persistentVolumeClaimRetentionPolicy),
    ...counts(spec, "replicas", "minReadySeconds"),
  );
  if (spec.ordinals) errors.push(...nonNegative("spec.ordinals.start", spec.ordinals.start));
  if (isNew && spec.serviceName) errors.push(...invalidAll("spec.serviceName", spec.serviceName, dns1123Label(spec.serviceName)));
  items(spec, "volumeClaimTemplates").forEach((claim, i) => errors.push(...validateClaimSpec(`spec.volumeClaimTemplates[${i}].spec`, claim.spec ?? {})));
  return [...errors, ...validateSelected(spec, "statefulset", "", () => validateTemplate(withClaims(spec), "StatefulSet"))];
}

function validateUpdateStrategy(at: string, strategy: Obj): FieldError[] {
  const { type, rollingUpdate } = strategy;
  if (type !== "RollingUpdate" && type !== "OnDelete") return [invalidValue(at, strategy, "must be 'RollingUpdate' or 'OnDelete'")];
  if (rollingUpdate == null) return [];
  if (type === "OnDelete") return [invalidValue(`${at}.rollingUpdate`, rollingUpdate, "only allowed for updateStrategy 'RollingUpdate'")];
  const { partition, maxUnavailable } = rollingUpdate;
  const errors = nonNegative(`${at}.rollingUpdate.partition`, partition);
  if (maxUnavailable == null) return errors;
  const field = `${at}.rollingUpdate.maxUnavailable`;
  errors.push(...intOrPercent(field, maxUnavailable));
  if (isZero(maxUnavailable)) errors.push(invalidValue(field, maxUnavailable, "cannot be 0"));
  return [...errors, ...atMostAll(field, maxUnavailable)];
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
    ["Retain", "Delete"].includes(policy?.[name]) ? [] : [notSupported(`spec.persistentVolumeClaimRetentionPolicy.${name}`, policy?.[name], ["Retain", "Delete"])]);
}

const mutableInStatefulSet = ["replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"];

export function validateStatefulSetUpdate(set: Obj, old: Obj): FieldError[] {
  const masked = { ...set.spec, ...Object.fromEntries(mutableInStatefulSet.map((field) => [field, old.spec[field]])) };
  const errors = validateStatefulSetSpec(set.spec, false);
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

/** What a controller revision keeps is there, and never changes. */
export const validateControllerRevision = ({ data, revision }: Obj): FieldError[] =>
  [...(data == null ? [required("data", "data is mandatory")] : []), ...nonNegative("revision", revision)];

export const validateControllerRevisionUpdate = (object: Obj, old: Obj): FieldError[] =>
  [...validateControllerRevision(object), ...(same(object.data, old.data) ? [] : [invalidValue("data", object.data, IMMUTABLE)])];
