import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { leases, nodes, pods } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start as startLabels } from "./control-plane-label.ts";
import { start as startLifecycle } from "./lifecycle.ts";
import { start as startEviction } from "./taint-eviction.ts";
import { start as startTtl } from "./ttl.ts";

let h: Harness;
beforeEach(() => void (h = createHarness()));
afterEach(() => h.stop());

const node = (name: string, ready = "True", extra: any = {}) =>
  h.client.put(nodes, {
    metadata: { name, labels: { "kubernetes.io/os": "linux" } },
    spec: extra.spec ?? {},
    status: {
      conditions: [
        { type: "Ready", status: ready, lastHeartbeatTime: "2026-01-01T00:00:00Z" },
        ...(extra.conditions ?? []),
      ],
    },
  });
const lease = (name: string, renewTime: string) =>
  h.client.put(leases, { metadata: { name, namespace: "kube-node-lease" }, spec: { renewTime } });
const taints = (name: string) =>
  (h.client.all(nodes).find((n) => n.metadata.name === name).spec.taints ?? []).map((t: any) => `${t.key}:${t.effect}`);
const pod = (name: string, extra: any = {}) =>
  h.client.put(pods, {
    metadata: { name, namespace: "ns" },
    spec: { nodeName: "n1", tolerations: extra.tolerations, containers: [] },
    status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
  });

describe("node-lifecycle", () => {
  it("marks a silent node unknown after 40 s, taints it and its pods, and takes all back when it returns", async () => {
    node("n1");
    node("n2");
    lease("n1", "2026-01-01T00:00:00.000000Z");
    lease("n2", "2026-01-01T00:00:00.000000Z");
    pod("p");
    await h.start(startLifecycle);
    expect(taints("n1")).toEqual([]);
    const beat = () =>
      h.client.edit(leases, "n2", "kube-node-lease", (l) => void (l.spec.renewTime = new Date().toISOString()));
    await h.advance(30);
    beat();
    await h.advance(9);
    expect(h.client.all(nodes)[0].status.conditions[0].status).toBe("True");
    await h.advance(2);
    expect(h.client.all(nodes)[0].status.conditions[0]).toMatchObject({
      status: "Unknown",
      reason: "NodeStatusUnknown",
      message: "Kubelet stopped posting node status.",
    });
    expect(taints("n1")).toEqual([
      "node.kubernetes.io/unreachable:NoSchedule",
      "node.kubernetes.io/unreachable:NoExecute",
    ]);
    expect(taints("n2")).toEqual([]);
    expect(h.client.all(pods)[0].status.conditions[0].status).toBe("False");
    expect(h.events()).toContain("NodeNotReady Node n1 status is now: NodeNotReady");
    h.client.edit(nodes, "n1", undefined, (n) =>
      Object.assign(n.status.conditions[0], { status: "True", lastHeartbeatTime: new Date().toISOString() }),
    );
    await h.advance(1);
    expect(taints("n1")).toEqual([]);
  });

  it("sets no timer but the nearest deadline", async () => {
    node("n1");
    lease("n1", "2026-01-01T00:00:00.000000Z");
    await h.start(startLifecycle);
    const writes = h.client.writes.length;
    for (let i = 0; i < 12; i++) {
      await h.advance(10);
      h.client.edit(leases, "n1", "kube-node-lease", (l) => void (l.spec.renewTime = new Date().toISOString()));
    }
    expect(h.client.writes.length).toBe(writes);
  });

  it("does not evict while no node at all is ready", async () => {
    node("n1", "False");
    await h.start(startLifecycle);
    expect(taints("n1")).toEqual(["node.kubernetes.io/not-ready:NoSchedule"]);
  });

  it("mirrors conditions and cordoning as taints, keeps the user's, and fills the beta labels", async () => {
    node("n1", "True", {
      conditions: [{ type: "DiskPressure", status: "True" }],
      spec: { unschedulable: true, taints: [{ key: "mine", effect: "NoSchedule" }] },
    });
    await h.start(startLifecycle);
    expect(taints("n1")).toEqual([
      "mine:NoSchedule",
      "node.kubernetes.io/disk-pressure:NoSchedule",
      "node.kubernetes.io/unschedulable:NoSchedule",
    ]);
    expect(h.client.all(nodes)[0].metadata.labels["beta.kubernetes.io/os"]).toBe("linux");
    h.client.edit(nodes, "n1", undefined, (n) => {
      n.spec.unschedulable = false;
      n.status.conditions[1].status = "False";
    });
    await h.settle();
    expect(taints("n1")).toEqual(["mine:NoSchedule"]);
  });
});

describe("taint-eviction", () => {
  const taint = (...list: object[]) => h.client.edit(nodes, "n1", undefined, (n) => void (n.spec.taints = list));
  const gone = () => h.client.all(pods).filter((p) => p.metadata.deletionTimestamp).map((p) => p.metadata.name);
  const t = { key: "k", value: "v", effect: "NoExecute" };

  it("evicts at once, after tolerationSeconds, or never", async () => {
    node("n1");
    pod("now");
    pod("later", { tolerations: [{ key: "k", operator: "Exists", effect: "NoExecute", tolerationSeconds: 20 }] });
    pod("never", { tolerations: [{ operator: "Exists" }] });
    await h.start(startEviction);
    taint(t);
    await h.settle();
    expect(gone()).toEqual(["now"]);
    expect(h.client.all(pods)[0].status.conditions.at(-1)).toMatchObject({
      type: "DisruptionTarget",
      reason: "DeletionByTaintManager",
    });
    await h.advance(21);
    expect(gone()).toEqual(["now", "later"]);
  });

  it("cancels when the taint goes in time", async () => {
    node("n1");
    pod("p", { tolerations: [{ key: "k", value: "v", tolerationSeconds: 20 }] });
    await h.start(startEviction);
    taint(t);
    await h.advance(10);
    taint();
    await h.advance(20);
    expect(gone()).toEqual([]);
    expect(h.events()).toContain("TaintManagerEviction Cancelling deletion of Pod ns/p");
  });
});

it("the server's own node, and no other, is marked as of the control plane", async () => {
  node("server-1");
  node("n2");
  await h.start(startLabels);
  const labels = () => h.client.all(nodes).map((n) => [n.metadata.name, n.metadata.labels["node-role.kubernetes.io/control-plane"]]);
  expect(labels()).toEqual([["server-1", "true"], ["n2", undefined]]);
  const writes = h.client.writes.length;
  node("n3");
  await h.settle();
  expect(h.client.writes.length).toBe(writes);
});

it("ttl annotates every node by the cluster's size", async () => {
  for (let i = 0; i < 101; i++) node(`n${i}`);
  await h.start(startTtl);
  await h.settle();
  expect(new Set(h.client.all(nodes).map((n) => n.metadata.annotations["node.alpha.kubernetes.io/ttl"]))).toEqual(
    new Set(["15"]),
  );
});
