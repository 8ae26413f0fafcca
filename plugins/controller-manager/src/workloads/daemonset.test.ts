import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { controllerRevisions, daemonSets, nodes, pods } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { runKubelet, type FakeKubelet } from "../testing/kubelet.ts";
import { start } from "./daemonset.ts";

describe("daemonset", () => {
  let h: Harness;
  let kubelet: FakeKubelet;
  beforeEach(() => {
    h = createHarness();
    // The scheduler's part: a pod runs where its affinity says.
    kubelet = runKubelet(h.client);
    h.client.informer(pods).on({
      added: (pod) => {
        const node =
          pod.spec!.affinity!.nodeAffinity!.requiredDuringSchedulingIgnoredDuringExecution!.nodeSelectorTerms[0]!
            .matchFields![0]!.values![0];
        if (!pod.spec!.nodeName) h.client.edit(pods, pod.metadata.name!, "ns", (p) => void (p.spec.nodeName = node));
      },
    });
  });
  afterEach(() => h.stop());

  const node = (name: string, labels: object = {}, taints: object[] = []) =>
    h.client.put(nodes, { metadata: { name, labels }, spec: { taints } });
  const run = async (spec: object = {}, template: object = {}) => {
    h.client.put(daemonSets, {
      metadata: { name: "ds", namespace: "ns" },
      spec: {
        selector: { matchLabels: { app: "d" } },
        updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } },
        template: {
          metadata: { labels: { app: "d" } },
          spec: { containers: [{ name: "c", image: "v1" }], ...template },
        },
        ...spec,
      },
    });
    await h.start(start);
    await h.advance(1);
  };
  const setImage = async (image: string) => {
    h.client.edit(daemonSets, "ds", "ns", (d) => void (d.spec.template.spec.containers[0].image = image));
    await h.advance(3);
  };
  const placed = () => h.client.all(pods).filter((p) => !p.metadata.deletionTimestamp).map((p) => p.spec.nodeName).sort();
  const images = () => h.client.all(pods).map((p) => p.spec.containers[0].image);
  const status = () => h.client.all(daemonSets)[0].status;

  it("runs one pod on each node, with affinity, tolerations and revision hash", async () => {
    node("n1");
    node("n2");
    await run();
    expect(placed()).toEqual(["n1", "n2"]);
    const pod = h.client.all(pods)[0];
    expect(pod.spec.tolerations.map((t: any) => t.key)).toContain("node.kubernetes.io/unschedulable");
    expect(pod.metadata.labels["controller-revision-hash"]).toBe(
      h.client.all(controllerRevisions)[0].metadata.labels["controller-revision-hash"],
    );
    expect(status()).toMatchObject({
      desiredNumberScheduled: 2,
      currentNumberScheduled: 2,
      numberReady: 2,
      numberAvailable: 2,
      updatedNumberScheduled: 2,
      numberMisscheduled: 0,
      observedGeneration: 1,
    });
    expect(h.problems).toEqual([]);
  });

  it("follows node labels and taints", async () => {
    node("n1", { pool: "a" });
    node("n2");
    node("n3", { pool: "a" }, [{ key: "x", effect: "NoSchedule" }]);
    await run({}, { nodeSelector: { pool: "a" } });
    expect(placed()).toEqual(["n1"]);
    h.client.edit(nodes, "n2", undefined, (n) => void (n.metadata.labels = { pool: "a" }));
    h.client.edit(nodes, "n1", undefined, (n) => void (n.metadata.labels = {}));
    await h.advance(1);
    expect(placed()).toEqual(["n2"]);
    h.client.edit(nodes, "n2", undefined, (n) => void (n.spec.taints = [{ key: "y", effect: "NoSchedule" }]));
    await h.advance(1);
    expect(placed()).toEqual(["n2"]);
    expect(status()).toMatchObject({ desiredNumberScheduled: 0, numberMisscheduled: 1 });
    h.client.edit(nodes, "n2", undefined, (n) => void (n.spec.taints = [{ key: "y", effect: "NoExecute" }]));
    await h.advance(1);
    expect(placed()).toEqual([]);
  });

  it("replaces a failed pod, slower each time", async () => {
    node("n1");
    await run();
    const fail = () =>
      h.client.edit(pods, h.client.all(pods)[0].metadata.name, "ns", (p) => void (p.status = { phase: "Failed" }));
    const first = h.client.all(pods)[0].metadata.name;
    fail();
    await h.settle();
    expect(h.client.all(pods)[0].metadata.name).not.toBe(first);
    expect(h.events().some((e) => e.startsWith("FailedDaemonPod Found failed daemon pod ns/"))).toBe(true);
    const second = h.client.all(pods)[0].metadata.name;
    fail();
    await h.settle();
    expect(h.client.all(pods)[0].metadata.name).toBe(second);
    await h.advance(5);
    expect(h.client.all(pods)[0].metadata.name).not.toBe(second);
  });

  it("rolls one node at a time and stops at an unavailable pod", async () => {
    for (const name of ["n1", "n2", "n3"]) node(name);
    await run();
    kubelet.accepts = (pod) => pod.spec!.containers[0]!.image !== "broken";
    await setImage("broken");
    expect(images().filter((i) => i === "broken")).toHaveLength(1);
    expect(status()).toMatchObject({ numberReady: 2, updatedNumberScheduled: 1 });
    await setImage("v1");
    expect(images()).toEqual(["v1", "v1", "v1"]);
    await setImage("v2");
    expect(images()).toEqual(["v2", "v2", "v2"]);
    expect(status()).toMatchObject({ updatedNumberScheduled: 3, numberAvailable: 3 });
  });

  it("rolls back to an old revision without restarting its pods", async () => {
    for (const name of ["n1", "n2"]) node(name);
    await run();
    kubelet.accepts = (pod) => pod.spec!.containers[0]!.image !== "broken";
    await setImage("broken");
    const kept = h.client.all(pods).find((p) => p.spec.containers[0].image === "v1").metadata.name;
    await setImage("v1");
    expect(h.client.all(pods).map((p) => p.metadata.name)).toContain(kept);
    expect(h.client.all(controllerRevisions).map((r) => r.revision).sort()).toEqual([2, 3]);
  });

  it("surges: the old pod goes when the new one is available", async () => {
    node("n1");
    await run({ updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } } });
    kubelet.accepts = (pod) => pod.spec!.containers[0]!.image === "v1";
    await setImage("v2");
    expect(images().sort()).toEqual(["v1", "v2"]);
    kubelet.accepts = () => true;
    const fresh = h.client.all(pods).find((p) => p.spec.containers[0].image === "v2");
    h.client.edit(pods, fresh.metadata.name, "ns", (p) => void (p.metadata.annotations = { retry: "1" }));
    await h.advance(2);
    expect(images()).toEqual(["v2"]);
  });

  it("OnDelete leaves running pods alone, and the history is trimmed", async () => {
    node("n1");
    await run({ updateStrategy: { type: "OnDelete" }, revisionHistoryLimit: 1 });
    for (const image of ["v2", "v3", "v4"]) await setImage(image);
    expect(images()).toEqual(["v1"]);
    expect(h.client.all(controllerRevisions)).toHaveLength(3);
    await h.client.delete(pods, h.client.all(pods)[0].metadata.name, { namespace: "ns" });
    await h.advance(2);
    expect(images()).toEqual(["v4"]);
  });
});
