/** Namespaces and Nodes. */
import type { Behaviour } from "../row.ts";
import type { Obj } from "../types.ts";
import { always, keepStatus } from "../strategy.ts";
import { namespaceColumns, nodeColumns } from "./columns.ts";
import { defaultNamespace, defaultNode } from "./defaults.ts";
import { validateNamespace, validateNode, validateNodeUpdate } from "./validate-cluster.ts";

const KUBERNETES = "kubernetes";

export const namespace: Behaviour = {
  columns: namespaceColumns,
  defaults: defaultNamespace,
  prepareCreate: (object) => {
    object.status = { phase: "Active" };
    const finalizers: readonly string[] = object.spec.finalizers ?? [];
    if (!finalizers.includes(KUBERNETES)) object.spec.finalizers = [...finalizers, KUBERNETES];
  },
  prepareUpdate: (object: Obj, old: Obj) => {
    object.spec.finalizers = old.spec?.finalizers;
    keepStatus(object, old);
  },
  ...always(validateNamespace),
  selectableFields: { "status.phase": (o) => o.status?.phase ?? "" },
};

export const node: Behaviour = {
  columns: nodeColumns,
  defaults: defaultNode,
  prepareUpdate: keepStatus,
  validate: validateNode,
  validateUpdate: validateNodeUpdate,
  selectableFields: { "spec.unschedulable": (o) => String(o.spec?.unschedulable ?? false) },
};
