/** Warnings of PersistentVolumes that rely on what is gone or going. */
import { items } from "../fields.ts";
import type { Obj } from "../types.ts";
import { oldLabels, oldVolumes } from "./warn-pod.ts";

/** Plugins of volumes that upstream warns of in PersistentVolumes, in its order. */
const oldPlugins = ["cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"];
const RECYCLE = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";

export function warnOfPersistent(spec: Obj): string[] {
  const required = items(spec.nodeAffinity?.required, "nodeSelectorTerms");
  return [
    ...(spec.persistentVolumeReclaimPolicy === "Recycle" ? [`spec.persistentVolumeReclaimPolicy: ${RECYCLE}`] : []),
    ...required.flatMap((term, i) => items(term, "matchExpressions").flatMap(({ key }, j) => (oldLabels[key]
      ? [`spec.nodeAffinity.required.nodeSelectorTerms[${i}].matchExpressions[${j}].key: ${key} is ${oldLabels[key]}`] : []))),
    ...oldPlugins.filter((name) => spec[name]).map((name) => `spec.${name === "storageos" ? "storageOS" : name}: ${oldVolumes[name]}`),
  ];
}
