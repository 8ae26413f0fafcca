/** The storage TEMPLATE_NAME: makes a hostPath volume for each claim of its StorageClasses that has chosen this node. */
import { join } from "node:path";
import { definePlugin } from "@k3s-p/plugin-api";
import { isAlreadyExists, keyOf, persistentVolumeClaims, persistentVolumes, splitKey, storageClasses, workQueue, type PersistentVolume } from "@k3s-p/plugin-api/kube";
import { kube, node, storage } from "@k3s-p/plugin-api/slots";

const provisioner = "example.com/TEMPLATE_NAME";
const provisionedBy = "pv.kubernetes.io/provisioned-by";

export default definePlugin({
  provides: storage,
  needs: { kube, node },
  async start(ctx) {
    const { kube: client, node: self } = ctx.needs;
    const informers = { claims: client.informer(persistentVolumeClaims), volumes: client.informer(persistentVolumes), classes: client.informer(storageClasses) };
    ctx.defer(() => Object.values(informers).forEach((informer) => informer.stop()));
    await Promise.all(Object.values(informers).map((informer) => informer.synced));

    async function provision(key: string): Promise<void> {
      const [namespace, name] = splitKey(key);
      const claim = informers.claims.get(name, namespace);
      const chosen = claim?.metadata.annotations?.["volume.kubernetes.io/selected-node"] === self.name;
      const found = informers.classes.get(claim?.spec?.storageClassName ?? "");
      if (!claim || !chosen || claim.spec?.volumeName || found?.provisioner !== provisioner) return;
      const volume: PersistentVolume = {
        metadata: { name: `pvc-${claim.metadata.uid}`, annotations: { [provisionedBy]: provisioner } },
        spec: {
          capacity: { storage: claim.spec?.resources?.requests?.storage ?? "0" }, accessModes: claim.spec?.accessModes ?? [],
          claimRef: { apiVersion: "v1", kind: "PersistentVolumeClaim", namespace, name, uid: claim.metadata.uid! },
          hostPath: { path: join(ctx.dirs.data, claim.metadata.uid!), type: "DirectoryOrCreate" },
          persistentVolumeReclaimPolicy: found.reclaimPolicy ?? "Delete", storageClassName: found.metadata.name!,
        },
      };
      await client.create(persistentVolumes, volume).catch((error) => {
        if (!isAlreadyExists(error)) throw error;
      });
    }
    async function release(name: string): Promise<void> {
      const { metadata, spec, status } = informers.volumes.get(name) ?? {};
      if (metadata?.annotations?.[provisionedBy] !== provisioner || status?.phase !== "Released") return;
      if (spec?.persistentVolumeReclaimPolicy === "Delete") await client.delete(persistentVolumes, name);
    }
    const [claims, volumes] = [workQueue({ name: "claims", reconcile: provision }), workQueue({ name: "volumes", reconcile: release })];
    ctx.defer(() => Promise.all([claims.stop(), volumes.stop()]).then(() => undefined));
    informers.claims.on({ added: (o) => claims.add(keyOf(o)), updated: (o) => claims.add(keyOf(o)) });
    // Each kind is told of by itself, so a claim may be seen before its class.
    informers.classes.on({ added: ({ metadata }) => informers.claims.list().filter((o) => o.spec?.storageClassName === metadata.name).forEach((o) => claims.add(keyOf(o))) });
    informers.volumes.on({ added: (o) => volumes.add(o.metadata.name!), updated: (o) => volumes.add(o.metadata.name!) });
    return { provisioner };
  },
});
