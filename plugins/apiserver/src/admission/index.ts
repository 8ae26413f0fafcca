/** The built-in admission plugins, in upstream's order. */
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";
import { checkEscalation } from "../auth/escalation.ts";
import type { Obj } from "../resources/types.ts";
import { certificateRights, certificateSubjectRestriction } from "./certificates.ts";
import { type AdmissionDeps, toPlugin } from "./common.ts";
import { limitRanger } from "./limit-ranger.ts";
import { namespaceLifecycle } from "./namespace.ts";
import { podSecurity } from "./pod-security.ts";
import { defaultTolerationSeconds, priority, runtimeClass, taintNodesByCondition } from "./pods.ts";
import { resourceQuota } from "./quota.ts";
import { serviceAccount } from "./service-account.ts";
import {
  defaultIngressClass, defaultStorageClass, persistentVolumeClaimResize, storageObjectInUseProtection,
} from "./storage.ts";

export type { AdmissionDeps } from "./common.ts";

/** `own` come before ResourceQuota, which is last: it writes down usage, so nothing after it may refuse. */
export const builtinAdmission = (deps: AdmissionDeps, own: (builtin: readonly AdmissionPlugin[]) => readonly AdmissionPlugin[] = () => []): readonly AdmissionPlugin[] => {
  const builtin = builtinPlugins(deps);
  return [...builtin, ...own(builtin), resourceQuota(deps)];
};

const builtinPlugins = (deps: AdmissionDeps): readonly AdmissionPlugin[] => [
  namespaceLifecycle(deps),
  roleEscalation(deps),
  limitRanger(deps),
  serviceAccount(deps),
  taintNodesByCondition(),
  ...podSecurity(deps),
  ...priority(deps),
  defaultTolerationSeconds(),
  defaultStorageClass(deps),
  storageObjectInUseProtection(),
  persistentVolumeClaimResize(deps),
  runtimeClass(deps),
  ...certificateRights(deps),
  certificateSubjectRestriction(),
  defaultIngressClass(deps),
];

const RBAC = "rbac.authorization.k8s.io";

const roleEscalation = ({ authorizer }: Pick<AdmissionDeps, "authorizer">): AdmissionPlugin => toPlugin({
  name: "RoleEscalation",
  resources: ["roles", "clusterroles", "rolebindings", "clusterrolebindings"].map((plural) => `${plural}.${RBAC}`),
  operations: ["CREATE", "UPDATE"],
  validate: (object, { user, resource, oldObject }) =>
    checkEscalation(authorizer, user, resource, object, oldObject as Obj | undefined),
});
