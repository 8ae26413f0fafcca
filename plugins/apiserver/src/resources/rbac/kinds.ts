/** Roles, their bindings, and CertificateSigningRequests. */
import type { Behaviour } from "../row.ts";
import { always, keepStatus } from "../strategy.ts";
import type { Obj, StrategyContext } from "../types.ts";
import { bindingColumns, clusterRoleColumns, csrColumns, roleColumns } from "./columns.ts";
import { defaultBinding } from "./defaults.ts";
import { updateOf, validateClusterRole, validateClusterRoleBinding, validateRole, validateRoleBinding } from "./validate.ts";
import { validateCsr, validateCsrUpdate } from "./validate-csr.ts";

export const role: Behaviour = { columns: roleColumns, ...always(validateRole) };
export const clusterRole: Behaviour = { columns: clusterRoleColumns, ...always(validateClusterRole) };
export const roleBinding: Behaviour = {
  columns: bindingColumns,
  defaults: defaultBinding,
  validate: validateRoleBinding,
  validateUpdate: updateOf(validateRoleBinding),
};
export const clusterRoleBinding: Behaviour = {
  columns: bindingColumns,
  defaults: defaultBinding,
  validate: validateClusterRoleBinding,
  validateUpdate: updateOf(validateClusterRoleBinding),
};

const requestor = ["username", "uid", "groups", "extra"] as const;

export const certificateSigningRequest: Behaviour = {
  columns: csrColumns,
  prepareCreate: (object, { user }: StrategyContext) => {
    object.spec ??= {};
    object.spec.username = user.name;
    object.spec.groups = [...user.groups];
    if (user.uid) object.spec.uid = user.uid;
    else delete object.spec.uid;
    if (user.extra && Object.keys(user.extra).length > 0) object.spec.extra = structuredClone(user.extra);
    else delete object.spec.extra;
    object.status = {};
  },
  prepareUpdate: (object, old) => {
    object.spec = old.spec;
    keepStatus(object, old);
  },
  prepareStatusUpdate: stampConditions,
  validate: validateCsr,
  validateUpdate: validateCsrUpdate,
  validateStatusUpdate: validateCsrUpdate,
  nameRule: "path",
  selectableFields: { "spec.signerName": (o) => o.spec?.signerName ?? "" },
};

/** Conditions get the times that their writer left out; the approver's fields of the spec are the server's. */
function stampConditions(object: Obj, old: Obj, { now }: StrategyContext): void {
  for (const condition of object.status?.conditions ?? []) {
    const before = old.status?.conditions?.find((c: Obj) => c.type === condition.type && c.status === condition.status);
    condition.lastUpdateTime ??= now;
    condition.lastTransitionTime ??= before?.lastTransitionTime ?? now;
  }
  if (object.spec && object.spec !== old.spec) for (const field of requestor) object.spec[field] = old.spec?.[field];
}
