import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { expect, test, vi } from "vitest";
import { definePlugin } from "@k3s-p/plugin-api";
import { deployments, isForbidden, namespaces, nodes, pods } from "@k3s-p/plugin-api/kube";
import { kube } from "@k3s-p/plugin-api/slots";
import { growth } from "@k3s-p/plugin-api/conformance/leaks";
import { createTestCluster, createTestKernel, liveResources } from "./index.ts";
import { manualClock } from "./clock.ts";
import { tool } from "./tools.ts";

const podSpec = { containers: [{ name: "c", image: "example.com/c" }] };

test("is ready in under 250 ms", async () => {
  await (await createTestCluster()).stop();
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const started = performance.now();
    await using cluster = await createTestCluster();
    times.push(performance.now() - started);
    expect(cluster.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  }
  console.log(`test cluster ready in ${times.map(Math.round).join(", ")} ms`);
  // The best of five: a busy machine slows some, not all.
  expect(Math.min(...times)).toBeLessThan(250);
});

test("several at once keep apart", async () => {
  const clusters = await Promise.all([0, 1, 2, 3].map(() => createTestCluster()));
  await Promise.all(clusters.map(({ kube }, i) => kube.create(namespaces, { metadata: { name: `only-${i}` } })));
  for (const [i, { kube }] of clusters.entries()) {
    const own = (await kube.list(namespaces)).items.map((n) => n.metadata.name).filter((name) => name!.startsWith("only-"));
    expect(own).toEqual([`only-${i}`]);
  }
  expect(new Set(clusters.map(({ url }) => url)).size).toBe(4);
  await Promise.all(clusters.map((cluster) => cluster.stop()));
});

test("20 starts and stops leak nothing, not even with controllers, scheduler and the database on disk", async () => {
  const once = async () => (await createTestCluster({ controllers: true, scheduler: true, datastore: "sqlite" })).stop();
  await once();
  const meter = liveResources();
  await once();
  const { Timeout = 0, ...before } = meter.count();
  for (let i = 0; i < 20; i++) await once();
  // Two timers are the waiting's own.
  await vi.waitFor(() => expect(growth({ ...before, Timeout: Timeout + 2 }, meter.count())).toEqual([]), 5_000);
  meter.stop();
}, 60_000);

test("kubectl and the JavaScript client reach it with its kubeconfig", async () => {
  await using cluster = await createTestCluster();
  const { stdout } = await promisify(execFile)(tool("kubectl"), ["--kubeconfig", cluster.kubeconfigPath, "get", "namespaces", "-o", "name"]);
  expect(stdout.split("\n")).toContain("namespace/kube-system");
  const config = new KubeConfig();
  config.loadFromString(cluster.kubeconfig);
  const list = await config.makeApiClient(CoreV1Api).listNamespace();
  expect(list.items.map((n) => n.metadata?.name)).toContain("default");
});

test("controllers and scheduler are the real ones: a Deployment becomes pods that are bound", async () => {
  await using cluster = await createTestCluster({ controllers: true, scheduler: true });
  const client = cluster.kube;
  const resources = { cpu: "4", memory: "8Gi", pods: "110" };
  const condition = { type: "Ready", status: "True", lastHeartbeatTime: new Date().toISOString(), lastTransitionTime: new Date().toISOString() };
  await client.create(nodes, { metadata: { name: "n1" }, spec: {}, status: { capacity: resources, allocatable: resources, conditions: [condition] } });
  await client.patch(nodes, "n1", { status: { capacity: resources, allocatable: resources, conditions: [condition] } }, { subresource: "status" });
  await client.patch(nodes, "n1", { spec: { taints: null } });
  await client.create(deployments, {
    metadata: { name: "web", namespace: "default" },
    spec: { replicas: 2, selector: { matchLabels: { app: "web" } }, template: { metadata: { labels: { app: "web" } }, spec: podSpec } },
  });
  await vi.waitFor(async () => {
    const { items } = await client.list(pods, { namespace: "default" });
    expect(items.map((pod) => pod.spec?.nodeName)).toEqual(["n1", "n1"]);
  }, 10_000);
});

test("others are under RBAC", async () => {
  await using cluster = await createTestCluster({ listen: false });
  await expect(cluster.as({ name: "jane", groups: ["system:authenticated"] }).list(pods)).rejects.toSatisfy(isForbidden);
});

test("a test kernel wires plugins to the fakes of a test, and stops them", async () => {
  const log: string[] = [];
  const plugin = definePlugin({
    needs: { kube },
    async start(ctx) {
      log.push((await ctx.needs.kube.get(pods, "p", "default")).metadata.name!);
      ctx.defer(() => void log.push("stopped"));
    },
  });
  const running = await createTestKernel({ plugins: { mine: plugin }, slots: { kube: { get: async () => ({ metadata: { name: "fake" } }) } } });
  expect(running.kernel.status().find((s) => s.id === "mine")?.state).toBe("ready");
  await running.stop();
  expect(log).toEqual(["fake", "stopped"]);
});

test("a test kernel with a clock moved by hand restarts a plugin that failed, after its back-off", async () => {
  const clock = manualClock();
  let starts = 0;
  let fail: ((error: Error) => void) | undefined;
  const plugin = definePlugin({ start: (ctx) => { starts++; fail = ctx.fail; } });
  await using running = await createTestKernel({ plugins: { mine: plugin }, clock });
  fail!(new Error("gone"));
  await clock.pass(0);
  expect([starts, running.kernel.status().find((s) => s.id === "mine")?.state]).toEqual([1, "failed"]);
  await clock.pass(5_000);
  expect([starts, running.kernel.status().find((s) => s.id === "mine")?.state]).toEqual([2, "ready"]);
});

test("a test kernel refuses a section that the schema does not know", async () => {
  const plugin = definePlugin({ config: { type: "object", properties: { size: { type: "integer" } } }, start() {} });
  await expect(createTestKernel({ plugins: { mine: plugin }, config: { mine: { sise: 1 } } })).rejects.toThrow('plugins.mine.config.sise: unknown option; did you mean "size"?');
});
