import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { apiError, pods, replicaSets, replicationControllers } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start as startReplicaSet } from "./replicaset.ts";
import { start as startReplicationController } from "./replicationcontroller.ts";

const template = { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "c", image: "i" }] } };
const set = (replicas: number, extra: object = {}) => ({
  metadata: { name: "web", namespace: "ns" },
  spec: { replicas, selector: { matchLabels: { app: "web" } }, template, ...extra },
});

describe("replicaset", () => {
  let h: Harness;
  beforeEach(() => void (h = createHarness()));
  afterEach(() => h.stop());

  const names = () => h.client.all(pods, "ns").map((p) => p.metadata.name);
  const status = () => h.client.all(replicaSets)[0].status;
  const ready = (name: string) =>
    h.client.edit(pods, name, "ns", (p) => {
      p.spec.nodeName ??= "n1";
      p.status = {
        phase: "Running",
        conditions: [{ type: "Ready", status: "True", lastTransitionTime: new Date().toISOString() }],
      };
    });

  it("creates the missing pods with owner, labels and events", async () => {
    h.client.put(replicaSets, set(3));
    await h.start(startReplicaSet);
    expect(names()).toHaveLength(3);
    const pod = h.client.all(pods)[0];
    expect(pod.metadata.ownerReferences).toEqual([
      expect.objectContaining({
        kind: "ReplicaSet",
        apiVersion: "apps/v1",
        name: "web",
        controller: true,
        blockOwnerDeletion: true,
      }),
    ]);
    expect(pod.metadata.labels).toEqual({ app: "web" });
    expect(status()).toMatchObject({ replicas: 3, fullyLabeledReplicas: 3, readyReplicas: 0, observedGeneration: 1 });
    expect(h.events().filter((e) => e.startsWith("SuccessfulCreate Created pod: web-"))).toHaveLength(3);
    expect(h.problems).toEqual([]);
  });

  it("does not create twice while its informers lag", async () => {
    h.client.put(replicaSets, set(2));
    await h.start(startReplicaSet);
    h.client.hold();
    h.client.edit(replicaSets, "web", "ns", (s) => void (s.spec.replicas = 4));
    h.client.release();
    h.client.hold();
    await h.settle();
    await h.advance(1);
    h.client.release();
    await h.settle();
    expect(names()).toHaveLength(4);
  });

  it("removes not-ready pods first when it scales down", async () => {
    h.client.put(replicaSets, set(3));
    await h.start(startReplicaSet);
    const [a, b] = names();
    ready(a!);
    ready(b!);
    h.client.edit(replicaSets, "web", "ns", (s) => void (s.spec.replicas = 2));
    await h.settle();
    expect(names().sort()).toEqual([a, b].sort());
    expect(status()).toMatchObject({ replicas: 2, readyReplicas: 2, availableReplicas: 2 });
  });

  it("counts a ready pod as available after minReadySeconds", async () => {
    h.client.put(replicaSets, set(1, { minReadySeconds: 10 }));
    await h.start(startReplicaSet);
    ready(names()[0]!);
    await h.settle();
    expect(status()).toMatchObject({ readyReplicas: 1, availableReplicas: 0 });
    await h.advance(10);
    expect(status()).toMatchObject({ readyReplicas: 1, availableReplicas: 1 });
  });

  it("adopts a matching orphan and releases a pod whose labels changed", async () => {
    h.client.put(pods, {
      metadata: { name: "orphan", namespace: "ns", labels: { app: "web" } },
      spec: {},
      status: { phase: "Running" },
    });
    h.client.put(replicaSets, set(1));
    await h.start(startReplicaSet);
    expect(names()).toEqual(["orphan"]);
    expect(h.client.all(pods)[0].metadata.ownerReferences[0]).toMatchObject({ name: "web", controller: true });
    h.client.edit(pods, "orphan", "ns", (p) => void (p.metadata.labels = { app: "other" }));
    await h.settle();
    const released = h.client.all(pods).find((p) => p.metadata.name === "orphan");
    expect(released.metadata.ownerReferences).toEqual([]);
    expect(names()).toHaveLength(2);
  });

  it("replaces a pod that failed or is being deleted", async () => {
    h.client.put(replicaSets, set(2));
    await h.start(startReplicaSet);
    const [a, b] = names();
    h.client.edit(pods, a!, "ns", (p) => void (p.status = { phase: "Failed" }));
    h.client.edit(pods, b!, "ns", (p) => void (p.spec.nodeName = "n1"));
    await h.client.delete(pods, b!, { namespace: "ns" });
    await h.settle();
    expect(names()).toHaveLength(4);
    expect(status()).toMatchObject({ replicas: 2, terminatingReplicas: 1 });
  });

  it("surfaces a refused create as condition and event, and clears it later", async () => {
    h.client.onWrite = ({ verb, resource }) => {
      if (verb === "create" && resource === "pods") throw apiError(403, "Forbidden", "exceeded quota");
    };
    h.client.put(replicaSets, set(3));
    await h.start(startReplicaSet);
    expect(status().conditions).toEqual([
      expect.objectContaining({
        type: "ReplicaFailure",
        status: "True",
        reason: "FailedCreate",
        message: "exceeded quota",
      }),
    ]);
    expect(h.events()).toContain("FailedCreate Error creating: exceeded quota");
    h.client.onWrite = undefined;
    await h.advance(10);
    expect(names()).toHaveLength(3);
    expect(status().conditions).toEqual([]);
  });
});

describe("replicationcontroller", () => {
  it("keeps its replicas by a map selector", async () => {
    const h = createHarness();
    h.client.put(replicationControllers, {
      metadata: { name: "rc", namespace: "ns" },
      spec: { replicas: 2, selector: { app: "web" }, template },
    });
    await h.start(startReplicationController);
    expect(h.client.all(pods)).toHaveLength(2);
    expect(h.client.all(pods)[0].metadata.ownerReferences[0]).toMatchObject({
      kind: "ReplicationController",
      apiVersion: "v1",
    });
    expect(h.client.all(replicationControllers)[0].status).toMatchObject({ replicas: 2, fullyLabeledReplicas: 2 });
    await h.stop();
  });
});
