/** Defaults of networking.k8s.io. */
import { ensure, fill, isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";

export function defaultIngress(ingress: Obj): void {
  ensure(ingress, "spec");
  ensure(ensure(ingress, "status"), "loadBalancer");
}

export function defaultIngressClass(ingressClass: Obj): void {
  const parameters = ensure(ingressClass, "spec").parameters;
  if (isObject(parameters)) fill(parameters, { scope: "Cluster" });
}

export function defaultNetworkPolicy(policy: Obj): void {
  const spec = ensure(policy, "spec");
  ensure(spec, "podSelector");
  for (const rule of [...items(spec, "ingress"), ...items(spec, "egress")]) {
    for (const port of items(rule, "ports")) fill(port, { protocol: "TCP" });
  }
  if (!spec.policyTypes?.length) spec.policyTypes = spec.egress?.length ? ["Ingress", "Egress"] : ["Ingress"];
}
