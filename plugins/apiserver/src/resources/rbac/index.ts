/** The rows of rbac.authorization.k8s.io, certificates, and the review kinds that are answered and never stored. */
import { createOnly, rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import { certificateSigningRequest, clusterRole, clusterRoleBinding, role, roleBinding } from "./kinds.ts";

const rbac = rowsOf("rbac.authorization.k8s.io", "v1");
const certificates = rowsOf("certificates.k8s.io", "v1");
const authentication = rowsOf("authentication.k8s.io", "v1");
const authorization = rowsOf("authorization.k8s.io", "v1");
const cluster = { namespaced: false } as const;
const rule = { createOnUpdate: true, nameRule: "path" } as const;
const review = { ...cluster, verbs: createOnly, virtual: true } as const;

export const rbacResources: readonly ResourceDef[] = [
  rbac("ClusterRole", "clusterroles", { ...cluster, ...rule }, clusterRole),
  rbac("ClusterRoleBinding", "clusterrolebindings", { ...cluster, ...rule }, clusterRoleBinding),
  rbac("Role", "roles", rule, role),
  rbac("RoleBinding", "rolebindings", rule, roleBinding),
  certificates("CertificateSigningRequest", "certificatesigningrequests", {
    ...cluster, shortNames: ["csr"], subresources: ["approval", "status"],
  }, certificateSigningRequest),
  authentication("SelfSubjectReview", "selfsubjectreviews", review),
  authentication("TokenReview", "tokenreviews", review),
  authorization("LocalSubjectAccessReview", "localsubjectaccessreviews", { ...review, namespaced: true }),
  authorization("SelfSubjectAccessReview", "selfsubjectaccessreviews", review),
  authorization("SelfSubjectRulesReview", "selfsubjectrulesreviews", review),
  authorization("SubjectAccessReview", "subjectaccessreviews", review),
];
