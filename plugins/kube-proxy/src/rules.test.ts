import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { KubeClient } from "@k3s-p/plugin-api/kube";
import { flaky, seeded } from "@k3s-p/plugin-api/kube/fake-flaky";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { fakeCluster, service, slice } from "./fake-cluster.ts";
import { setElements } from "./nft.ts";
import { startProxy, staleFlows, type StaleFlow } from "./proxy.ts";
import { serviceRules } from "./rules.ts";
import { createTable } from "./table.ts";
import { proxyWatch } from "./watch.ts";

const context = { nodeName: "node-1", clusterCidr: "10.42.0.0/16" };
const options = { name: "t", clusterCidr: "10.42.0.0/16", serviceCidr: "10.43.0.0/16", localhostNodePorts: false };
const rules = (name: string, spec: Parameters<typeof service>[1], slices: ReturnType<typeof slice>[], status?: Parameters<typeof service>[2]) =>
  serviceRules(service(name, spec, status), slices, context);
const values = (elements: readonly { map: string; key: string; value: string }[], map: string) =>
  Object.fromEntries(elements.filter((each) => each.map === map).map(({ key, value }) => [key, value]));

it("makes a plain Service of data alone", () => {
  const { elements, chains } = rules("a", { clusterIP: "10.43.0.1" }, [slice("a", ["10.42.0.2", "10.42.0.3"], 8080)]);
  expect(chains.size).toBe(0);
  expect(values(elements, "services")).toEqual({ "10.43.0.1 . tcp . 80": "goto pick-2" });
  expect(values(elements, "endpoints")).toEqual({
    "10.43.0.1 . tcp . 80 . 0": "10.42.0.2 . 8080", "10.43.0.1 . tcp . 80 . 1": "10.42.0.3 . 8080",
  });
});

it.each([
  ["headless", { clusterIP: "None" }],
  ["ExternalName", { type: "ExternalName", externalName: "example.org" }],
])("ignores a Service that is %s", (_, spec) => {
  expect(rules("a", spec, [slice("a", ["10.42.0.2"])]).elements).toEqual([]);
});

it("drops under internalTrafficPolicy Local when all endpoints are elsewhere, and refuses when there is none", () => {
  const spec = { clusterIP: "10.43.0.1", internalTrafficPolicy: "Local" };
  expect(values(rules("a", spec, [slice("a", [{ ip: "10.42.1.2", node: "node-2" }])]).elements, "refused")).toEqual({ "10.43.0.1 . tcp . 80": "drop" });
  expect(values(rules("a", spec, []).elements, "refused")).toEqual({ "10.43.0.1 . tcp . 80": "goto refuse" });
});

describe("hints of endpoints", () => {
  const hinted = (ip: string, zone: string, node?: string, ready = true) =>
    ({ ip, ready, node: node ?? "node-9", hints: { forZones: [{ name: zone }], ...(node && { forNodes: [{ name: node }] }) } });
  const chosen = (endpoints: Parameters<typeof slice>[1], zone: string | undefined = "z1") =>
    Object.values(values(serviceRules(service("a", { clusterIP: "10.43.0.1" }), [slice("a", endpoints)], { ...context, zone }).elements, "endpoints")).map((each) => each.split(" ")[0]);

  it.each([
    ["its own zone", [hinted("10.42.0.2", "z1"), hinted("10.42.0.3", "z2")], ["10.42.0.2"]],
    ["its own node before its zone", [hinted("10.42.0.2", "z1", "node-1"), hinted("10.42.0.3", "z1", "node-2")], ["10.42.0.2"]],
    ["its zone when its node has none", [hinted("10.42.0.2", "z1", "node-2"), hinted("10.42.0.3", "z2", "node-3")], ["10.42.0.2"]],
    ["all when its zone has none", [hinted("10.42.0.2", "z2"), hinted("10.42.0.3", "z3")], ["10.42.0.2", "10.42.0.3"]],
    ["all when one is without hints", [hinted("10.42.0.2", "z1"), { ip: "10.42.0.3" }], ["10.42.0.2", "10.42.0.3"]],
    ["all that are ready when that of its zone is not", [hinted("10.42.0.2", "z1", undefined, false), hinted("10.42.0.3", "z2")], ["10.42.0.3"]],
  ] as const)("lead to %s", (_, endpoints, wanted) => expect(chosen(endpoints)).toEqual(wanted));

  it("do not count while the node has no zone", () => {
    expect(chosen([hinted("10.42.0.2", "z1"), hinted("10.42.0.3", "z2")], "")).toEqual(["10.42.0.2", "10.42.0.3"]);
  });
});

it("matches ports by name and protocol", () => {
  const ports = [{ name: "http", port: 80, protocol: "TCP" }, { name: "dns", port: 53, protocol: "UDP" }];
  const endpoints = { ...slice("a", ["10.42.0.2"]), ports: [{ name: "dns", port: 5353, protocol: "UDP" }, { name: "http", port: 8080, protocol: "TCP" }] };
  const { elements } = rules("a", { clusterIP: "10.43.0.1", ports }, [endpoints]);
  expect(values(elements, "endpoints")).toEqual({ "10.43.0.1 . tcp . 80 . 0": "10.42.0.2 . 8080", "10.43.0.1 . udp . 53 . 0": "10.42.0.2 . 5353" });
});

it("keeps ranges apart that sets would refuse as overlapping", () => {
  const spec = { clusterIP: "10.43.0.1", type: "LoadBalancer", loadBalancerSourceRanges: ["10.0.0.0/8", " 10.1.0.0/16", "192.0.2.0/24"] };
  const { elements } = rules("a", spec, [slice("a", ["10.42.0.2"])], { loadBalancer: { ingress: [{ ip: "192.0.2.9" }] } });
  expect(Object.keys(values(elements, "lb-sources"))).toEqual(["192.0.2.9 . tcp . 80 . 10.0.0.0/8", "192.0.2.9 . tcp . 80 . 192.0.2.0/24"]);
});

it("writes nothing when nothing changed, and only the difference when something did", () => {
  const table = createTable(options);
  const web = (...endpoints: string[]) => rules("a", { clusterIP: "10.43.0.1" }, [slice("a", endpoints)]);
  table.set("default/a", web("10.42.0.2", "10.42.0.3"));
  table.full();
  table.set("default/a", web("10.42.0.2", "10.42.0.3"));
  expect(table.drain()).toEqual([]);
  table.set("default/a", web("10.42.0.2"));
  expect(table.drain()).toEqual([[
    "delete element ip t hairpin { 10.42.0.3 . 10.42.0.3 }",
    "delete element ip t endpoints { 10.43.0.1 . tcp . 80 . 1 }",
    "delete element ip t services { 10.43.0.1 . tcp . 80 }",
    "add element ip t services { 10.43.0.1 . tcp . 80 : goto pick-1 }",
  ].join("; ")]);
  table.set("default/a", web("10.42.0.2", "10.42.0.9"));
  table.set("default/a", web("10.42.0.2"));
  expect(table.drain()).toEqual([]);
});

it("keeps an element that two Services need until both are gone", () => {
  const table = createTable(options);
  for (const [name, ip] of [["a", "10.43.0.1"], ["b", "10.43.0.2"]] as const) table.set(`default/${name}`, rules(name, { clusterIP: ip }, [slice(name, ["10.42.0.2"])]));
  table.full();
  table.set("default/a", undefined);
  expect(table.drain().join()).not.toContain("hairpin");
  table.set("default/b", undefined);
  expect(table.drain().join()).toContain("delete element ip t hairpin { 10.42.0.2 . 10.42.0.2 }");
});

it("gives an address that two Services claim to one, and to the other when the first goes", () => {
  const table = createTable(options);
  const shared = (name: string, ip: string) => rules(name, { clusterIP: ip, externalIPs: ["192.0.2.9"] }, [slice(name, [`10.42.0.${ip.at(-1)}`])]);
  table.set("default/b", shared("b", "10.43.0.2"));
  table.set("default/a", shared("a", "10.43.0.1"));
  expect(table.full()).toContain("192.0.2.9 . tcp . 80 . 0 : 10.42.0.1 . 80");
  table.set("default/a", undefined);
  expect(table.drain().join()).toContain("192.0.2.9 . tcp . 80 . 0 : 10.42.0.2 . 80");
});

it("makes new chains before anything leads to them and removes old ones afterwards, in a transaction of its own", () => {
  const table = createTable(options);
  table.full();
  const sticky = { clusterIP: "10.43.0.1", sessionAffinity: "ClientIP" };
  table.set("default/a", rules("a", sticky, [slice("a", ["10.42.0.2"])]));
  const [made, more] = table.drain();
  expect(more).toBeUndefined();
  const kinds = made!.split("; ").filter((each) => /^(add|delete|flush) /.test(each)).map((each) => each.split(" ").slice(0, 2).join(" "));
  expect(kinds).toEqual(["add set", "add chain", "add chain", "add rule", "add rule", "add rule", "add rule", "add element", "add element"]);
  table.set("default/a", undefined);
  const [first, second] = table.drain();
  expect(first).toContain("delete element ip t services");
  expect(second).toMatch(/^flush chain .*delete chain .*delete set /);
});

it("forgets flows to endpoints that are gone, and flows that found none", () => {
  const dns = (...endpoints: string[]) => rules("d", { clusterIP: "10.43.0.10", ports: [{ port: 53, protocol: "UDP" }] }, [slice("d", endpoints, 53, "UDP")]);
  const flow = (endpoint?: string): StaleFlow => ({ address: "10.43.0.10", port: 53, endpoint });
  expect(staleFlows(dns("10.42.0.2", "10.42.0.3"), dns("10.42.0.3"))).toEqual([flow("10.42.0.2")]);
  expect(staleFlows(dns(), dns("10.42.0.3"))).toEqual([flow()]);
  expect(staleFlows(dns("10.42.0.3"), dns("10.42.0.3"))).toEqual([]);
});

it("reads the clients of a set with the time they have left", () => {
  const json = JSON.stringify({ nftables: [{ metainfo: {} }, { set: { name: "s", elem: [
    { elem: { val: "192.0.2.1", timeout: 10800, expires: 120 } }, { elem: { val: "192.0.2.2", timeout: 10800, expires: 0 } },
  ] } }] });
  expect(setElements(json)).toEqual(["192.0.2.1 timeout 10800s expires 120s"]);
});

it("is synced only when nft has taken the rules, however often it refuses them", async () => {
  const cluster = fakeCluster();
  let refusals = 2;
  const proxy = startProxy({
    kube: cluster.kube, context, table: createTable(options), tableName: "t", log: silentLogger, forgetFlows: async () => undefined, health: { set: () => undefined }, watch: proxyWatch(),
    nft: { clients: async () => new Map(), apply: async () => { if (refusals-- > 0) throw new Error("busy"); } },
  });
  await proxy.synced();
  expect(refusals).toBe(-1);
  proxy.stop();
});

it("is held up by no Service that it cannot understand", async () => {
  const cluster = fakeCluster();
  const applied: string[] = [];
  const errors: string[] = [];
  const proxy = startProxy({
    kube: cluster.kube, context, table: createTable(options), tableName: "t", forgetFlows: async () => undefined, health: { set: () => undefined }, watch: proxyWatch(),
    log: { ...silentLogger, error: (_fields: unknown, message?: string) => void errors.push(message ?? "") },
    nft: { clients: async () => new Map(), apply: async (text) => void applied.push(text) },
  });
  cluster.put(service("bad", { clusterIP: "10.43.0.1", ports: 80 as never }));
  cluster.put(service("good", { clusterIP: "10.43.0.2" }));
  await proxy.synced();
  expect([applied.length, applied[0]!.includes("10.43.0.2"), errors]).toEqual([1, true, ["no new rules for Service default/bad"]]);
  proxy.stop();
});

it("loads everything once, then gathers what changes while nft works into one transaction", async () => {
  const cluster = fakeCluster();
  const applied: string[] = [];
  const proxy = startProxy({
    kube: cluster.kube, context, table: createTable(options), tableName: "t", log: silentLogger, forgetFlows: async () => undefined, health: { set: () => undefined }, watch: proxyWatch(),
    nft: {
      clients: async () => new Map(),
      apply: async (text) => { applied.push(text); await new Promise((resolve) => setTimeout(resolve, 5)); },
    },
  });
  await proxy.synced();
  expect(applied).toHaveLength(1);
  cluster.put(service("a", { clusterIP: "10.43.0.1" }));
  await new Promise((resolve) => setTimeout(resolve, 2));
  for (let i = 2; i < 9; i++) cluster.put(service(`s${i}`, { clusterIP: `10.43.0.${i}` }));
  await proxy.synced();
  expect(applied).toHaveLength(3);
  expect(applied[2]!.match(/10\.43\.0\.\d . tcp . 80 : goto refuse/g)).toHaveLength(7);
  proxy.stop();
});

it.each([1, 2, 3, 4, 5, 6])("comes to the same table over a bad network, with an nft that refuses now and then (seed %i)", async (seed) => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const random = seeded(seed);
  const cluster = fakeCluster();
  const start = (kube: Pick<KubeClient, "informer">, refusing: number) => {
    const table = createTable(options);
    const nft = {
      clients: async () => new Map(),
      apply: async () => {
        await new Promise((resolve) => setTimeout(resolve, random() * 3));
        if (random() < refusing) throw new Error("busy");
      },
    };
    const proxy = startProxy({ kube, context, table, tableName: "t", nft, log: silentLogger, forgetFlows: async () => Promise.reject(new Error("no conntrack")), health: { set: () => undefined }, watch: proxyWatch() });
    onTestFinished(() => proxy.stop());
    return async () => {
      await vi.advanceTimersByTimeAsync(60_000);
      await proxy.synced();
      return table.full().split(/[\s,]+/).sort();
    };
  };
  const contents = start(flaky(cluster.kube, { random }), 0.2);
  for (let i = 0; i < 40; i++) {
    const name = `s${Math.floor(random() * 6)}`;
    const pods = Array.from({ length: Math.floor(random() * 4) }, (_, n) => ({ ip: `10.42.${n % 2}.${n + 2}`, node: `node-${(n % 2) + 1}` }));
    if (random() < 0.2) cluster.remove(service(name, {}));
    else cluster.put(service(name, { clusterIP: `10.43.0.${name.slice(1)}`, sessionAffinity: random() < 0.3 ? "ClientIP" : "None" }));
    if (random() < 0.8) cluster.put(slice(name, pods, 80, random() < 0.5 ? "TCP" : "UDP"));
    await vi.advanceTimersByTimeAsync(random() * 4);
  }
  expect(await contents()).toEqual(await start(cluster.kube, 0)());
});
