/** What may change in a pod that exists: images, deadlines, tolerations, gates; and, through subresources, debuggers and sizes. */
import { isObject, items, same } from "../fields.ts";
import type { Obj, StrategyContext } from "../types.ts";
import { type FieldError, forbidden, invalidValue } from "../validate/field.ts";
import { qosClass } from "./pod-defaults.ts";
import { specDiff } from "./spec-diff.ts";
import { validateImages } from "./validate-container.ts";
import { validatePodSpec } from "./validate-pod.ts";

const REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution";

const MUTABLE = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
  "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
  "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

export function validatePodUpdate(pod: Obj, old: Obj, ctx: StrategyContext): FieldError[] {
  if (ctx.subresource === "ephemeralcontainers") return validateEphemeralUpdate(pod, old);
  if (ctx.subresource === "resize") return validateResize(pod, old);
  // What is as it was has been found valid.
  if (pod.spec === old.spec) return [];
  const counts = ["containers", "initContainers"].filter((list) => items(pod.spec, list).length !== items(old.spec, list).length);
  if (counts.length > 0) return counts.map((list) => forbidden(`spec.${list}`, "pod updates may not add or remove containers"));
  const errors = [
    ...validatePodSpec("spec", pod.spec), ...validateImages("spec", pod.spec),
    ...validateDeadline(pod.spec, old.spec), ...validateAddedTolerations(pod.spec, old.spec), ...validateGatesUpdate(pod.spec, old.spec),
  ];
  const masked = mutableParts(pod.spec, old.spec);
  if (items(old.spec, "schedulingGates").length > 0) errors.push(...maskPlacement(masked, old.spec));
  if (!same(masked, old.spec)) errors.push(forbidden("spec", `${MUTABLE}\n${specDiff(old.spec, masked)}`));
  return errors;
}

function validateDeadline(spec: Obj, old: Obj): FieldError[] {
  const [now, before] = [spec.activeDeadlineSeconds, old.activeDeadlineSeconds];
  const at = "spec.activeDeadlineSeconds";
  if (before == null) return [];
  if (now == null) return [invalidValue(at, null, "must not update from a positive integer to nil value")];
  return now > before ? [invalidValue(at, now, "must be less than or equal to previous value")] : [];
}

function validateAddedTolerations(spec: Obj, old: Obj): FieldError[] {
  const bare = ({ tolerationSeconds: _, ...rest }: Obj): Obj => rest;
  const now = items(spec, "tolerations");
  const missing = items(old, "tolerations").some((before) => !now.some((t) => same(bare(t), bare(before))));
  return missing ? [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")] : [];
}

function validateGatesUpdate(spec: Obj, old: Obj): FieldError[] {
  const before = new Set(items(old, "schedulingGates").map((gate) => gate.name));
  return items(spec, "schedulingGates").flatMap(({ name }, i) =>
    (before.has(name) ? [] : [forbidden(`spec.schedulingGates[${i}].name`, `only deletion is allowed, but found new scheduling gate '${name}'`)]));
}

/** The new spec with all that may change set back to what it was. */
function mutableParts(spec: Obj, old: Obj): Obj {
  const masked: Obj = { ...spec };
  for (const list of ["containers", "initContainers"]) {
    masked[list] = items(spec, list).map((container, i) => ({ ...container, image: old[list][i].image }));
  }
  for (const field of ["activeDeadlineSeconds", "tolerations", "schedulingGates"]) masked[field] = old[field];
  if (spec.terminationGracePeriodSeconds === 1 && old.terminationGracePeriodSeconds < 0) masked.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds;
  return masked;
}

const ONLY_ADDITIONS = "only additions are allowed (no mutations or deletions)";

/** While gates hold a pod, its node selector may grow and its node affinity become stricter; sets both back to what they were. */
function maskPlacement(masked: Obj, old: Obj): FieldError[] {
  const errors: FieldError[] = [];
  const [selector, before] = [masked.nodeSelector ?? {}, Object.entries((old.nodeSelector ?? {}) as Record<string, string>)];
  if (before.some(([key, value]) => selector[key] !== value)) errors.push(invalidValue("spec.nodeSelector", selector, ONLY_ADDITIONS));
  masked.nodeSelector = old.nodeSelector;
  const [now, had] = [masked.affinity?.nodeAffinity, old.affinity?.nodeAffinity];
  if (same(now, had)) return errors;
  const { nodeAffinity: _, ...others } = masked.affinity ?? {};
  masked.affinity = isObject(had) ? { ...others, nodeAffinity: had } : old.affinity == null && Object.keys(others).length === 0 ? old.affinity : others;
  return isObject(had) ? [...errors, ...validateStricter(now?.[REQUIRED], had[REQUIRED])] : errors;
}

function validateStricter(now: Obj | undefined, before: Obj | undefined): FieldError[] {
  const at = `spec.affinity.nodeAffinity.${REQUIRED}.nodeSelectorTerms`;
  const [terms, old] = [now, before].map((selector) => items(selector, "nodeSelectorTerms")) as [Obj[], Obj[]];
  if (old.length === 0) return [];
  if (old.length !== terms.length) return [invalidValue(at, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")];
  return old.flatMap((term, i) => (hasOnlyAdditions(terms[i]!, term) ? [] : [invalidValue(`${at}[${i}]`, terms[i], ONLY_ADDITIONS)]));
}

/** An empty term matches nothing: anything more would make it match. */
function hasOnlyAdditions(now: Obj, before: Obj): boolean {
  const lists = ["matchExpressions", "matchFields"];
  if (lists.every((list) => items(before, list).length === 0)) return lists.every((list) => items(now, list).length === 0);
  return lists.every((list) => items(before, list).every((r) => items(now, list).some((other) => same(other, r))));
}

function validateEphemeralUpdate(pod: Obj, old: Obj): FieldError[] {
  const at = "spec.ephemeralContainers";
  const errors = validatePodSpec("spec", pod.spec).filter((error) => error.field.startsWith(at));
  const now = new Map(items(pod.spec, "ephemeralContainers").map((c): [string, Obj] => [c.name, c]));
  for (const before of items(old.spec, "ephemeralContainers")) {
    const container = now.get(before.name);
    if (!container) errors.push(forbidden(at, `existing ephemeral containers ${JSON.stringify(before.name)} may not be removed\n`));
    else if (!same(container, before)) errors.push(forbidden(at, `existing ephemeral containers ${JSON.stringify(before.name)} may not be changed\n`));
  }
  return errors;
}

function validateResize(pod: Obj, old: Obj): FieldError[] {
  const errors = ["containers", "initContainers"].flatMap((list) => validateSameContainers(`spec.${list}`, items(pod.spec, list), items(old.spec, list)));
  if (errors.length > 0) return errors;
  const wrong = validatePodSpec("spec", pod.spec).filter((error) => error.field.includes(".resources"));
  if (wrong.length > 0) return wrong;
  const qos = old.status?.qosClass ?? qosClass(old.spec);
  const moved = qosClass(pod.spec) === qos ? [] : [invalidValue("spec", qos, "Pod QOS Class may not change as a result of resizing")];
  return [
    ...moved, ...validateSizes("spec.resources", pod.spec.resources, old.spec.resources),
    ...["containers", "initContainers"].flatMap((list) => items(pod.spec, list).flatMap((container, i) =>
      validateSizes(`spec.${list}[${i}].resources`, container.resources, old.spec[list][i].resources))),
  ];
}

function validateSizes(at: string, now: Obj = {}, before: Obj = {}): FieldError[] {
  return ["limits", "requests"].flatMap((kind) => {
    const names = new Set([...Object.keys(now[kind] ?? {}), ...Object.keys(before[kind] ?? {})]);
    const other = [...names].filter((n) => n !== "cpu" && n !== "memory" && now[kind]?.[n] !== before[kind]?.[n]);
    const removed = ["cpu", "memory"].some((name) => before[kind]?.[name] != null && now[kind]?.[name] == null);
    return [
      ...(other.length ? [forbidden(`${at}.${kind}`, "only cpu and memory resources are mutable")] : []),
      ...(removed ? [forbidden(`${at}.${kind}`, `resource ${kind} cannot be removed`)] : []),
    ];
  });
}

function validateSameContainers(at: string, now: readonly Obj[], before: readonly Obj[]): FieldError[] {
  if (now.length !== before.length) return [forbidden(at, "containers may not be added or removed on resize")];
  return now.flatMap(({ name }, i) =>
    name === before[i]!.name ? [] : [forbidden(`${at}[${i}].name`, "containers may not be renamed or reordered on resize")]);
}
