/** Table columns of networking.k8s.io. */
import { ageColumn, nameColumn, text } from "../columns.ts";
import { firstThree, loadBalancerText, orNone, selectorText } from "../human.ts";
import type { Column, Obj } from "../types.ts";

const hostsText = (ingress: Obj): string =>
  firstThree((ingress.spec?.rules ?? []).map((rule: Obj): string => rule.host ?? "").filter(Boolean), "*");

export const ingressColumns: readonly Column[] = [
  nameColumn,
  text("Class", "The name of the IngressClass resource that should be used for additional configuration", (o) => orNone(o.spec?.ingressClassName)),
  text("Hosts", "Hosts that incoming requests are matched against before the ingress rule", hostsText),
  text("Address", "Address is a list containing ingress points for the load-balancer", (o) => loadBalancerText(o.status)),
  text("Ports", "Ports of TLS configurations that open", (o) => (o.spec?.tls?.length ? "80, 443" : "80")),
  ageColumn,
];

export const ingressClassColumns: readonly Column[] = [
  nameColumn,
  text("Controller", "Controller that is responsible for handling this class", (o) => o.spec?.controller ?? ""),
  text("Parameters", "A reference to a resource with additional parameters", (o) => {
    const p = o.spec?.parameters;
    return p ? `${p.kind}${p.apiGroup ? `.${p.apiGroup}` : ""}/${p.name}` : "<none>";
  }),
  ageColumn,
];

export const networkPolicyColumns: readonly Column[] = [
  nameColumn,
  text("Pod-Selector", "Pods that the policy is about.", (o) => selectorText(o.spec?.podSelector)),
  ageColumn,
];

export const ipAddressColumns: readonly Column[] = [
  nameColumn,
  text("ParentRef", "Object that uses the address.", ({ spec }) => {
    const ref = spec?.parentRef;
    if (!ref) return "<none>";
    const resource = ref.group ? `${ref.resource}.${ref.group}` : ref.resource;
    return ref.namespace ? `${resource}/${ref.namespace}/${ref.name}` : `${resource}/${ref.name}`;
  }),
];

export const serviceCidrColumns: readonly Column[] = [
  nameColumn,
  text("CIDRs", "Ranges of addresses for services.", (o) => (o.spec?.cidrs ?? []).join(",")),
  ageColumn,
];
