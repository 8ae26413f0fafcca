/** The admission plugin ValidatingAdmissionPolicy. */
import { ApiError, forbidden } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import { isExempt } from "../webhook/rules.ts";
import { type Case, caseOf, type PolicyDeps, run, type Shared, targetsOf, testCase } from "./evaluate.ts";
import { followPolicies, type Policy, type Validation } from "./policies.ts";

interface Finding {
  readonly case: Case;
  readonly message: string;
  readonly reason: string;
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
  const findings = policies.flatMap((policy) => targetsOf(deps, policy, request))
    .flatMap((target) => findingsOf(caseOf(deps, target, request, shared)));
  const denials = findings.filter(({ case: { binding } }) => binding.actions.includes("Deny"));
  for (const { case: { policy, binding }, message } of findings) {
    if (binding.actions.includes("Warn")) {
      request.warn?.([`Validation failed for ValidatingAdmissionPolicy '${policy.name}' with binding '${binding.name}': ${message}`]);
    }
  }
  if (denials.length > 0) throw refusal(request, denials[0]!);
}

/** A failure counts as a finding unless the policy lets failures pass. */
function findingsOf(one: Case): Finding[] {
  const { policy } = one;
  const { matches, error } = testCase(one);
  const failed = (message: string): Finding[] => (policy.isFailClosed ? [{ case: one, message, reason: "Invalid" }] : []);
  if (!matches) return error ? failed(error) : [];
  return policy.validations.flatMap((validation) => {
    try {
      if (run(validation.expression, one.evaluation, one.variables) === true) return [];
      return [{ case: one, message: messageOf(one, validation), reason: validation.reason }];
    } catch (failure) {
      return failed((failure as Error).message);
    }
  });
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
