/** Groups of the Kubernetes community, whose definitions state by an annotation who approved them. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import type { Condition } from "./names.ts";

const ANNOTATION = "api-approved.kubernetes.io";
const SEE = "see https://github.com/kubernetes/enhancements/pull/1111";

const isProtected = (group: string): boolean => ["k8s.io", "kubernetes.io"].some((suffix) => group === suffix || group.endsWith(`.${suffix}`));

type Approval = { readonly state: "missing" | "invalid" | "bypassed" | "approved"; readonly reason: string };

function approvalOf(crd: Obj): Approval {
  const value = crd.metadata?.annotations?.[ANNOTATION];
  if (!value) return { state: "missing", reason: `protected groups must have approval annotation ${JSON.stringify(ANNOTATION)}, ${SEE}` };
  if (value.startsWith("unapproved")) return { state: "bypassed", reason: `not approved: ${JSON.stringify(value)}` };
  if (URL.canParse(value)) return { state: "approved", reason: `approved in ${value}` };
  return {
    state: "invalid",
    reason: `protected groups must have approval annotation ${JSON.stringify(ANNOTATION)} with either a URL or a reason starting with "unapproved", ${SEE}`,
  };
}

const reasons = { missing: "MissingAnnotation", invalid: "InvalidAnnotation", bypassed: "UnapprovedAnnotation", approved: "ApprovedAnnotation" } as const;

/** The condition of a definition in such a group. */
export function approval(crd: Obj): readonly Condition[] {
  if (!isProtected(crd.spec.group)) return [];
  const { state, reason } = approvalOf(crd);
  return [{ type: "KubernetesAPIApprovalPolicyConformant", status: state === "approved" ? "True" : "False", reason: reasons[state], message: reason }];
}

/** An old definition may stay as bad as it was. */
export function validateApproval(crd: Obj, old?: Obj): FieldError[] {
  if (!isProtected(crd.spec?.group ?? "")) return [];
  const { state, reason } = approvalOf(crd);
  const before = old && approvalOf(old).state;
  if ((state !== "missing" && state !== "invalid") || before === state) return [];
  const field = "metadata.annotations[api-approved.kubernetes.io]";
  if (state === "missing") return [{ type: "FieldValueRequired", field, message: `Required value: ${reason}` }];
  return [{ type: "FieldValueInvalid", field, message: `Invalid value: ${JSON.stringify(crd.metadata?.annotations?.[ANNOTATION])}: ${reason}` }];
}
