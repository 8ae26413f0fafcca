/** The promises of the `storage` slot: a claim of its class becomes a volume, and a released volume goes. */
import assert from "node:assert/strict";
import { nodes, persistentVolumeClaims, persistentVolumes, storageClasses } from "../kube/resources.ts";
import type { PersistentVolume } from "../kube/types.ts";
import type { Storage } from "../slots/cluster.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { pause, test, within, type ConformanceTest } from "./suite.ts";

export function storageSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (started: Started<Storage>) => Promise<void>): ConformanceTest =>
    test(name, [], async (ctx) => {
      const started = await startSubject<Storage>(subject, ctx);
      ctx.defer(() => started.stop());
      const { kube, node } = started.world;
      kube.put(nodes, { ...kube.read(nodes, node.name)!, status: { conditions: [{ type: "Ready", status: "True" }] } });
      kube.put(storageClasses, { metadata: { name: "conformance" }, provisioner: started.impl.provisioner, volumeBindingMode: "WaitForFirstConsumer", reclaimPolicy: "Delete" });
      await run(started);
    });
  return [
    each("a claim that has chosen a node gets a volume of its size that is bound to it", async (started) => {
      claim(started, "conformance");
      const volume = await provisioned(started);
      const { claimRef, capacity, storageClassName } = volume.spec!;
      assert.deepEqual([claimRef?.namespace, claimRef?.name, claimRef?.uid], ["default", "data", "uid-data"]);
      assert.deepEqual([capacity?.storage, storageClassName], ["1Gi", "conformance"]);
      assert.equal(volume.metadata.annotations?.["pv.kubernetes.io/provisioned-by"], started.impl.provisioner);
    }),
    each("a claim of another class is left alone", async (started) => {
      started.world.kube.put(storageClasses, { metadata: { name: "other" }, provisioner: "example.com/other" });
      claim(started, "other");
      await pause(200);
      assert.deepEqual(started.world.kube.all(persistentVolumes), []);
    }),
    each("a released volume with the policy Delete is deleted", async (started) => {
      const { kube } = started.world;
      claim(started, "conformance");
      const volume = await provisioned(started);
      kube.drop(persistentVolumeClaims, "data", "default");
      kube.put(persistentVolumes, { ...volume, status: { phase: "Released" } });
      await within(5000, () => assert.deepEqual(kube.all(persistentVolumes), []));
    }),
  ];
}

function claim({ world }: Started<Storage>, storageClassName: string): void {
  world.kube.put(persistentVolumeClaims, {
    metadata: { name: "data", namespace: "default", uid: "uid-data", annotations: { "volume.kubernetes.io/selected-node": world.node.name } },
    spec: { storageClassName, accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
  });
}

const provisioned = ({ world }: Started<Storage>): Promise<PersistentVolume> =>
  within(5000, () => {
    const [volume] = world.kube.all(persistentVolumes);
    assert.ok(volume, "no PersistentVolume was made");
    return volume;
  });
