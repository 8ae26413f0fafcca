import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { controllerRevisions, persistentVolumeClaims, pods, statefulSets } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { markReady, runKubelet, type FakeKubelet } from "../testing/kubelet.ts";
import { start } from "./statefulset.ts";

describe("statefulset", () => {
  let h: Harness;
  let kubelet: FakeKubelet;
  beforeEach(() => {
    h = createHarness();
    kubelet = runKubelet(h.client);
  });
  afterEach(() => h.stop());

  const run = async (spec: object = {}) => {
    h.client.put(statefulSets, {
      metadata: { name: "ss", namespace: "ns" },
      spec: {
        replicas: 3, serviceName: "svc", selector: { matchLabels: { app: "s" } }, podManagementPolicy: "OrderedReady",
        updateStrategy: { type: "RollingUpdate", rollingUpdate: { partition: 0 } },
        template: { metadata: { labels: { app: "s" } }, spec: { containers: [{ name: "c", image: "v1" }] } }, ...spec,
      },
    });
    await h.start(start);
    await h.advance(1);
  };
  const edit = async (change: (s: any) => void) => {
    h.client.edit(statefulSets, "ss", "ns", change);
    await h.advance(2);
  };
  const setImage = (image: string) => edit((s) => void (s.spec.template.spec.containers[0].image = image));
  const names = () => h.client.all(pods).map((p) => p.metadata.name).sort();
  const images = () => Object.fromEntries(h.client.all(pods).map((p) => [p.metadata.name, p.spec.containers[0].image]));
  const status = () => h.client.all(statefulSets)[0].status;
  const unready = (name: string) =>
    h.client.edit(pods, name, "ns", (p) => void (p.status.conditions = [{ type: "Ready", status: "False" }]));

  it("creates pods one after the other with a stable identity", async () => {
    kubelet.accepts = () => false;
    await run();
    expect(names()).toEqual(["ss-0"]);
    expect(h.client.all(pods)[0]).toMatchObject({
      metadata: {
        labels: {
          app: "s",
          "statefulset.kubernetes.io/pod-name": "ss-0",
          "apps.kubernetes.io/pod-index": "0",
          "controller-revision-hash": expect.stringMatching(/^ss-/),
        },
      },
      spec: { hostname: "ss-0", subdomain: "svc" },
    });
    markReady(h.client, "ss-0", "ns");
    await h.advance(1);
    expect(names()).toEqual(["ss-0", "ss-1"]);
    markReady(h.client, "ss-1", "ns");
    await h.advance(1);
    markReady(h.client, "ss-2", "ns");
    await h.advance(1);
    expect(status()).toMatchObject({
      replicas: 3,
      readyReplicas: 3,
      availableReplicas: 3,
      currentReplicas: 3,
      updatedReplicas: 3,
      observedGeneration: 1,
    });
    expect(status().currentRevision).toBe(status().updateRevision);
    expect(h.events()).toContain("SuccessfulCreate create Pod ss-0 in StatefulSet ss successful");
    expect(h.problems).toEqual([]);
  });

  it("scales down from the highest ordinal and halts at an unhealthy pod", async () => {
    await run();
    unready("ss-1");
    unready("ss-2");
    await edit((s) => void (s.spec.replicas = 1));
    expect(names()).toEqual(["ss-0", "ss-1", "ss-2"]);
    markReady(h.client, "ss-2", "ns");
    await h.advance(2);
    expect(names()).toEqual(["ss-0"]);
  });

  it("does not scale while a lower pod is unhealthy", async () => {
    await run();
    unready("ss-0");
    await edit((s) => void (s.spec.replicas = 4));
    expect(names()).toEqual(["ss-0", "ss-1", "ss-2"]);
    await edit((s) => void (s.spec.replicas = 2));
    expect(names()).toEqual(["ss-0", "ss-1", "ss-2"]);
    markReady(h.client, "ss-0", "ns");
    await h.advance(2);
    expect(names()).toEqual(["ss-0", "ss-1"]);
  });

  it("Parallel does not wait for anyone", async () => {
    kubelet.accepts = () => false;
    await run({ podManagementPolicy: "Parallel" });
    expect(names()).toEqual(["ss-0", "ss-1", "ss-2"]);
    await edit((s) => void (s.spec.replicas = 0));
    expect(names()).toEqual([]);
  });

  it("rolls from the highest ordinal down to the partition, and back", async () => {
    await run();
    await edit((s) => void (s.spec.updateStrategy.rollingUpdate.partition = 2));
    await setImage("v2");
    expect(images()).toEqual({ "ss-0": "v1", "ss-1": "v1", "ss-2": "v2" });
    expect(status()).toMatchObject({ updatedReplicas: 1, currentReplicas: 2 });
    expect(status().currentRevision).not.toBe(status().updateRevision);
    await h.client.delete(pods, "ss-0", { namespace: "ns" });
    await h.advance(2);
    expect(images()["ss-0"]).toBe("v1");
    await edit((s) => void (s.spec.updateStrategy.rollingUpdate.partition = 0));
    expect(images()).toEqual({ "ss-0": "v2", "ss-1": "v2", "ss-2": "v2" });
    expect(status().currentRevision).toBe(status().updateRevision);
    await setImage("v1");
    expect(images()["ss-0"]).toBe("v1");
    expect(h.client.all(controllerRevisions).map((r) => r.revision).sort()).toEqual([2, 3]);
  });

  it("waits for an updated pod to be ready before the next", async () => {
    await run();
    kubelet.accepts = (pod) => pod.spec!.containers[0]!.image === "v1";
    await setImage("v2");
    expect(images()).toEqual({ "ss-0": "v1", "ss-1": "v1", "ss-2": "v2" });
  });

  it("recreates an evicted pod under the same name", async () => {
    await run({ replicas: 1 });
    const uid = h.client.all(pods)[0].metadata.uid;
    h.client.edit(pods, "ss-0", "ns", (p) => void (p.status = { phase: "Failed" }));
    await h.advance(1);
    expect(names()).toEqual(["ss-0"]);
    expect(h.client.all(pods)[0].metadata.uid).not.toBe(uid);
  });

  it("makes claims from templates, keeps them on scale-down, or ties them to the pod when asked to", async () => {
    await run({
      replicas: 2,
      volumeClaimTemplates: [{ metadata: { name: "data" }, spec: { accessModes: ["ReadWriteOnce"] } }],
    });
    expect(h.client.all(persistentVolumeClaims).map((c) => c.metadata.name)).toEqual(["data-ss-0", "data-ss-1"]);
    expect(h.client.all(persistentVolumeClaims)[0].metadata.labels).toEqual({ app: "s" });
    expect(h.client.all(pods)[0].spec.volumes).toEqual([
      { name: "data", persistentVolumeClaim: { claimName: "data-ss-0", readOnly: false } },
    ]);
    await edit(
      (s) => void (s.spec.persistentVolumeClaimRetentionPolicy = { whenDeleted: "Delete", whenScaled: "Delete" }),
    );
    const owners = () =>
      h.client
        .all(persistentVolumeClaims)
        .map((c) => c.metadata.ownerReferences?.map((r: any) => `${r.kind}/${r.name}`));
    expect(owners()).toEqual([["StatefulSet/ss"], ["StatefulSet/ss"]]);
    await edit((s) => void (s.spec.replicas = 1));
    expect(owners()).toEqual([["StatefulSet/ss"], ["Pod/ss-1"]]);
  });

  it("starts at another ordinal", async () => {
    await run({ replicas: 2, ordinals: { start: 5 } });
    expect(names()).toEqual(["ss-5", "ss-6"]);
  });

  it("OnDelete updates a pod only when it is deleted", async () => {
    await run({ replicas: 1, updateStrategy: { type: "OnDelete" } });
    await setImage("v2");
    expect(images()).toEqual({ "ss-0": "v1" });
    await h.client.delete(pods, "ss-0", { namespace: "ns" });
    await h.advance(2);
    expect(images()).toEqual({ "ss-0": "v2" });
  });
});
