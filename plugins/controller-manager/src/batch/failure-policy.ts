/** A Job's podFailurePolicy and successPolicy: what a failed pod means, and when enough indexes succeeded. */
import type { ContainerStatus, Job, Pod } from "@k3s-p/plugin-api/kube";
import { parseIndexes } from "./indexes.ts";

type Policy = NonNullable<NonNullable<Job["spec"]>["podFailurePolicy"]>;
type Rule = Policy["rules"][number];

export interface PolicyVerdict {
  readonly action: "FailJob" | "FailIndex" | "Ignore" | "Count";
  /** Set when the job fails. */
  readonly message?: string;
}

/** Pods are replaced only when they have failed, not already while they terminate. */
export const replacesOnlyFailed = (job: Job): boolean =>
  job.spec?.podReplacementPolicy === "Failed" || job.spec?.podFailurePolicy !== undefined;

/** A pod on its way out counts as failed, unless the Job waits for the end of its pods. */
export function isPodFailed(job: Job, pod: Pod): boolean {
  if (pod.status?.phase === "Failed") return true;
  return !replacesOnlyFailed(job) && pod.metadata.deletionTimestamp !== undefined && pod.status?.phase !== "Succeeded";
}

/** The first rule that matches decides. */
export function applyFailurePolicy(policy: Policy | undefined, pod: Pod): PolicyVerdict {
  for (const [i, rule] of (policy?.rules ?? []).entries()) {
    const why = matchRule(rule, pod);
    if (why === undefined) continue;
    const action = rule.action as PolicyVerdict["action"];
    return action === "FailJob" ? { action, message: `${why} matching ${action} rule at index ${i}` } : { action };
  }
  return { action: "Count" };
}

function matchRule(rule: Rule, pod: Pod): string | undefined {
  const id = `${pod.metadata.namespace}/${pod.metadata.name}`;
  if (rule.onExitCodes) {
    const status = matchExitCodes(rule.onExitCodes, pod);
    return status && `Container ${status.name} for pod ${id} failed with exit code ${status.state?.terminated?.exitCode}`;
  }
  for (const pattern of rule.onPodConditions ?? []) {
    const match = pod.status?.conditions?.some((c) => c.type === pattern.type && c.status === (pattern.status ?? "True"));
    if (match) return `Pod ${id} has condition ${pattern.type}`;
  }
  return undefined;
}

function matchExitCodes(rule: NonNullable<Rule["onExitCodes"]>, pod: Pod): ContainerStatus | undefined {
  const statuses = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
  return statuses.find((status) => {
    const code = status.state?.terminated?.exitCode;
    if (code === undefined || code === 0) return false;
    if (rule.containerName && rule.containerName !== status.name) return false;
    return rule.values.includes(code) === (rule.operator === "In");
  });
}

/** Message of the first success rule that is met. */
export function applySuccessPolicy(job: Job, succeeded: ReadonlySet<number>): string | undefined {
  for (const [i, rule] of (job.spec?.successPolicy?.rules ?? []).entries()) {
    const wanted =
      rule.succeededIndexes === undefined ? undefined : parseIndexes(rule.succeededIndexes, job.spec?.completions ?? 0);
    const hits = [...succeeded].filter((index) => wanted?.has(index) ?? true).length;
    const needed = rule.succeededCount ?? wanted?.size ?? 0;
    if (needed > 0 && hits >= needed) return `Matched rules at index ${i}`;
  }
  return undefined;
}
