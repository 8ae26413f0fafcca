/** Ingresses, IngressClasses, NetworkPolicies, service ranges and addresses. */
import type { Behaviour } from "../row.ts";
import { always, specGeneration, withGeneration, withStatus } from "../strategy.ts";
import { ingressClassColumns, ingressColumns, ipAddressColumns, networkPolicyColumns, serviceCidrColumns } from "./columns.ts";
import { defaultIngress, defaultIngressClass, defaultNetworkPolicy } from "./defaults.ts";
import * as v from "./validate.ts";

export const ingress: Behaviour = {
  ...withGeneration({ loadBalancer: {} }),
  columns: ingressColumns,
  defaults: defaultIngress,
  validate: v.validateIngressCreate,
  validateUpdate: v.validateIngress,
  warnings: ({ metadata }) => (metadata?.annotations?.[v.CLASS] === undefined ? [] : [`annotation ${JSON.stringify(v.CLASS)} is deprecated, please use 'spec.ingressClassName' instead`]),
};
export const ingressClass: Behaviour = {
  ...specGeneration,
  columns: ingressClassColumns,
  defaults: defaultIngressClass,
  validate: v.validateIngressClass,
  validateUpdate: v.validateIngressClassUpdate,
};
export const networkPolicy: Behaviour = { ...specGeneration, columns: networkPolicyColumns, defaults: defaultNetworkPolicy, ...always(v.validateNetworkPolicy) };
export const ipAddress: Behaviour = {
  columns: ipAddressColumns,
  validate: v.validateIpAddress,
  validateUpdate: v.validateIpAddressUpdate,
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
  validate: v.validateServiceCidr,
  validateUpdate: v.validateServiceCidrUpdate,
};
