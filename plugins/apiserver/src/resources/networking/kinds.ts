/** Ingresses, IngressClasses, NetworkPolicies, service ranges and addresses. */
import type { Behaviour } from "../row.ts";
import { specGeneration, withGeneration, withStatus } from "../strategy.ts";
import { ingressClassColumns, ingressColumns, ipAddressColumns, networkPolicyColumns, serviceCidrColumns } from "./columns.ts";
import { defaultIngress, defaultIngressClass, defaultNetworkPolicy } from "./defaults.ts";
import { validateIpAddress, validateIpAddressUpdate, validateServiceCidr, validateServiceCidrUpdate } from "./validate.ts";
import { CLASS, validateIngress, validateIngressClass, validateIngressClassUpdate, validateIngressStatus, validateIngressUpdate } from "./validate-ingress.ts";
import { validateNetworkPolicy } from "./validate-network-policy.ts";

export const ingress: Behaviour = {
  ...withGeneration({ loadBalancer: {} }),
  columns: ingressColumns,
  defaults: defaultIngress,
  validate: validateIngress,
  validateUpdate: validateIngressUpdate,
  validateStatusUpdate: validateIngressStatus,
  warnings: ({ metadata, spec }, old) => (old || metadata?.annotations?.[CLASS] === undefined || spec.ingressClassName != null ? []
    : [`annotation ${JSON.stringify(CLASS)} is deprecated, please use 'spec.ingressClassName' instead`]),
};
export const ingressClass: Behaviour = {
  ...specGeneration,
  columns: ingressClassColumns,
  defaults: defaultIngressClass,
  validate: validateIngressClass,
  validateUpdate: validateIngressClassUpdate,
};
export const networkPolicy: Behaviour = {
  ...specGeneration,
  columns: networkPolicyColumns,
  defaults: defaultNetworkPolicy,
  validate: (policy) => validateNetworkPolicy(policy),
  validateUpdate: validateNetworkPolicy,
};
export const ipAddress: Behaviour = {
  columns: ipAddressColumns,
  validate: validateIpAddress,
  validateUpdate: validateIpAddressUpdate,
  selectableFields: {
    "spec.parentRef.name": (o) => o.spec?.parentRef?.name ?? "",
    "spec.parentRef.namespace": (o) => o.spec?.parentRef?.namespace ?? "",
    "spec.parentRef.resource": (o) => o.spec?.parentRef?.resource ?? "",
    "spec.parentRef.group": (o) => o.spec?.parentRef?.group ?? "",
  },
};
export const serviceCidr: Behaviour = {
  ...withStatus(),
  columns: serviceCidrColumns,
  validate: validateServiceCidr,
  validateUpdate: validateServiceCidrUpdate,
};
