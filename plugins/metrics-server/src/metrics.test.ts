import { beforeEach, describe, expect, it } from "vitest";
import type { Node, Pod } from "@k3s-p/plugin-api/kube";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { createApi, type Api } from "./api.ts";
import { createStore, type Store } from "./store.ts";
import { parseSummary } from "./summary.ts";
import { formatDuration, usageList, usageOf } from "./usage.ts";

const start = Date.parse("2026-01-01T00:00:00Z");
const Gi = 1024 ** 3;
let now: number;
let scrapes: string[];
let down: Set<string>;
let warnings: string[];
let store: Store;
let api: Api;
let summaryPods: readonly string[] = ["web"];

const stats = (cpuSeconds: number, memory: number) => ({
  startTime: new Date(start).toISOString(),
  cpu: { time: new Date(now).toISOString(), usageNanoCores: 0, usageCoreNanoSeconds: cpuSeconds * 1e9 },
  memory: { workingSetBytes: memory },
});
/** The node burns 1 core, container `a` half of it and `b` a tenth. */
const summary = () => ({
  node: stats((now - start) / 1000, 2 * Gi),
  pods: summaryPods.map((name) => ({
    podRef: { name, namespace: "default" },
    containers: [{ name: "a", ...stats((now - start) / 2000, Gi) }, { name: "b", ...stats((now - start) / 10_000, 1536) }],
  })),
});

const node = (name: string, labels = {}) => ({ metadata: { name, labels } }) as unknown as Node;
const pod = (name: string, phase = "Running") =>
  ({ metadata: { name, namespace: "default", labels: { app: name } }, spec: { nodeName: "n1" }, status: { phase } }) as unknown as Pod;

beforeEach(() => {
  now = start + 3_600_000;
  scrapes = [];
  down = new Set();
  warnings = [];
  store = createStore({
    log: { ...silentLogger, warn: (_: object | string, text?: string) => void warnings.push(text!) }, now: () => now, resolution: 15_000,
    sleep: async (ms) => void (now += ms),
    scrape: async ({ metadata }) => {
      scrapes.push(metadata.name!);
      if (down.has(metadata.name!)) throw new Error("connection refused");
      return parseSummary(summary());
    },
  });
  const pods = [pod("web"), pod("done", "Succeeded"), pod("fresh")];
  const nodes = [node("n1", { zone: "a" }), node("n2")];
  api = createApi({
    store, nodes: () => nodes, now: () => new Date(now),
    pods: (namespace) => pods.filter((p) => !namespace || p.metadata.namespace === namespace),
  });
});

const get = (path: string) => api.answer("GET", new URL(`https://x/apis/metrics.k8s.io/v1beta1${path}`)) as Promise<any>;

describe("the API", () => {
  it("gives figures on the very first question, by reading twice, and then from one reading to the next", async () => {
    const first = await get("/nodes/n1");
    expect(first).toMatchObject({ kind: "NodeMetrics", apiVersion: "metrics.k8s.io/v1beta1", usage: { cpu: "1000000000n", memory: "2Gi" }, window: "1s" });
    now += 15_000;
    const second = await get("/nodes/n1");
    expect(second).toMatchObject({ usage: { cpu: "1000000000n", memory: "2Gi" }, window: "15s", timestamp: "2026-01-01T01:00:16Z" });
    expect(scrapes).toEqual(["n1", "n1", "n1"]);
  });

  it("does not average over the time in which nobody asked", async () => {
    await get("/nodes/n1");
    now += 600_000;
    expect(await get("/nodes/n1")).toMatchObject({ window: "1s" });
  });

  it("reads nodes only when the last reading is 15 s old, and once for all who ask", async () => {
    await get("/nodes/n1");
    await get("/nodes/n1");
    expect(scrapes).toEqual(["n1", "n1"]);
    now += 15_000;
    await Promise.all([get("/nodes/n1"), get("/nodes/n1")]);
    expect(scrapes).toEqual(["n1", "n1", "n1"]);
  });

  it("lists running pods that have figures, container by container", async () => {
    await get("/pods");
    now += 15_000;
    const list = await get("/namespaces/default/pods");
    expect(list).toMatchObject({ kind: "PodMetricsList" });
    expect(list.items).toHaveLength(1);
    expect(list.items[0]).toMatchObject({
      metadata: { name: "web", namespace: "default", labels: { app: "web" } },
      containers: [{ name: "a", usage: { cpu: "500000000n", memory: "1Gi" } }, { name: "b", usage: { cpu: "100000000n", memory: "1536" } }],
    });
  });

  it("does not let a pod that has just started wait for 15 s", async () => {
    const others = summaryPods;
    summaryPods = [];
    expect((await get("/pods")).items).toEqual([]);
    summaryPods = others;
    now += 1_000;
    expect((await get("/pods")).items).toMatchObject([{ metadata: { name: "web" }, containers: [{ usage: { cpu: "500000000n" } }, {}] }]);
  });

  it.each([
    ["/nodes?labelSelector=zone%3Da", ["n1"]], ["/nodes?fieldSelector=metadata.name%3Dn2", ["n2"]],
    ["/pods?labelSelector=app%3Dother", []], ["/namespaces/other/pods", []],
  ])("selects with %s", async (path, names) => {
    expect((await get(path)).items.map((item: any) => item.metadata.name)).toEqual(names);
  });

  it.each([
    ["/nodes/n9", 404, 'nodemetrics.metrics.k8s.io "n9" not found'],
    ["/namespaces/default/pods/done", 404, 'podmetrics.metrics.k8s.io "default/done" not found'],
    ["/services", 404, "the server could not find the requested resource"],
    ["/nodes?watch=true", 405, 'watch is not supported on resources of kind "nodes.metrics.k8s.io"'],
    ["/nodes?labelSelector=%3D%3D", 400, "found '==', expected: !, identifier, or 'end of string'"],
  ])("refuses %s with %i", async (path, code, message) => {
    await expect(get(path)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it("leaves out a node that cannot be read, and takes it back when it can", async () => {
    down.add("n2");
    expect((await get("/nodes")).items.map((item: any) => item.metadata.name)).toEqual(["n1"]);
    down.clear();
    expect((await get("/nodes")).items).toHaveLength(2);
  });

  it("waits once for a node that is gone, and then only as long as one takes that is back", async () => {
    let answer = (): void => {};
    const hanging = createStore({
      log: silentLogger, now: () => now, resolution: 15_000, sleep: async () => {}, patience: async () => {},
      scrape: async ({ metadata }) => {
        scrapes.push(metadata.name!);
        if (scrapes.length === 1) throw new Error("the kubelet did not answer within 10 s");
        if (scrapes.length === 2) await new Promise<void>((resolve) => (answer = resolve));
        return parseSummary(summary());
      },
    });
    await hanging.refresh([node("n2")]);
    await hanging.refresh([node("n2")]);
    await hanging.refresh([node("n2")]);
    expect([scrapes.length, hanging.nodeUsage("n2")]).toEqual([2, undefined]);
    answer();
    await expect.poll(() => hanging.nodeUsage("n2")).toBeDefined();
  });

  it("says once that a node cannot be read, and only when somebody asked", async () => {
    down.add("n1");
    await store.prefetch(node("n1"));
    expect(warnings).toEqual([]);
    await get("/nodes/n1").catch(() => {});
    await get("/nodes/n1").catch(() => {});
    expect(warnings).toEqual(["the node's usage could not be read: connection refused"]);
  });

  it("is discoverable", async () => {
    const list = await get("");
    expect(list.resources.map((r: any) => [r.name, r.kind, r.namespaced])).toEqual([["nodes", "NodeMetrics", false], ["pods", "PodMetrics", true]]);
  });
});

describe("usage", () => {
  const reading = (time: number, core: number, more: object = {}) => ({ time, coreNanoSeconds: core, workingSetBytes: 1, ...more });
  it("of a container with one reading is the momentary figure, when the kubelet knows one", () => {
    expect(usageOf(reading(120_000, 120e9, { nanoCores: 5 }), undefined)).toMatchObject({ cpu: 5 });
    expect(usageOf(reading(120_000, 120e9, { nanoCores: 0, startTime: 0 }), undefined)).toMatchObject({ cpu: 1e9, window: 120_000 });
  });
  it("does not compare with a container that was restarted", () => {
    expect(usageOf(reading(20_000, 1e9, { startTime: 10_000 }), reading(5_000, 5e9, { startTime: 0 }))).toMatchObject({ cpu: 1e8, window: 10_000 });
  });
  it("knows nothing from one reading without more", () => {
    expect(usageOf(reading(1, 1), undefined)).toBeUndefined();
  });
  it("prints quantities and durations as upstream", () => {
    expect(usageList({ cpu: 12345, memory: 10 * 1024, time: 0, window: 0 })).toEqual({ cpu: "12345n", memory: "10Ki" });
    expect([15_012, 65_000, 3_600_000].map(formatDuration)).toEqual(["15.012s", "1m5s", "1h0m0s"]);
  });
});
