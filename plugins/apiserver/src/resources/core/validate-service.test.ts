import { describe, expect, it } from "vitest";
import { created, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const services = rowOf("", "services");
const service = (spec: Obj): Obj => ({ metadata: { name: "web" }, spec: { ports: [{ port: 80 }], selector: { app: "web" }, ...spec } });

describe("a Service", () => {
  it.each<[Obj, string]>([
    [{ ports: [] }, "spec.ports: Required value"],
    [{ ports: [{ port: 70000, targetPort: 80 }] }, "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    [{ ports: [{ port: 1 }, { name: "b", port: 2 }] }, "spec.ports[0].name: Required value"],
    [{ ports: [{ name: "a", port: 1 }, { name: "a", port: 2 }] }, 'spec.ports[1].name: Duplicate value: "a"'],
    [{ ports: [{ name: "a", port: 1 }, { name: "b", port: 1 }] }, 'spec.ports[1]: Duplicate value: {"protocol":"TCP","port":1}'],
    [{ ports: [{ port: 80, protocol: "x" }] }, 'spec.ports[0].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP"'],
    [{ ports: [{ port: 80, nodePort: 30000 }] }, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    [{ type: "x", clusterIP: "" }, 'spec.type: Unsupported value: "x": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'],
    [{ type: "ExternalName" }, "spec.externalName: Required value"],
    [{ type: "NodePort", clusterIP: "None" }, "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    [{ sessionAffinity: "x" }, 'spec.sessionAffinity: Unsupported value: "x": supported values: "ClientIP", "None"'],
    [{ sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 90000 } } }, "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400"],
    [{ externalIPs: ["127.0.0.1"] }, 'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    [{ loadBalancerClass: "a/b" }, "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    [{ externalTrafficPolicy: "Local" }, 'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
    [{ clusterIP: "x" }, 'spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
  ])("is refused with %j", (spec, error) => expect(created(services, service(spec)).errors).toEqual([error]));

  it("may not change its address", () => {
    const old = created(services, service({ clusterIP: "10.43.0.7" })).object;
    const { errors } = updated(services, old, (o) => Object.assign(o.spec, { clusterIP: "10.43.0.8", clusterIPs: ["10.43.0.8"] }));
    expect(errors).toEqual(['spec.clusterIPs[0]: Invalid value: ["10.43.0.8"]: may not change once set']);
  });
});

describe("Endpoints", () => {
  const endpoints = rowOf("", "endpoints");
  it.each<[Obj, string]>([
    [{ ports: [{ port: 80 }] }, "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
    [{ addresses: [{ ip: "x" }] }, 'subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    [{ addresses: [{ ip: "10.0.0.1" }], ports: [{ port: 1 }, { port: 2, name: "b" }] }, "subsets[0].ports[0].name: Required value"],
  ])("are refused with %j", (subset, error) => {
    expect(created(endpoints, { metadata: { name: "e" }, subsets: [subset] }).errors).toEqual([error]);
  });
});
