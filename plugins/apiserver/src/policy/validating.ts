/** The admission plugin ValidatingAdmissionPolicy. */
import { ApiError, forbidden } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import { isExempt } from "../webhook/rules.ts";
import { type Case, caseOf, type PolicyDeps, run, type Shared, type Target, targetsOf, testCase } from "./evaluate.ts";
import { followPolicies, type Policy, type Validation } from "./policies.ts";

interface Finding {
  readonly case: Case;
  readonly message: string;
  readonly reason: string;
  /** Of the validation in its policy. */
  readonly index: number;
  /** It could not be told whether the rule holds. */
  readonly failed?: boolean;
}

export function validatingPolicies(deps: PolicyDeps): AdmissionPlugin {
  const policies = followPolicies(deps.engine.store, "validatingadmissionpolicies");
  return {
    name: "ValidatingAdmissionPolicy",
    validate(request) {
      const all = policies.list();
      if (all.length > 0 && !isExempt(request)) judge(deps, all, request);
    },
  };
}

function judge(deps: PolicyDeps, policies: readonly Policy[], request: AdmissionRequest): void {
  const shared: Shared = new Map();
  const notes: Notes = new Map();
  const findings = policies.flatMap((policy) => targetsOf(deps, policy, request)).flatMap((target) => {
    const found = findingsOf(caseOf(deps, target, request, shared), notes);
    count(deps, target, found);
    return found;
  });
  for (const [key, values] of notes) request.annotate?.(key, [...values].sort().join(", ").slice(0, MAX_NOTE));
  const denials = findings.filter(({ case: { binding } }) => binding.actions.includes("Deny"));
  for (const { case: { policy, binding }, message } of findings) {
    if (binding.actions.includes("Warn")) {
      request.warn?.([`Validation failed for ValidatingAdmissionPolicy '${policy.name}' with binding '${binding.name}': ${message}`]);
    }
  }
  if (request.annotate) note(request.annotate, findings);
  if (denials.length > 0) throw refusal(request, denials[0]!);
}

/** For bindings with the action `Audit`. */
function note(annotate: NonNullable<AdmissionRequest["annotate"]>, findings: readonly Finding[]): void {
  const noted = findings.filter(({ case: { binding } }) => binding.actions.includes("Audit"));
  if (noted.length === 0) return;
  annotate("validation.policy.admission.k8s.io/validation_failure", JSON.stringify(noted.map(({ case: { policy, binding }, message, index }) =>
    ({ message, policy: policy.name, binding: binding.name, expressionIndex: String(index), validationActions: binding.actions }))));
}

const metricActions: Readonly<Record<string, "deny" | "audit" | "warn">> = { Deny: "deny", Audit: "audit", Warn: "warn" };

function count({ metrics }: PolicyDeps, { policy, binding }: Target, findings: readonly Finding[]): void {
  const labels = { policy: policy.name, binding: binding.name, failed: findings.some(({ failed }) => failed) };
  if (findings.length === 0) return metrics.policy({ ...labels, action: "allow" });
  for (const action of binding.actions) metrics.policy({ ...labels, action: metricActions[action]! });
}

/** Values of audit annotations, of all bindings and parameters of a policy. */
type Notes = Map<string, Set<string>>;
const MAX_NOTE = 10 * 1024;

/** A failure counts as a finding unless the policy lets failures pass. */
function findingsOf(one: Case, notes: Notes): Finding[] {
  const { policy } = one;
  const { matches, error } = testCase(one);
  const failed = (message: string, index = 0): Finding[] => (policy.isFailClosed ? [{ case: one, message, reason: "Invalid", index, failed: true }] : []);
  if (!matches) return error ? failed(error) : [];
  const annotated = policy.auditAnnotations.flatMap(({ key, value }) => {
    try {
      const text = run(value, one.evaluation, one.variables);
      if (text === null || (typeof text === "string" && text.trim() === "")) return [];
      if (typeof text !== "string") throw new Error(`valueExpression '${value.text.trim()}' resulted in unsupported return type: ${typeof text}. Return type must be either string or null.`);
      const place = `${policy.name}/${key}`;
      notes.set(place, (notes.get(place) ?? new Set()).add(text.trim()));
      return [];
    } catch (failure) {
      return failed((failure as Error).message);
    }
  });
  return [...annotated, ...policy.validations.flatMap((validation, index) => {
    try {
      if (run(validation.expression, one.evaluation, one.variables) === true) return [];
      return [{ case: one, message: messageOf(one, validation), reason: validation.reason, index }];
    } catch (failure) {
      return failed((failure as Error).message, index);
    }
  })];
}

const MAX_MESSAGE = 5 * 1024;

/** A message that cannot be computed, or is of no use, gives way to the fixed one. */
function messageOf({ evaluation, variables }: Case, { expression, message, messageExpression }: Validation): string {
  const fixed = message.trim() || `failed expression: ${expression.text.trim()}`;
  if (!messageExpression) return fixed;
  try {
    const text = run(messageExpression, evaluation, variables);
    const isUseful = typeof text === "string" && text.trim() !== "" && !text.includes("\n") && text.length <= MAX_MESSAGE;
    return isUseful ? text.trim() : fixed;
  } catch {
    return fixed;
  }
}

const codes: Readonly<Record<string, number>> = { Unauthorized: 401, Forbidden: 403, RequestEntityTooLarge: 413, Invalid: 422 };

function refusal(request: AdmissionRequest, { case: { policy, binding }, message, reason }: Finding): ApiError {
  const why = `ValidatingAdmissionPolicy '${policy.name}' with binding '${binding.name}' denied request: ${message}`;
  const { status } = forbidden({ group: request.group, plural: request.resource }, request.name, why);
  return new ApiError({ ...status, reason, code: codes[reason] ?? 422, details: { ...status.details, causes: [{ message: why }] } });
}
