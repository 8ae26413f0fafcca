/** Validation of what controllers write into the status of workloads: counts are counts, and parts are no more than the whole. */
import type { Obj } from "../types.ts";
import { type FieldError, invalidValue, nonNegative } from "../validate/field.ts";

interface Counts {
  /** Not negative. */
  readonly counts: readonly string[];
  /** Parts of `replicas`. */
  readonly parts?: readonly string[];
  /** How an answer names the ready replicas, of which the available ones are a part. */
  readonly ready?: string;
}

type StatusRule = (object: Obj, old: Obj) => FieldError[];

const at = (name: string): string => `status.${name}`;

function statusRule({ counts, parts = [], ready }: Counts): StatusRule {
  return ({ status = {} }, old) => {
    const count = (name: string): number => status[name] ?? 0;
    const errors = [...counts, "collisionCount"].flatMap((name) => nonNegative(at(name), status[name]));
    for (const part of parts) if (count(part) > count("replicas")) errors.push(invalidValue(at(part), count(part), "cannot be greater than status.replicas"));
    if (ready && count("availableReplicas") > count("readyReplicas")) {
      errors.push(invalidValue(at("availableReplicas"), count("availableReplicas"), `cannot be greater than ${ready}`));
    }
    const before = old.status?.collisionCount;
    if (before != null && (status.collisionCount ?? -1) < before) errors.push(invalidValue(at("collisionCount"), count("collisionCount"), "cannot be decremented"));
    return errors;
  };
}

export const validateDeploymentStatus = statusRule({
  counts: ["observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas", "terminatingReplicas"],
  parts: ["updatedReplicas", "readyReplicas", "availableReplicas"],
  ready: "readyReplicas",
});

export const validateReplicaSetStatus = statusRule({
  counts: ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas", "observedGeneration"],
  parts: ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
  ready: "readyReplicas",
});

export const validateStatefulSetStatus = statusRule({
  counts: ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration"],
  parts: ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
  ready: "status.readyReplicas",
});

export const validateDaemonSetStatus = statusRule({
  counts: [
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration", "updatedNumberScheduled",
    "numberAvailable", "numberUnavailable",
  ],
});
