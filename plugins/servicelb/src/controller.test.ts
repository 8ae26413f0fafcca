import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { endpointSlices, events, nodes, services, type CoreEvent, type Service } from "@k3s-p/plugin-api/kube";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { startController, type Controller } from "./controller.ts";

let kube: FakeKube;
let controller: Controller;

beforeEach(async () => {
  kube = fakeKube();
  controller = startController(kube, silentLogger);
  await controller.synced;
});
afterEach(() => controller.stop());

interface NodeOptions {
  readonly external?: string;
  readonly ipv6?: string;
  readonly labels?: object;
  readonly ready?: string;
  readonly taints?: object[];
}

function addNode(name: string, ip: string, { external, ipv6, labels = {}, ready = "True", taints = [] }: NodeOptions = {}): void {
  const address = (type: string, value: string | undefined) => (value ? [{ type, address: value }] : []);
  kube.put(nodes, {
    metadata: { name, labels }, spec: { taints },
    status: {
      addresses: [...address("InternalIP", ip), ...address("InternalIP", ipv6), ...address("ExternalIP", external), { type: "Hostname", address: name }],
      conditions: [{ type: "Ready", status: ready }],
    },
  });
}

const addService = (name: string, spec: object = {}, metadata: object = {}) =>
  kube.put<Service>(services, {
    metadata: { name, namespace: "default", ...metadata },
    spec: { type: "LoadBalancer", ipFamilies: ["IPv4"], ports: [{ port: 80, protocol: "TCP" }], ...spec },
  });
const addresses = (name: string) => kube.read(services, name)?.status?.loadBalancer?.ingress?.map((i) => i.ip);
const messages = (reason: string) => kube.all<CoreEvent>(events).filter((e) => e.reason === reason).map((e) => e.message);
const settle = () => new Promise((resolve) => setTimeout(resolve, 15));
const enable = "svccontroller.k3s.cattle.io/enablelb";
const pool = "svccontroller.k3s.cattle.io/lbpool";

it("puts the addresses of ready nodes into the status and says so", async () => {
  addNode("n1", "10.0.0.1");
  addNode("n2", "10.0.0.2");
  addNode("down", "10.0.0.3", { ready: "Unknown" });
  addService("web");
  await vi.waitFor(() => expect(addresses("web")).toEqual(["10.0.0.1", "10.0.0.2"]));
  await vi.waitFor(() => expect(messages("UpdatedLoadBalancer")).toEqual(["Updated LoadBalancer with new IPs: [] -> [10.0.0.1 10.0.0.2]"]));
});

it("lists only external addresses when a node has one", async () => {
  addNode("n1", "10.0.0.1", { external: "203.0.113.1" });
  addNode("n2", "10.0.0.2");
  addService("web");
  await vi.waitFor(() => expect(addresses("web")).toEqual(["203.0.113.1"]));
});

it("follows the order of the Service's address families", async () => {
  addNode("n1", "10.0.0.1", { ipv6: "2001:db8::1" });
  addService("web", { ipFamilies: ["IPv6", "IPv4"] });
  await vi.waitFor(() => expect(addresses("web")).toEqual(["2001:db8::1", "10.0.0.1"]));
});

it("uses the labelled nodes alone once a node is labelled, and the Service's pool among them", async () => {
  addNode("n1", "10.0.0.1", { labels: { [enable]: "true", [pool]: "a" } });
  addNode("n2", "10.0.0.2", { labels: { [enable]: "true", [pool]: "b" } });
  addNode("n3", "10.0.0.3");
  addService("web");
  addService("pooled", { ports: [{ port: 81 }] }, { labels: { [pool]: "b" } });
  await vi.waitFor(() => expect([addresses("web"), addresses("pooled")]).toEqual([["10.0.0.1", "10.0.0.2"], ["10.0.0.2"]]));
});

it("lists only nodes with ready endpoints when the policy is Local", async () => {
  addNode("n1", "10.0.0.1");
  addNode("n2", "10.0.0.2");
  addService("web", { externalTrafficPolicy: "Local" });
  await settle();
  expect(addresses("web")).toBeUndefined();
  const slice = (ready: boolean) =>
    kube.put(endpointSlices, {
      metadata: { name: "web-1", namespace: "default", labels: { "kubernetes.io/service-name": "web" } },
      endpoints: [{ addresses: ["10.42.0.5"], nodeName: "n2", conditions: { ready } }],
    });
  slice(true);
  await vi.waitFor(() => expect(addresses("web")).toEqual(["10.0.0.2"]));
  slice(false);
  await vi.waitFor(() => expect(addresses("web")).toBeUndefined());
});

it("leaves Services of another class alone", async () => {
  addNode("n1", "10.0.0.1");
  addService("theirs", { loadBalancerClass: "example.com/metal" });
  addService("ours", { loadBalancerClass: "io.cattle.k3s/servicelb", ports: [{ port: 81 }] });
  await vi.waitFor(() => expect(addresses("ours")).toEqual(["10.0.0.1"]));
  expect(addresses("theirs")).toBeUndefined();
});

it("keeps the second Service on a port pending until the first is gone", async () => {
  addNode("n1", "10.0.0.1");
  addService("first");
  await vi.waitFor(() => expect(addresses("first")).toEqual(["10.0.0.1"]));
  addService("second", {}, { creationTimestamp: "2020-01-01T00:00:00Z" });
  await vi.waitFor(() =>
    expect(messages("UnAvailableLoadBalancer")).toEqual(["There are no available nodes for LoadBalancer: port 80/TCP is used by default/first"]),
  );
  addService("udp", { ports: [{ port: 80, protocol: "UDP" }] });
  await vi.waitFor(() => expect(addresses("udp")).toEqual(["10.0.0.1"]));
  expect(addresses("second")).toBeUndefined();
  kube.drop(services, "first", "default");
  await vi.waitFor(() => expect(addresses("second")).toEqual(["10.0.0.1"]));
});

it("clears the status when the Service is no longer a LoadBalancer", async () => {
  addNode("n1", "10.0.0.1");
  const web = addService("web");
  await vi.waitFor(() => expect(addresses("web")).toEqual(["10.0.0.1"]));
  kube.put(services, { ...web, spec: { ...web.spec, type: "ClusterIP" }, status: kube.read(services, "web")!.status! });
  await vi.waitFor(() => expect(addresses("web")).toBeUndefined());
});

it("follows nodes that come, go and get tainted", async () => {
  addService("web");
  addNode("n1", "10.0.0.1", { taints: [{ key: "node-role.kubernetes.io/control-plane", effect: "NoSchedule" }] });
  await vi.waitFor(() => expect(addresses("web")).toEqual(["10.0.0.1"]));
  addNode("n2", "10.0.0.2");
  await vi.waitFor(() => expect(addresses("web")).toEqual(["10.0.0.1", "10.0.0.2"]));
  addNode("n1", "10.0.0.1", { taints: [{ key: "dedicated", effect: "NoSchedule" }] });
  await vi.waitFor(() => expect(addresses("web")).toEqual(["10.0.0.2"]));
  kube.drop(nodes, "n2");
  await vi.waitFor(() => expect(addresses("web")).toBeUndefined());
});

it("writes nothing when nothing changed", async () => {
  addNode("n1", "10.0.0.1");
  addService("web");
  await vi.waitFor(() => expect(addresses("web")).toEqual(["10.0.0.1"]));
  const writes = () => kube.writes.filter((write) => write.resource.startsWith("services")).length;
  const before = writes();
  addNode("n1", "10.0.0.1");
  addService("other", { type: "ClusterIP" });
  await settle();
  expect(writes()).toBe(before);
});
