/** Ingresses, IngressClasses, NetworkPolicies, service ranges and addresses, EndpointSlices. */
import type { Behaviour } from "../row.ts";
import { specGeneration, withGeneration, withStatus } from "../strategy.ts";
import { endpointSliceColumns, ingressClassColumns, ingressColumns, ipAddressColumns, networkPolicyColumns, serviceCidrColumns } from "./columns.ts";
import { defaultEndpointSlice, defaultIngress, defaultIngressClass, defaultNetworkPolicy } from "./defaults.ts";

export const ingress: Behaviour = { ...withGeneration({ loadBalancer: {} }), columns: ingressColumns, defaults: defaultIngress };
export const ingressClass: Behaviour = { ...specGeneration, columns: ingressClassColumns, defaults: defaultIngressClass };
export const networkPolicy: Behaviour = { ...specGeneration, columns: networkPolicyColumns, defaults: defaultNetworkPolicy };
export const ipAddress: Behaviour = {
  columns: ipAddressColumns,
  selectableFields: {
    "spec.parentRef.name": (o) => o.spec?.parentRef?.name ?? "",
    "spec.parentRef.namespace": (o) => o.spec?.parentRef?.namespace ?? "",
    "spec.parentRef.resource": (o) => o.spec?.parentRef?.resource ?? "",
    "spec.parentRef.group": (o) => o.spec?.parentRef?.group ?? "",
  },
};
export const serviceCidr: Behaviour = { ...withStatus(), columns: serviceCidrColumns };
export const endpointSlice: Behaviour = {
  columns: endpointSliceColumns,
  defaults: defaultEndpointSlice,
  generationOf: ({ endpoints, ports }) => ({ endpoints, ports }),
};
