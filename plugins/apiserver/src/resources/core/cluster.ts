/** Namespaces and Nodes. */
import type { Behaviour } from "../row.ts";
import type { Obj } from "../types.ts";
import { keepStatus } from "../strategy.ts";
import { namespaceColumns, nodeColumns } from "./columns.ts";
import { defaultNamespace, defaultNode } from "./defaults.ts";
import {
  validateNamespace, validateNamespaceStatus, validateNamespaceUpdate, validateNode, validateNodeStatus, validateNodeUpdate,
} from "./validate-cluster.ts";

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
  validate: validateNamespace,
  validateUpdate: validateNamespaceUpdate,
  validateStatusUpdate: validateNamespaceStatus,
  selectableFields: { "status.phase": (o) => o.status?.phase ?? "" },
};

export const node: Behaviour = {
  columns: nodeColumns,
  defaults: defaultNode,
  prepareCreate: ({ spec, status }) => {
    delete spec.configSource;
    delete status.config;
  },
  prepareUpdate: (object, old) => {
    keepStatus(object, old);
    if (!old.spec?.configSource) delete object.spec.configSource;
  },
  validate: validateNode,
  validateUpdate: validateNodeUpdate,
  validateStatusUpdate: validateNodeStatus,
  warnings: ({ spec }) => (spec.externalID ? ["spec.externalID: this field is deprecated, and is unused by Kubernetes"] : []),
  selectableFields: { "spec.unschedulable": (o) => String(o.spec?.unschedulable ?? false) },
};
