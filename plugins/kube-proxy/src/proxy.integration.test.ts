/** The plugin with the real nft between network namespaces: a node, a client outside, and pods on a bridge. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { EndpointSlice, Service } from "@k3s-p/plugin-api/kube";
import type { Proxy } from "@k3s-p/plugin-api/slots";
import { localRunner, startAlone, testNode, type StartedPlugin } from "@k3s-p/plugin-api/testing";
import { join2, netns, netnsUnavailable, type Netns } from "@k3s-p/plugin-api/testing-netns";
import { fakeCluster, service, slice, type FakeCluster } from "./fake-cluster.ts";
import plugin from "./plugin.ts";

const missing = netnsUnavailable(["ip", "nft", "conntrack"]);
if (missing) console.warn(`kube-proxy data-plane test skipped: needs ${missing}`);

describe.skipIf(missing !== undefined)("kube-proxy, for real", () => {
  const id = process.pid % 10_000;
  let root: string, node: Netns, outside: Netns, a: Netns, b: Netns;
  let all: Netns[];
  let cluster: FakeCluster;
  let started: StartedPlugin<Proxy>;
  const put = async (...objects: (Service | EndpointSlice)[]) => {
    for (const object of objects) cluster.put(object);
    await started.impl.synced();
  };
  const nodeIp = "192.0.2.10";
  const begin = () =>
    startAlone<Proxy>(plugin, { config: { kubeProxyArg: ["healthz-bind-address=", "metrics-bind-address="] }, needs: { kube: cluster.kube, node: testNode(root, { ip: nodeIp }), runner: localRunner(node.prefix) }, dir: root });
  const [podA, podB] = ["10.42.0.11", "10.42.0.12"];
  const many = (from: Netns, host: string, port: number, times = 12) =>
    new Set(Array.from({ length: times }, () => from.ask(host, port)?.split(" ")[0] ?? "none"));

  beforeAll(async () => {
    root = mkdtempSync("/tmp/k3sp-px-");
    all = [node, outside, a, b] = ["n", "o", "a", "b"].map((name) => netns(`kpx${id}${name}`)) as [Netns, Netns, Netns, Netns];
    join2(node, "eth0", `${nodeIp}/24`, outside, "eth0", "192.0.2.20/24");
    node.run("ip", "link", "add", "cni0", "type", "bridge");
    node.run("ip", "address", "add", "10.42.0.1/24", "dev", "cni0");
    node.run("ip", "link", "set", "cni0", "up");
    for (const [pod, ip] of [[a, podA], [b, podB]] as const) {
      join2(node, `v${pod.name.at(-1)}`, "10.42.255.1/32", pod, "eth0", `${ip}/24`);
      node.run("ip", "address", "flush", "dev", `v${pod.name.at(-1)}`);
      node.run("ip", "link", "set", `v${pod.name.at(-1)}`, "master", "cni0");
      node.run("ip", "link", "set", `v${pod.name.at(-1)}`, "type", "bridge_slave", "hairpin", "on");
      pod.run("ip", "route", "add", "default", "via", "10.42.0.1");
    }
    node.run("ip", "route", "add", "default", "via", "192.0.2.20");
    outside.run("ip", "route", "add", "default", "via", nodeIp);
    node.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables");
    await Promise.all([a.serve(80, "a"), b.serve(80, "b"), a.serve(53, "a", "udp"), b.serve(53, "b", "udp")]);
    cluster = fakeCluster();
    started = await begin();
    await started.impl.synced();
  }, 30_000);
  afterAll(async () => {
    await started?.stop();
    for (const each of all) each.remove();
    rmSync(root, { recursive: true, force: true });
  });
  let expectedWarnings = 0;
  afterEach(() => expect(started.logged.filter((line) => /^(warn|error)/.test(line))).toHaveLength(expectedWarnings));

  it("leads a ClusterIP to every endpoint, from pods with their own address and from the node", async () => {
    await put(service("web", { clusterIP: "10.43.0.1" }), slice("web", [podA, podB]));
    expect(many(outside, "10.43.0.1", 80)).toEqual(new Set(["a", "b"]));
    expect(node.ask("10.43.0.1", 80)).toMatch(/^[ab] 10\.42\.0\.1$/);
    await put(slice("web", [podB]));
    expect(a.ask("10.43.0.1", 80)).toBe(`b ${podA}`);
  });

  it("lets a pod reach itself through its Service", () => {
    expect(b.ask("10.43.0.1", 80)).toBe("b 10.42.0.1");
  });

  it("refuses at once what has no endpoint, and ports that no Service has", async () => {
    await put(service("empty", { clusterIP: "10.43.0.2", type: "NodePort", ports: [{ port: 80, nodePort: 30002, protocol: "TCP" }] }));
    for (const [host, port] of [["10.43.0.2", 80], ["10.43.0.1", 81], ["10.43.7.7", 80]] as const) {
      for (const from of [a, node]) {
        const before = Date.now();
        expect(from.ask(host, port)).toBeUndefined();
        expect(Date.now() - before).toBeLessThan(500);
      }
    }
    const before = Date.now();
    expect(outside.ask(nodeIp, 30002)).toBeUndefined();
    expect(Date.now() - before).toBeLessThan(500);
    await put(slice("empty", [podA]));
    expect(outside.ask(nodeIp, 30002)).toBe("a 10.42.0.1");
  });

  it("opens a node port on every address of the node, 127.0.0.1 too", async () => {
    await put(service("np", { clusterIP: "10.43.0.3", type: "NodePort", ports: [{ port: 80, nodePort: 30003, protocol: "TCP" }] }), slice("np", [podA, podB]));
    expect(many(outside, nodeIp, 30003)).toEqual(new Set(["a", "b"]));
    expect(many(outside, "10.42.0.1", 30003, 2).has("none")).toBe(false);
    expect(many(node, nodeIp, 30003, 2).has("none")).toBe(false);
    expect(many(node, "127.0.0.1", 30003, 2).has("none")).toBe(false);
    expect(many(b, nodeIp, 30003, 8)).toEqual(new Set(["a", "b"]));
  });

  it("serves external addresses and those of load balancers, and honours the source ranges", async () => {
    const ingress = { loadBalancer: { ingress: [{ ip: "198.51.100.7" }] } };
    const spec = { clusterIP: "10.43.0.4", type: "LoadBalancer", externalIPs: ["198.51.100.8"] };
    await put(service("lb", spec, ingress), slice("lb", [podA]));
    expect(outside.ask("198.51.100.7", 80)).toBe("a 10.42.0.1");
    expect(outside.ask("198.51.100.8", 80)).toBe("a 10.42.0.1");
    expect(b.ask("198.51.100.7", 80)).toBe("a 10.42.0.1");
    await put(service("lb", { ...spec, loadBalancerSourceRanges: ["10.42.0.0/16", "10.42.0.0/24", "203.0.113.0/24"] }, ingress));
    expect(outside.ask("198.51.100.7", 80)).toBeUndefined();
    expect(b.ask("198.51.100.7", 80)).toBe("a 10.42.0.1");
    expect(outside.ask("10.43.0.4", 80)).toBe("a 10.42.0.1");
    await put(service("lb", spec, ingress));
    expect(outside.ask("198.51.100.7", 80)).toBe("a 10.42.0.1");
  });

  it("keeps a client with its endpoint until the endpoint goes or the timeout is over", async () => {
    const sticky = (timeoutSeconds: number) =>
      service("sticky", { clusterIP: "10.43.0.5", type: "NodePort", ports: [{ port: 80, nodePort: 30005, protocol: "TCP" }],
        sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds } } });
    await put(sticky(10_800), slice("sticky", [podA, podB]));
    const [first] = many(outside, "10.43.0.5", 80);
    expect(many(outside, "10.43.0.5", 80)).toEqual(new Set([first]));
    expect(many(outside, nodeIp, 30005)).toEqual(new Set([first]));
    const other = first === "a" ? "b" : "a";
    await put(slice("sticky", [first === "a" ? podB : podA]));
    expect(many(outside, "10.43.0.5", 80, 3)).toEqual(new Set([other]));
    await put(slice("sticky", [podA, podB]));
    expect(many(outside, "10.43.0.5", 80)).toEqual(new Set([other]));
    await put(service("sticky", { clusterIP: "10.43.0.5" }));
    expect(many(outside, "10.43.0.5", 80, 24)).toEqual(new Set(["a", "b"]));
    await put(sticky(1));
    const seen = new Set<string>();
    for (let i = 0; i < 8; i++) {
      seen.add([...many(outside, "10.43.0.5", 80, 1)][0]!);
      if (seen.size < 2) await new Promise((resolve) => setTimeout(resolve, 1600));
    }
    expect(seen).toEqual(new Set(["a", "b"]));
  }, 30_000);

  it("keeps the client's address under externalTrafficPolicy Local and uses this node's endpoints alone", async () => {
    const healthCheckNodePort = 30000 + (process.pid % 2000);
    const local = service("local", { clusterIP: "10.43.0.6", type: "LoadBalancer", externalTrafficPolicy: "Local", healthCheckNodePort,
      ports: [{ port: 80, nodePort: 30006, protocol: "TCP" }] }, { loadBalancer: { ingress: [{ ip: "198.51.100.9" }] } });
    const health = async () => fetch(`http://127.0.0.1:${healthCheckNodePort}/`).then(async (r) => [r.status, ((await r.json()) as { localEndpoints: number }).localEndpoints]);
    await put(local, slice("local", [podA, { ip: podB, node: "node-2" }]));
    expect(many(outside, nodeIp, 30006, 8)).toEqual(new Set(["a"]));
    expect(outside.ask("198.51.100.9", 80)).toBe("a 192.0.2.20");
    expect(many(node, nodeIp, 30006, 16)).toEqual(new Set(["a", "b"]));
    expect(await health()).toEqual([200, 1]);
    await put(slice("local", [{ ip: podB, node: "node-2" }]));
    expect(outside.ask(nodeIp, 30006)).toBeUndefined();
    expect(outside.ask("10.43.0.6", 80)).toBe("b 10.42.0.1");
    expect(await health()).toEqual([503, 0]);
    cluster.remove(local);
    await started.impl.synced();
    await expect(health()).rejects.toThrow();
  });

  it("falls back to endpoints that still serve while they end", async () => {
    await put(service("ending", { clusterIP: "10.43.0.8" }), slice("ending", [podA, { ip: podB, ready: false, serving: true, terminating: true }]));
    expect(many(outside, "10.43.0.8", 80, 6)).toEqual(new Set(["a"]));
    await put(slice("ending", [{ ip: podA, ready: false, serving: false }, { ip: podB, ready: false, serving: true, terminating: true }]));
    expect(many(outside, "10.43.0.8", 80, 3)).toEqual(new Set(["b"]));
  });

  it("moves a UDP client on when its endpoint goes", async () => {
    const dns = service("dns", { clusterIP: "10.43.0.10", ports: [{ port: 53, protocol: "UDP" }] });
    await put(dns, slice("dns", [podA], 53, "UDP"));
    const ask = () => spawnSync(outside.prefix[0]!, [...outside.prefix.slice(1), process.execPath, "-e", `
      const s = require("node:dgram").createSocket("udp4");
      s.on("message", (m) => { console.log(String(m).split(" ")[0]); s.close(); });
      s.bind(5353, () => s.send("x", 53, "10.43.0.10"));
      setTimeout(() => process.exit(), 1000).unref();`], { encoding: "utf8" }).stdout.trim();
    expect(ask()).toBe("a");
    await put(slice("dns", [podB], 53, "UDP"));
    expect(ask()).toBe("b");
    await put(slice("dns", [], 53, "UDP"));
    expect(ask()).toBe("");
    await put(slice("dns", [podA], 53, "UDP"));
    expect(ask()).toBe("a");
  });

  it("keeps clients with their endpoints over a restart", async () => {
    await put(service("sticky", { clusterIP: "10.43.0.5", sessionAffinity: "ClientIP" }), slice("sticky", [podA, podB]));
    const [first] = many(outside, "10.43.0.5", 80, 1);
    for (let i = 0; i < 3; i++) {
      await started.stop();
      started = await begin();
      await started.impl.synced();
      expect(many(outside, "10.43.0.5", 80, 4)).toEqual(new Set([first]));
    }
  });

  it("serves more endpoints than there are fixed chains", async () => {
    const far = Array.from({ length: 40 }, (_, i) => ({ ip: `10.42.9.${i + 1}`, node: "node-9" }));
    await put(service("wide", { clusterIP: "10.43.0.11" }), slice("wide", [...far]));
    expect(node.run("nft", "list", "map", "ip", "k3sp-proxy", "services")).toContain("10.43.0.11 . tcp . 80 : goto own-all-");
    await put(slice("wide", [podA]));
    expect(outside.ask("10.43.0.11", 80)).toBe("a 10.42.0.1");
    expect(node.run("nft", "list", "table", "ip", "k3sp-proxy")).not.toContain("10.42.9.");
  });

  it("loads everything again after somebody removed the table", async () => {
    node.run("nft", "delete", "table", "ip", "k3sp-proxy");
    await put(slice("web", [podA, podB]));
    expect(started.logged.join("\n")).toContain("nft refused a change: loading all rules");
    expectedWarnings = 1;
    expect(many(outside, "10.43.0.1", 80)).toEqual(new Set(["a", "b"]));
  });

  it("takes a change among 5,000 Services in under 50 ms", async () => {
    const ip = (i: number) => `10.43.${10 + (i >> 7)}.${(i & 127) + 1}`;
    for (let i = 0; i < 5000; i++) {
      cluster.put(service(`s${i}`, { clusterIP: ip(i) }));
      cluster.put(slice(`s${i}`, [`10.42.1.${i % 250}`, `10.42.2.${i % 250}`]));
    }
    const start = performance.now();
    await started.impl.synced();
    const load = performance.now() - start;
    const times: number[] = [];
    for (let i = 0; i < 20; i++) {
      const from = performance.now();
      await put(slice(`s${i * 100}`, i % 2 ? [podA] : [podA, podB, "10.42.3.3"]));
      times.push(performance.now() - from);
    }
    times.sort((x, y) => x - y);
    console.log(`5,000 services: loaded in ${load.toFixed(0)} ms; a change p50 ${times[10]!.toFixed(1)} ms, max ${times.at(-1)!.toFixed(1)} ms`);
    expect(times[10]).toBeLessThan(50);
    expect(many(outside, ip(100), 80, 4)).toEqual(new Set(["a"]));
  }, 60_000);
});
