import { describe, expect, it } from "vitest";
import { created, fakeContext, type Outcome, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const services = rowOf("", "services");
const service = (spec: Obj): Obj => ({ metadata: { name: "web" }, spec: { ports: [{ port: 80 }], selector: { app: "web" }, ...spec } });

/** What is said, also by the allocation that comes before validation. */
function refusal(run: () => Outcome): string {
  try {
    return run().errors.join(", ");
  } catch (error) {
    return (error as Error).message.replace('Service "web" is invalid: ', "").replace(/^\[(.*)\]$/, "$1");
  }
}

describe("a Service", () => {
  it.each<[Obj, string]>([
    [{ ports: [] }, "spec.ports: Required value"],
    [{ ports: [{ port: 70000, targetPort: 80 }] }, "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    [{ ports: [{ port: 1 }, { name: "b", port: 2 }] }, "spec.ports[0].name: Required value"],
    [{ ports: [{ name: "a", port: 1 }, { name: "a", port: 2 }] }, 'spec.ports[1].name: Duplicate value: "a"'],
    [{ ports: [{ name: "a", port: 1 }, { name: "b", port: 1 }] }, 'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":1,"TargetPort":0,"NodePort":0}'],
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
    [{ clusterIPs: ["10.43.0.7"] }, 'spec.clusterIPs: Invalid value: ["10.43.0.7"]: must be empty when `clusterIP` is not specified'],
    [{ clusterIP: "10.43.0.7", clusterIPs: ["10.43.0.8"] }, 'spec.clusterIPs: Invalid value: ["10.43.0.8"]: first value must match `clusterIP`'],
    [{ clusterIP: "10.43.0.7", clusterIPs: ["10.43.0.7", "10.43.0.8"] }, 'spec.clusterIPs: Invalid value: ["10.43.0.7","10.43.0.8"]: may specify no more than one IP for each IP family'],
    [{ clusterIP: "10.43.0.7", ipFamilies: ["IPv6"] }, 'spec.clusterIPs[0]: Invalid value: "10.43.0.7": expected an IPv6 value as indicated by `ipFamilies[0]`'],
    [{ clusterIP: "fd00::7" }, 'spec.clusterIPs[0]: Invalid value: ["fd00::7"]: IPv6 is not configured on this cluster'],
    [{ ipFamilies: ["IPv6"] }, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'],
    [{ ipFamilies: ["IPv4", "IPv6"] }, `spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified`],
    [{ ipFamilyPolicy: "RequireDualStack" }, 'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'],
    [{ ipFamilyPolicy: "x" }, 'spec.ipFamilyPolicy: Unsupported value: "x": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"'],
    [{ externalTrafficPolicy: "x" }, 'spec.externalTrafficPolicy: Invalid value: "x": may only be set for externally-accessible services'],
    [{ type: "NodePort", externalTrafficPolicy: "x" }, 'spec.externalTrafficPolicy: Unsupported value: "x": supported values: "Cluster", "Local"'],
    [{ loadBalancerSourceRanges: ["10.0.0.0/8"] }, "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    [{ type: "LoadBalancer", loadBalancerSourceRanges: [" 10.0.0.0/8", "x"] }, 'spec.LoadBalancerSourceRanges[1]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'],
    [{ ports: [{ port: 80, appProtocol: "" }] }, expect.stringMatching(/^spec.ports\[0\].appProtocol: Invalid value: "": name part must be non-empty, spec.ports/) as unknown as string],
    [{ type: "NodePort", ports: [{ name: "a", port: 1, nodePort: 30001 }, { name: "b", port: 2, nodePort: 30001 }] }, "spec.ports[1].nodePort: Invalid value: 30001: provided port is already allocated"],
  ])("is refused with %j", (spec, error) => expect(refusal(() => created(services, service(spec)))).toEqual(error));

  it.each<[Record<string, string>, string]>([
    [{ "service.kubernetes.io/topology-mode": "Auto", "service.kubernetes.io/topology-aware-hints": "Disabled" },
      'metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "Auto": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified'],
    [{ "service.beta.kubernetes.io/load-balancer-source-ranges": "" },
      "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Forbidden: may only be used when `type` is 'LoadBalancer'"],
  ])("is refused with the annotations %j", (annotations, error) => {
    expect(created(services, { ...service({}), metadata: { name: "web", annotations } }).errors).toEqual([error]);
  });

  it.each<[Obj, string[]]>([
    [{ externalIPs: ["192.0.2.1"] }, ["spec.externalIPs is deprecated and may no longer be implemented in some clusters"]],
    [{ clusterIP: "None", externalIPs: ["192.0.2.1"] }, ["spec.externalIPs is ignored for headless services"]],
    [{ type: "ExternalName", externalName: "a.example", externalIPs: ["192.0.2.1"] }, ['spec.externalIPs is ignored when spec.type is "ExternalName"']],
    [{ externalName: "a.example" }, ['spec.externalName is ignored when spec.type is not "ExternalName"']],
    [{ trafficDistribution: "PreferClose" }, ['spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"']],
    [{ trafficDistribution: "PreferSameNode" }, []],
    [{ type: "LoadBalancer", loadBalancerIP: "FD00::1", loadBalancerSourceRanges: ["fd00:0::/64", "10.0.0.0/8"] }, [
      'spec.loadBalancerIP: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")',
      'spec.loadBalancerSourceRanges[0]: IPv6 CIDR value "fd00:0::/64" should be in RFC 5952 canonical format ("fd00::/64")',
    ]],
  ])("warns of %j", (spec, warnings) => expect(services.warnings!(created(services, service(spec)).object)).toEqual(warnings));

  it("may not change its address", () => {
    const old = created(services, service({ clusterIP: "10.43.0.7" })).object;
    const { errors } = updated(services, old, (o) => Object.assign(o.spec, { clusterIP: "10.43.0.8", clusterIPs: ["10.43.0.8"] }));
    expect(errors).toEqual(['spec.clusterIPs[0]: Invalid value: ["10.43.0.8"]: may not change once set']);
  });

  it.each<[Obj, (spec: Obj) => void, string]>([
    [{}, (spec) => Object.assign(spec, { clusterIP: "None", clusterIPs: ["None"] }), 'spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set'],
    [{ clusterIP: "None" }, (spec) => Object.assign(spec, { clusterIP: "10.99.0.1" }), 'spec.clusterIPs[0]: Invalid value: ["10.99.0.1"]: may not change once set'],
    [{ type: "LoadBalancer", externalTrafficPolicy: "Local" }, (spec) => (spec.healthCheckNodePort = 31999), "spec.healthCheckNodePort: Forbidden: field is immutable"],
    [{ type: "LoadBalancer" }, (spec) => (spec.loadBalancerClass = "a/b"), 'spec.loadBalancerClass: Invalid value: "a/b": may not change once set'],
  ])("created with %j is not changed to something else", (spec, change, error) => {
    const old = created(services, service(spec)).object;
    expect(refusal(() => updated(services, old, (o) => change(o.spec)))).toBe(error);
  });

  it("keeps both addresses unless its policy says otherwise", () => {
    const ctx = fakeContext(undefined, { serviceCidr: ["10.43.0.0/16", "fd00:43::/112"] });
    const old = created(services, service({ ipFamilyPolicy: "PreferDualStack" }), ctx).object;
    expect(refusal(() => updated(services, old, (o) => o.spec.clusterIPs.pop(), ctx)))
      .toBe(`spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be 'SingleStack' to release the secondary cluster IP`);
    const single = updated(services, old, (o) => (o.spec.ipFamilyPolicy = "SingleStack"), ctx);
    expect([single.errors, single.object.spec.clusterIPs, single.object.spec.ipFamilies]).toEqual([[], [old.spec.clusterIP], ["IPv4"]]);
    const again = updated(services, single.object, (o) => (o.spec.ipFamilyPolicy = "RequireDualStack"), ctx);
    expect([again.errors, again.object.spec.clusterIPs]).toEqual([[], [old.spec.clusterIP, expect.stringMatching(/^fd00:43::/)]]);
  });

  it("keeps ranges that were once taken, and takes no more of their kind", () => {
    const { object } = created(services, service({ type: "LoadBalancer", loadBalancerSourceRanges: ["10.0.0.0/8"] }));
    const old = { ...object, spec: { ...object.spec, loadBalancerSourceRanges: ["10.0.0.1/8"] } };
    expect(updated(services, old, (o) => (o.spec.selector = { a: "b" })).errors).toEqual([]);
    expect(updated(services, old, (o) => o.spec.loadBalancerSourceRanges.push("10.0.0.2/8")).errors)
      .toEqual(['spec.LoadBalancerSourceRanges[1]: Invalid value: "10.0.0.2/8": must not have bits set beyond the prefix length']);
  });

  it.each<[Obj, Obj, string[]]>([
    [{}, { ip: "192.0.2.1", ipMode: "VIP" }, ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]],
    [{ type: "LoadBalancer" }, { ip: "192.0.2.1", ipMode: "VIP" }, []],
    [{ type: "LoadBalancer" }, { ip: "x", ipMode: "y" }, [
      'status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
      'status.loadBalancer.ingress[0].ipMode: Unsupported value: "y": supported values: "Proxy", "VIP"',
    ]],
    [{ type: "LoadBalancer" }, { hostname: "192.0.2.1", ipMode: "VIP" }, [
      "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
      'status.loadBalancer.ingress[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address',
    ]],
  ])("of %j tells of %j", (spec, ingress, errors) => {
    const old = created(services, service(spec)).object;
    const next = { ...old, status: { loadBalancer: { ingress: [ingress] } } };
    expect(services.validateStatusUpdate!(next, old, fakeContext()).map((e) => `${e.field}: ${e.message}`)).toEqual(errors);
  });
});

describe("Endpoints", () => {
  const endpoints = rowOf("", "endpoints");
  it.each<[Obj, ...string[]]>([
    [{ ports: [{ port: 80 }] }, "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
    [{ addresses: [{ ip: "x" }] }, 'subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
      'subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address'],
    [{ addresses: [{ ip: "10.0.0.1" }], ports: [{ port: 1 }, { port: 2, name: "b" }] }, "subsets[0].ports[0].name: Required value"],
  ])("are refused with %j", (subset, ...errors) => {
    expect(created(endpoints, { metadata: { name: "e" }, subsets: [subset] }).errors).toEqual(errors);
  });

  it("keep addresses that were once taken, and warn of those that are written otherwise", () => {
    const subsets = (...ips: string[]): Obj => ({ metadata: { name: "e" }, subsets: [{ addresses: ips.map((ip) => ({ ip })) }] });
    const old = subsets("::ffff:10.0.0.1");
    expect(updated(endpoints, old, (o) => (o.metadata!.labels = { a: "b" })).errors).toEqual([]);
    expect(created(endpoints, old).errors).toContain('subsets[0].addresses[0].ip: Invalid value: "::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address');
    expect(endpoints.warnings!(subsets("10.0.0.1", "FD00::1"))).toEqual(['subsets[0].addresses[1].ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")']);
  });
});
