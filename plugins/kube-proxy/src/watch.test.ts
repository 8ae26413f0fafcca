import { expect, it } from "vitest";
import { nodes, type Node } from "@k3s-p/plugin-api/kube";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { fakeCluster, service, slice } from "./fake-cluster.ts";
import { proxySettings, type ProxyConfig } from "./options.ts";
import { startProxy } from "./proxy.ts";
import { createTable } from "./table.ts";
import { proxyWatch, type ProxyWatch } from "./watch.ts";

const START = Date.UTC(2026, 0, 1);

function clocked(eligible = true) {
  let time = START;
  const watch = proxyWatch(() => time);
  const pages = watch.healthPages(() => eligible);
  const ask = async (path: string) => {
    const { status, body } = await pages[path]!();
    return [status, JSON.parse(body)];
  };
  return { watch, ask, pass: (seconds: number) => (time += seconds * 1000), now: () => time };
}

const at = (seconds: number): string => new Date(START + seconds * 1000).toISOString();

it("is healthy until a change has waited for a minute, and again once it is in the kernel", async () => {
  const { watch, ask, pass, now } = clocked();
  pass(600);
  expect(await ask("/healthz")).toEqual([200, { lastUpdated: at(600), currentTime: at(600), nodeEligible: true }]);
  watch.serviceChanged();
  pass(59);
  watch.endpointsChanged();
  expect((await ask("/healthz"))[0]).toBe(200);
  pass(1);
  expect(await ask("/healthz")).toEqual([503, { lastUpdated: at(0), currentTime: at(660), nodeEligible: true }]);
  expect((await ask("/livez"))[0]).toBe(503);
  watch.applied(false, now());
  expect((await ask("/healthz"))[0]).toBe(200);
});

it("counts a refusal as a change that waits", async () => {
  const { watch, ask, pass } = clocked();
  watch.refused();
  pass(60);
  expect((await ask("/livez"))[0]).toBe(503);
});

it("sends load balancers elsewhere while the node is about to go, and stays alive for the rest", async () => {
  const { ask } = clocked(false);
  expect((await ask("/healthz"))).toEqual([503, expect.objectContaining({ nodeEligible: false })]);
  expect((await ask("/livez"))).toEqual([200, expect.objectContaining({ nodeEligible: false })]);
});

const metrics = async (watch: ProxyWatch): Promise<string> => (await watch.metricPages()["/metrics"]!()).body;

it("has upstream's figures of its passes", async () => {
  const { watch, ask, pass, now } = clocked();
  pass(10);
  watch.endpointsChanged(START + 9000);
  watch.endpointsChanged(START - 1);
  watch.serviceChanged();
  expect(await metrics(watch)).toContain("kubeproxy_sync_proxy_rules_endpoint_changes_pending 2\n");
  const begun = now();
  pass(0.003);
  watch.applied(true, begun);
  watch.refused();
  await ask("/healthz");
  const text = await metrics(watch);
  expect(text).toContain('kubeproxy_sync_full_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.002"} 0\nkubeproxy_sync_full_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.004"} 1\n');
  expect(text).toContain('kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 1\n');
  expect(text).toContain('kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="1"} 0\nkubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="2"} 1\n');
  for (const line of [
    "kubeproxy_sync_proxy_rules_service_changes_total 1", "kubeproxy_sync_proxy_rules_endpoint_changes_total 2", "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
    'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 1', 'kubeproxy_proxy_healthz_total{code="200"} 1', `kubeproxy_sync_proxy_rules_last_timestamp_seconds ${now() / 1000}`,
  ]) expect(text).toContain(`${line}\n`);
  expect(text).not.toContain("kubeproxy_sync_partial_proxy_rules_duration_seconds");
});

it("is told by the proxy of changes, passes and the node's end", async () => {
  const cluster = fakeCluster();
  const watch = proxyWatch();
  const proxy = startProxy({
    kube: cluster.kube, context: { nodeName: "node-1", clusterCidr: "10.42.0.0/16" }, tableName: "t", log: silentLogger, watch,
    table: createTable({ name: "t", clusterCidr: "10.42.0.0/16", serviceCidr: "10.43.0.0/16", localhostNodePorts: false }),
    forgetFlows: async () => undefined, health: { set: () => undefined }, nft: { clients: async () => new Map(), apply: async () => undefined },
  });
  const triggered = slice("a", ["10.42.0.2"]);
  cluster.put(service("a", { clusterIP: "10.43.0.1" }));
  cluster.put({ ...triggered, metadata: { ...triggered.metadata, annotations: { "endpoints.kubernetes.io/last-change-trigger-time": new Date(Date.now() + 1000).toISOString() } } });
  await proxy.synced();
  const text = await metrics(watch);
  for (const name of ["service_changes_total 1", "endpoint_changes_total 1", 'duration_seconds_count{ip_family="IPv4"} 1']) expect(text).toContain(`kubeproxy_sync_proxy_rules_${name}\n`);
  expect(text).toContain('kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 1\n');
  const node: Node = { apiVersion: "v1", kind: "Node", metadata: { name: "node-1" }, spec: {} };
  const eligible = (change: Partial<Node>): boolean => {
    cluster.kube.put(nodes, { ...node, ...change });
    return proxy.isEligible();
  };
  expect(eligible({})).toBe(true);
  expect(eligible({ spec: { taints: [{ key: "ToBeDeletedByClusterAutoscaler", effect: "NoSchedule" }] } })).toBe(false);
  expect(eligible({ metadata: { name: "node-1", deletionTimestamp: new Date().toISOString(), finalizers: ["a/b"] } as Node["metadata"] })).toBe(false);
  proxy.stop();
});

const config = (...kubeProxyArg: string[]): ProxyConfig => ({ table: "t", localhostNodePorts: true, kubeProxyArg });

it("listens where K3s does, unless told otherwise", () => {
  expect(proxySettings(config())).toEqual({ table: "t", localhostNodePorts: true, healthz: { host: "127.0.0.1", port: 10256 }, metrics: { host: "127.0.0.1", port: 10249 } });
  expect(proxySettings(config("healthz-bind-address=0.0.0.0", "--metrics-bind-address=[::]:9000", "proxy-mode=nftables")))
    .toMatchObject({ healthz: { host: "0.0.0.0", port: 10256 }, metrics: { host: "::", port: 9000 } });
  expect(proxySettings(config("healthz-bind-address=", "metrics-bind-address=127.0.0.1:0"))).toMatchObject({ healthz: undefined, metrics: undefined });
});

it.each(["proxy-mode=iptables", "healthz-bind-address=here", "metrics-bind-address=127.0.0.1:70000"])("refuses %s", (arg) => {
  expect(() => proxySettings(config(arg))).toThrow(expect.objectContaining({ code: "K3SP_FLAG_INVALID" }));
});
