import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { persistentVolumeClaims, persistentVolumes, pods, storageClasses } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start } from "./binder.ts";
import { start as startEphemeral } from "./ephemeral-volume.ts";
import { startClaimProtection, startVolumeProtection } from "./protection.ts";

let h: Harness;
beforeEach(() => void (h = createHarness()));
afterEach(() => h.stop());

const volume = (name: string, spec: object = {}, metadata: object = {}) =>
  h.client.put(persistentVolumes, {
    metadata: { name, ...metadata },
    spec: {
      capacity: { storage: "5Gi" },
      accessModes: ["ReadWriteOnce"],
      persistentVolumeReclaimPolicy: "Retain",
      ...spec,
    },
  });
const claim = (name: string, spec: object = {}, metadata: object = {}) =>
  h.client.put(persistentVolumeClaims, {
    metadata: { name, namespace: "ns", ...metadata },
    spec: {
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: "2Gi" } },
      storageClassName: "",
      ...spec,
    },
  });
const sc = (name: string, extra: object = {}, metadata: object = {}) =>
  h.client.put(storageClasses, { metadata: { name, ...metadata }, provisioner: "rancher.io/local-path", ...extra });
const pvc = (name: string) => h.client.all(persistentVolumeClaims).find((c) => c.metadata.name === name);
const pv = (name: string) => h.client.all(persistentVolumes).find((v) => v.metadata.name === name);

describe("ephemeral-volume", () => {
  const ephemeral = { volumeClaimTemplate: { metadata: { labels: { a: "b" } }, spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } } } };
  const pod = (name: string, metadata: object = {}) =>
    h.client.put(pods, { metadata: { name, namespace: "ns", ...metadata }, spec: { containers: [], volumes: [{ name: "scratch", ephemeral }, { name: "plain", emptyDir: {} }] } });

  it("makes a claim that belongs to its pod, and again when it is gone", async () => {
    await h.start(startEphemeral);
    const made = pod("p");
    await h.settle();
    const wanted = {
      metadata: { name: "p-scratch", labels: { a: "b" }, ownerReferences: [{ kind: "Pod", name: "p", uid: made.metadata.uid, controller: true, blockOwnerDeletion: true }] },
      spec: ephemeral.volumeClaimTemplate.spec,
    };
    expect(pvc("p-scratch")).toMatchObject(wanted);
    h.client.drop(persistentVolumeClaims, "p-scratch", "ns");
    await h.settle();
    expect(pvc("p-scratch")).toMatchObject(wanted);
    expect(h.client.all(persistentVolumeClaims)).toHaveLength(1);
  });

  it("takes no claim that is another's, and says so", async () => {
    claim("p-scratch");
    await h.start(startEphemeral);
    pod("p");
    await h.settle();
    expect(h.events()).toContain("FailedBinding ephemeral volume scratch: PVC ns/p-scratch was not created for pod ns/p (pod is not owner)");
    expect(pvc("p-scratch").metadata.ownerReferences).toBeUndefined();
  });

  it("makes none for a pod that is being deleted", async () => {
    await h.start(startEphemeral);
    pod("p", { deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: ["x/y"] });
    await h.settle();
    expect(h.client.all(persistentVolumeClaims)).toEqual([]);
  });
});

describe("persistentvolume-binder", () => {
  it("binds the smallest free volume that fits, both ways", async () => {
    volume("big", { capacity: { storage: "50Gi" } });
    volume("fit");
    volume("small", { capacity: { storage: "1Gi" } });
    claim("c");
    await h.start(start);
    expect(pvc("c")).toMatchObject({
      spec: { volumeName: "fit" },
      status: { phase: "Bound", capacity: { storage: "5Gi" }, accessModes: ["ReadWriteOnce"] },
      metadata: {
        annotations: { "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes" },
      },
    });
    expect(pv("fit")).toMatchObject({
      spec: { claimRef: { kind: "PersistentVolumeClaim", namespace: "ns", name: "c", uid: pvc("c").metadata.uid } },
      status: { phase: "Bound" },
    });
    expect([pv("big").status.phase, pv("small").status.phase]).toEqual(["Available", "Available"]);
    expect(h.problems).toEqual([]);
  });

  it("honours class, access mode, volume mode and selector, and tells why a claim waits", async () => {
    volume(
      "v",
      { storageClassName: "fast", accessModes: ["ReadWriteMany"], volumeMode: "Block" },
      { labels: { zone: "a" } },
    );
    claim("c", {
      storageClassName: "fast",
      accessModes: ["ReadWriteMany"],
      volumeMode: "Block",
      selector: { matchLabels: { zone: "b" } },
    });
    claim("none");
    await h.start(start);
    expect(pvc("c").status.phase).toBe("Pending");
    expect(h.events()).toContain("FailedBinding no persistent volumes available for this claim and no storage class is set");
    expect(h.events()).toContain('ProvisioningFailed storageclass.storage.k8s.io "fast" not found');
    h.client.edit(persistentVolumes, "v", undefined, (v) => void (v.metadata.labels.zone = "b"));
    await h.settle();
    expect(pvc("c").status.phase).toBe("Bound");
  });

  it("never gives one volume to two claims", async () => {
    volume("only");
    claim("a");
    claim("b");
    await h.start(start);
    expect([pvc("a").status.phase, pvc("b").status.phase].sort()).toEqual(["Bound", "Pending"]);
  });

  it("binds what was reserved by volumeName or claimRef, and refuses a mismatch", async () => {
    volume("named");
    volume("reserved", { claimRef: { namespace: "ns", name: "b" } });
    volume("taken", { claimRef: { namespace: "ns", name: "b" } });
    claim("a", { volumeName: "named" });
    claim("b");
    claim("c", { volumeName: "reserved" });
    claim("d", { volumeName: "named2" });
    await h.start(start);
    expect(pvc("a")).toMatchObject({ spec: { volumeName: "named" }, status: { phase: "Bound" } });
    expect(pvc("b").status.phase).toBe("Bound");
    expect(pvc("c").status.phase).toBe("Pending");
    expect(h.events()).toContain('FailedBinding volume "reserved" already bound to a different claim.');
    expect(pvc("d").status.phase).toBe("Pending");
  });

  it("waits for the first consumer, then asks the provisioner, then binds its volume", async () => {
    sc("local-path", { volumeBindingMode: "WaitForFirstConsumer" });
    claim("c", { storageClassName: "local-path" });
    await h.start(start);
    expect(pvc("c").status.phase).toBe("Pending");
    expect(h.events()).toContain("WaitForFirstConsumer waiting for first consumer to be created before binding");
    h.client.edit(
      persistentVolumeClaims,
      "c",
      "ns",
      (c) => void (c.metadata.annotations = { "volume.kubernetes.io/selected-node": "n1" }),
    );
    await h.settle();
    expect(pvc("c").metadata.annotations["volume.kubernetes.io/storage-provisioner"]).toBe("rancher.io/local-path");
    expect(h.events().join()).toContain(
      "ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'rancher.io/local-path'",
    );
    volume(
      "pvc-1",
      {
        storageClassName: "local-path",
        persistentVolumeReclaimPolicy: "Delete",
        claimRef: { namespace: "ns", name: "c", uid: pvc("c").metadata.uid },
      },
      { annotations: { "pv.kubernetes.io/provisioned-by": "rancher.io/local-path" } },
    );
    await h.settle();
    expect(pvc("c")).toMatchObject({ spec: { volumeName: "pvc-1" }, status: { phase: "Bound" } });
    await h.client.delete(persistentVolumeClaims, "c", { namespace: "ns" });
    await h.settle();
    expect(pv("pvc-1").status.phase).toBe("Released");
  });

  it("gives the default class to a claim that names none", async () => {
    sc("std", {}, { annotations: { "storageclass.kubernetes.io/is-default-class": "true" } });
    claim("c", { storageClassName: undefined });
    await h.start(start);
    expect(pvc("c").spec.storageClassName).toBe("std");
    expect(pvc("c").metadata.annotations["volume.kubernetes.io/storage-provisioner"]).toBe("rancher.io/local-path");
  });

  it("releases a retained volume, fails one that nobody can delete, and loses a claim without volume", async () => {
    volume("keep");
    volume("drop", { persistentVolumeReclaimPolicy: "Delete", capacity: { storage: "9Gi" } });
    claim("a");
    claim("b", { resources: { requests: { storage: "8Gi" } } });
    await h.start(start);
    await h.client.delete(persistentVolumeClaims, "a", { namespace: "ns" });
    await h.settle();
    expect(pv("keep").status.phase).toBe("Released");
    h.client.drop(persistentVolumes, "drop");
    await h.settle();
    expect(pvc("b").status.phase).toBe("Lost");
    expect(h.events().join()).toContain("ClaimLost Bound claim has lost its PersistentVolume");
  });
});

describe("protection", () => {
  it("adds the finalizer and keeps a claim while a pod uses it", async () => {
    claim("c");
    h.client.put(pods, {
      metadata: { name: "p", namespace: "ns" },
      spec: { nodeName: "n", volumes: [{ name: "v", persistentVolumeClaim: { claimName: "c" } }] },
      status: { phase: "Running" },
    });
    await h.start(startClaimProtection);
    expect(pvc("c").metadata.finalizers).toEqual(["kubernetes.io/pvc-protection"]);
    await h.client.delete(persistentVolumeClaims, "c", { namespace: "ns" });
    await h.settle();
    expect(pvc("c")).toBeDefined();
    h.client.drop(pods, "p", "ns");
    await h.settle();
    expect(pvc("c")).toBeUndefined();
  });

  it("keeps a bound volume until it is released", async () => {
    volume("v");
    h.client.edit(persistentVolumes, "v", undefined, (v) => void (v.status = { phase: "Bound" }));
    await h.start(startVolumeProtection);
    await h.client.delete(persistentVolumes, "v");
    await h.settle();
    expect(pv("v")).toBeDefined();
    h.client.edit(persistentVolumes, "v", undefined, (v) => void (v.status.phase = "Released"));
    await h.settle();
    expect(pv("v")).toBeUndefined();
  });
});
