import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { endpoints, endpointSlices, nodes, pods, services } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start as startMirroring } from "./endpointslice-mirroring.ts";
import { start as startEndpoints } from "./endpoints.ts";
import { start as startSlices } from "./endpointslice.ts";

let h: Harness;
beforeEach(() => void (h = createHarness()));
afterEach(() => h.stop());

const service = (extra: object = {}) =>
  h.client.put(services, {
    metadata: { name: "web", namespace: "ns", labels: { team: "a" } },
    spec: {
      clusterIP: "10.43.0.5",
      ipFamilies: ["IPv4"],
      selector: { app: "web" },
      ports: [{ name: "http", port: 80, targetPort: "web", protocol: "TCP" }],
      ...extra,
    },
  });
const pod = (name: string, ip: string, ready = true, extra: any = {}) =>
  h.client.put(pods, {
    metadata: { name, namespace: "ns", labels: { app: "web" }, ...extra.metadata },
    spec: {
      nodeName: "n1",
      containers: [{ name: "c", ports: [{ name: "web", containerPort: extra.port ?? 8080 }] }],
      ...extra.spec,
    },
    status: {
      phase: "Running",
      podIP: ip,
      podIPs: [{ ip }],
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      ...extra.status,
    },
  });
const slices = () => h.client.all(endpointSlices);
const edit = (name: string, change: (p: any) => void) => h.client.edit(pods, name, "ns", change);

describe("endpointslice", () => {
  it("lists ready and unready pods with ports, node, zone and labels", async () => {
    h.client.put(nodes, { metadata: { name: "n1", labels: { "topology.kubernetes.io/zone": "z1" } } });
    service();
    pod("a", "10.42.0.2");
    pod("b", "10.42.0.3", false);
    await h.start(startSlices);
    expect(slices()).toHaveLength(1);
    expect(slices()[0]).toMatchObject({
      addressType: "IPv4",
      ports: [{ name: "http", port: 8080, protocol: "TCP" }],
      metadata: {
        labels: {
          team: "a",
          "kubernetes.io/service-name": "web",
          "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        },
        ownerReferences: [expect.objectContaining({ kind: "Service", name: "web", controller: true })],
      },
      endpoints: [
        {
          addresses: ["10.42.0.2"],
          conditions: { ready: true, serving: true, terminating: false },
          nodeName: "n1",
          zone: "z1",
          targetRef: { kind: "Pod", name: "a" },
        },
        { addresses: ["10.42.0.3"], conditions: { ready: false, serving: false, terminating: false } },
      ],
    });
  });

  it.each([
    ["PreferSameZone", { forZones: [{ name: "z1" }] }],
    ["PreferClose", { forZones: [{ name: "z1" }] }],
    ["PreferSameNode", { forNodes: [{ name: "n1" }], forZones: [{ name: "z1" }] }],
  ])("says whom ready endpoints are for under %s", async (trafficDistribution, hints) => {
    h.client.put(nodes, { metadata: { name: "n1", labels: { "topology.kubernetes.io/zone": "z1" } } });
    service({ trafficDistribution });
    pod("a", "10.42.0.2");
    pod("b", "10.42.0.3", false);
    await h.start(startSlices);
    expect(slices()[0].endpoints.map((e: { hints?: object }) => e.hints)).toEqual([hints, undefined]);
    h.client.edit(services, "web", "ns", (s: any) => void delete s.spec.trafficDistribution);
    await h.settle();
    expect(slices()[0].endpoints.map((e: { hints?: object }) => e.hints)).toEqual([undefined, undefined]);
  });

  it("keeps an empty slice for a Service without pods and reuses it for the first one", async () => {
    service();
    await h.start(startSlices);
    const name = slices()[0].metadata.name;
    expect(slices()[0]).toMatchObject({ endpoints: [], ports: [] });
    pod("a", "10.42.0.2");
    await h.settle();
    expect(slices()).toHaveLength(1);
    expect(slices()[0].metadata.name).toBe(name);
    expect(slices()[0].endpoints).toHaveLength(1);
  });

  it("marks a terminating pod as serving but not ready, and drops it when it is gone", async () => {
    service();
    pod("a", "10.42.0.2");
    await h.start(startSlices);
    await h.client.delete(pods, "a", { namespace: "ns" });
    await h.settle();
    expect(slices()[0].endpoints[0].conditions).toEqual({ ready: false, serving: true, terminating: true });
    h.client.drop(pods, "a", "ns");
    await h.settle();
    expect(slices()[0].endpoints).toEqual([]);
  });

  it("puts at most 100 endpoints in a slice and writes only the slices that change", async () => {
    service();
    for (let i = 0; i < 250; i++) pod(`p${i}`, `10.42.${i >> 7}.${(i & 127) + 1}`);
    await h.start(startSlices);
    expect(slices().map((s) => s.endpoints.length).sort()).toEqual([100, 100, 50]);
    h.client.writes.length = 0;
    edit("p3", (p) => void (p.status.conditions[0].status = "False"));
    await h.settle();
    expect(h.client.writes.map((a) => a.verb)).toEqual(["update"]);
  });

  it("gives pods with another number for a named port a slice of their own", async () => {
    service();
    pod("a", "10.42.0.2");
    pod("b", "10.42.0.3", true, { port: 9090 });
    await h.start(startSlices);
    expect(slices().map((s) => s.ports[0].port).sort()).toEqual([8080, 9090]);
  });

  it("follows labels, selector changes and publishNotReadyAddresses, and gives headless pods their hostname", async () => {
    service({ clusterIP: "None", publishNotReadyAddresses: true, ports: undefined });
    pod("a", "10.42.0.2", false, { spec: { hostname: "a", subdomain: "web" } });
    await h.start(startSlices);
    expect(slices()[0].endpoints[0]).toMatchObject({ hostname: "a", conditions: { ready: true, serving: false } });
    expect(slices()[0].metadata.labels["service.kubernetes.io/headless"]).toBe("");
    edit("a", (p) => void (p.metadata.labels = {}));
    await h.settle();
    expect(slices()[0].endpoints).toEqual([]);
  });

  it("ignores ExternalName Services and Services without selector, and repairs a removed slice", async () => {
    service({ type: "ExternalName" });
    h.client.put(services, { metadata: { name: "manual", namespace: "ns" }, spec: { ports: [{ port: 80 }] } });
    await h.start(startSlices);
    expect(slices()).toEqual([]);
    h.client.edit(services, "web", "ns", (s) => void (s.spec.type = "ClusterIP"));
    await h.settle();
    await h.client.delete(endpointSlices, slices()[0].metadata.name, { namespace: "ns" });
    await h.settle();
    expect(slices()).toHaveLength(1);
  });

  it("does not create slices twice while its informers lag", async () => {
    service();
    await h.start(startSlices);
    h.client.drop(endpointSlices, slices()[0].metadata.name, "ns");
    await h.settle();
    h.client.hold();
    pod("x", "10.42.0.9");
    h.client.release();
    await h.advance(1);
    expect(slices()).toHaveLength(1);
  });
});

describe("endpoints", () => {
  it("splits ready and unready addresses, and goes with its Service", async () => {
    service();
    pod("a", "10.42.0.2");
    pod("b", "10.42.0.3", false);
    await h.start(startEndpoints);
    expect(h.client.all(endpoints)[0]).toMatchObject({
      metadata: { name: "web", labels: { team: "a" } },
      subsets: [
        {
          addresses: [{ ip: "10.42.0.2", nodeName: "n1", targetRef: { kind: "Pod", name: "a" } }],
          notReadyAddresses: [{ ip: "10.42.0.3" }],
          ports: [{ name: "http", port: 8080, protocol: "TCP" }],
        },
      ],
    });
    await h.client.delete(services, "web", { namespace: "ns" });
    await h.settle();
    expect(h.client.all(endpoints)).toEqual([]);
  });

  it("leaves Endpoints that users manage alone", async () => {
    h.client.put(endpoints, { metadata: { name: "own", namespace: "ns" }, subsets: [] });
    await h.start(startEndpoints);
    h.client.edit(endpoints, "own", "ns", (e) => void (e.subsets = [{ addresses: [{ ip: "1.2.3.4" }] }]));
    await h.settle();
    expect(h.client.all(endpoints)).toHaveLength(1);
    expect(h.client.writes).toEqual([]);
  });
});

describe("endpointslice mirroring", () => {
  it("mirrors Endpoints of a Service without selector and takes the mirror away with them", async () => {
    h.client.put(services, {
      metadata: { name: "ext", namespace: "ns" },
      spec: { clusterIP: "10.43.0.9", ports: [{ port: 80 }] },
    });
    h.client.put(endpoints, {
      metadata: { name: "ext", namespace: "ns", labels: { x: "y" } },
      subsets: [{ addresses: [{ ip: "1.2.3.4" }], ports: [{ port: 8080, protocol: "TCP" }] }],
    });
    await h.start(startMirroring);
    expect(slices()[0]).toMatchObject({
      endpoints: [{ addresses: ["1.2.3.4"], conditions: { ready: true } }],
      ports: [{ port: 8080 }],
      metadata: {
        labels: { x: "y", "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io" },
      },
    });
    h.client.edit(endpoints, "ext", "ns", (e) => void (e.subsets[0].addresses[0].ip = "1.2.3.5"));
    await h.settle();
    expect(slices().map((s) => s.endpoints[0].addresses[0])).toEqual(["1.2.3.5"]);
    await h.client.delete(endpoints, "ext", { namespace: "ns" });
    await h.settle();
    expect(slices()).toEqual([]);
  });

  it("skips what carries the skip-mirror label", async () => {
    h.client.put(services, {
      metadata: { name: "kubernetes", namespace: "default" },
      spec: { ports: [{ port: 443 }] },
    });
    h.client.put(endpoints, {
      metadata: {
        name: "kubernetes",
        namespace: "default",
        labels: { "endpointslice.kubernetes.io/skip-mirror": "true" },
      },
      subsets: [{ addresses: [{ ip: "10.0.0.1" }] }],
    });
    await h.start(startMirroring);
    expect(slices()).toEqual([]);
  });
});
