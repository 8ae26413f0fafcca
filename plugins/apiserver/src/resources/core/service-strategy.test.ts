import { describe, expect, it } from "vitest";
import { created, fakeContext, fakeView, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const services = rowOf("", "services");
const body = (spec: Obj, name = "web"): Obj => ({ metadata: { name }, spec: { ports: [{ port: 80 }], selector: { app: "web" }, ...spec } });

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return "";
}

describe("a new Service", () => {
  it("gets an address of the range, its family and the defaults", () => {
    const { object } = created(services, body({}));
    expect(object.spec.clusterIP).toMatch(/^10\.43\./);
    expect(object).toMatchObject({
      spec: {
        clusterIPs: [object.spec.clusterIP], ipFamilies: ["IPv4"], ipFamilyPolicy: "SingleStack", type: "ClusterIP",
        internalTrafficPolicy: "Cluster", sessionAffinity: "None", ports: [{ port: 80, targetPort: 80, protocol: "TCP" }],
      },
      status: { loadBalancer: {} },
    });
    expect(object.spec.ports[0]).not.toHaveProperty("nodePort");
  });

  it("takes the address and node port that it asks for", () => {
    const { object } = created(services, body({ type: "NodePort", clusterIP: "10.43.0.10", ports: [{ port: 80, nodePort: 30080 }] }));
    expect(object.spec).toMatchObject({ clusterIP: "10.43.0.10", externalTrafficPolicy: "Cluster", ports: [{ nodePort: 30080 }] });
  });

  it.each([
    [{ clusterIP: "10.43.0.5" }, 'spec.clusterIPs: Invalid value: ["10.43.0.5"]: failed to allocate IP 10.43.0.5: provided IP is already allocated'],
    [{ clusterIP: "10.99.0.5" }, 'spec.clusterIPs: Invalid value: ["10.99.0.5"]: failed to allocate IP 10.99.0.5: the provided IP (10.99.0.5) is not in the valid range. The range of valid IPs is 10.43.0.0/16'],
    [{ type: "NodePort", ports: [{ port: 80, nodePort: 30001 }] }, "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"],
    [{ type: "NodePort", ports: [{ port: 80, nodePort: 80 }] }, "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"],
    [{ ipFamilyPolicy: "RequireDualStack" }, 'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'],
    [{ ipFamilies: ["IPv6"] }, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'],
  ])("is refused what it cannot have: %j", (spec, want) => {
    const taken: Obj = { metadata: { name: "other", namespace: "default" }, spec: { type: "NodePort", clusterIPs: ["10.43.0.5"], ports: [{ port: 1, nodePort: 30001 }] } };
    const ctx = fakeContext(fakeView({ "/services": [taken] }));
    expect(message(() => created(services, body(spec), ctx))).toBe(`Service "web" is invalid: ${want}`);
  });

  it("never gets what another write in flight was given", () => {
    const ctx = fakeContext(fakeView(), { serviceCidr: ["10.43.0.0/28"], serviceNodePortRange: [30000, 30013] });
    const all = Array.from({ length: 14 }, (_, i) => created(services, body({ type: "NodePort" }, `s${i}`), ctx).object.spec);
    expect(new Set(all.map((s) => s.clusterIP)).size).toBe(14);
    expect(new Set(all.map((s) => s.ports[0].nodePort)).size).toBe(14);
    expect(message(() => created(services, body({}, "one-too-many"), ctx))).toContain("range is full");
  });

  it("is headless without an address", () => {
    expect(created(services, body({ clusterIP: "None" })).object.spec).toMatchObject({ clusterIPs: ["None"], ipFamilies: ["IPv4"], ipFamilyPolicy: "SingleStack" });
    expect(created(services, body({ clusterIP: "None", selector: undefined })).object.spec).toMatchObject({ ipFamilies: ["IPv4", "IPv6"], ipFamilyPolicy: "RequireDualStack" });
  });

  it("gets both families on a dual-stack cluster when it prefers them", () => {
    const ctx = fakeContext(fakeView(), { serviceCidr: ["10.43.0.0/16", "fd00:43::/112"] });
    const { spec } = created(services, body({ ipFamilyPolicy: "PreferDualStack" }), ctx).object;
    expect(spec.ipFamilies).toEqual(["IPv4", "IPv6"]);
    expect(spec.clusterIPs[1]).toMatch(/^fd00:43::/);
  });

  it("shares a node port between the protocols of one port", () => {
    const { ports } = created(services, body({ type: "NodePort", ports: [{ name: "d", port: 53 }, { name: "u", port: 53, protocol: "UDP" }] })).object.spec;
    expect(ports[0].nodePort).toBe(ports[1].nodePort);
  });

  it("needs no address as an ExternalName", () => {
    const { spec } = created(services, body({ type: "ExternalName", externalName: "example.com" })).object;
    expect(spec).not.toHaveProperty("clusterIP");
    expect(spec).not.toHaveProperty("internalTrafficPolicy");
  });

  it("gets a health check port when its traffic stays local", () => {
    const { spec } = created(services, body({ type: "LoadBalancer", externalTrafficPolicy: "Local" })).object;
    expect(spec.healthCheckNodePort).toBeGreaterThanOrEqual(30000);
    expect(spec.allocateLoadBalancerNodePorts).toBe(true);
  });
});

describe("an updated Service", () => {
  const old = created(services, body({ type: "NodePort" })).object;

  it("keeps what it was given when the body leaves it out", () => {
    const { object, errors } = updated(services, old, (o) => {
      delete o.spec.clusterIP;
      delete o.spec.clusterIPs;
      delete o.spec.ports[0].nodePort;
    });
    expect(errors).toEqual([]);
    expect(object.spec).toEqual(old.spec);
  });

  it("drops address and ports on the way to ExternalName, and gets new ones on the way back", () => {
    const external = updated(services, old, (o) => Object.assign(o.spec, { type: "ExternalName", externalName: "example.com" })).object;
    expect(external.spec).not.toHaveProperty("clusterIP");
    expect(external.spec).not.toHaveProperty("ipFamilies");
    expect(external.spec.internalTrafficPolicy).toBe("Cluster");
    expect(external.spec.ports[0]).not.toHaveProperty("nodePort");
    const back = updated(services, external, (o) => Object.assign(o.spec, { type: "ClusterIP", externalName: undefined })).object;
    expect(back.spec.clusterIP).toMatch(/^10\.43\./);
  });

  it("gives its node ports back as a ClusterIP", () => {
    const { object } = updated(services, old, (o) => (o.spec.type = "ClusterIP"));
    expect(object.spec.ports[0]).not.toHaveProperty("nodePort");
    expect(object.spec).not.toHaveProperty("externalTrafficPolicy");
    expect(object.spec.clusterIP).toBe(old.spec.clusterIP);
  });

  it("knows its ports by their names", () => {
    const two = created(services, body({ type: "NodePort", ports: [{ name: "a", port: 1 }, { name: "b", port: 2 }] })).object;
    const [a, b] = two.spec.ports.map((port: Obj) => port.nodePort);
    const { object } = updated(services, two, (o) => (o.spec.ports = [{ name: "b", port: 20 }, { name: "a", port: 10, nodePort: b }]));
    expect(object.spec.ports.map((port: Obj) => [port.name, port.nodePort])).toEqual([["b", expect.any(Number)], ["a", b]]);
    expect([a, b]).not.toContain(object.spec.ports[0].nodePort);
    const moved = updated(services, two, (o) => (o.spec.ports = [{ name: "a", port: 8080 }])).object;
    expect(moved.spec.ports).toMatchObject([{ name: "a", port: 8080, nodePort: a }]);
  });

  it("forgets its load balancer when it is none any more, and keeps the rest of what it says", () => {
    const status = { loadBalancer: { ingress: [{ ip: "192.0.2.1", ipMode: "VIP" }] }, conditions: [{ type: "x" }] };
    const balanced = { ...created(services, body({ type: "LoadBalancer" })).object, status };
    expect(updated(services, balanced, (o) => (o.spec.type = "NodePort")).object.status).toEqual({ ...status, loadBalancer: {} });
    expect(updated(services, balanced, (o) => (o.spec.selector = { app: "x" })).object.status).toEqual(status);
  });

  it("takes no node port twice", () => {
    const full = fakeContext(fakeView(), { serviceNodePortRange: [30000, 30001] });
    const { ports } = created(services, body({ type: "NodePort", ports: [{ name: "a", port: 1 }, { name: "b", port: 2 }] }), full).object.spec;
    expect(ports.map((port: Obj) => port.nodePort).sort()).toEqual([30000, 30001]);
  });
});
