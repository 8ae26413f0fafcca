/** The PersistentVolume that stands for a folder on one node. */
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from "@k3s-p/plugin-api/kube";

export const provisioner = "rancher.io/local-path";
export const provisionedBy = "pv.kubernetes.io/provisioned-by";
export const selectedNode = "volume.kubernetes.io/selected-node";
const volumeNode = "local.path.provisioner/selected-node";

export interface VolumeRequest {
  readonly name: string;
  readonly path: string;
  readonly node: string;
  /** Value of the node's label kubernetes.io/hostname. */
  readonly hostname: string;
  readonly claim: PersistentVolumeClaim;
  readonly storageClass: StorageClass;
}

export function volumeFor({ name, path, node, hostname, claim, storageClass }: VolumeRequest): PersistentVolume {
  const { metadata, spec } = claim;
  const type = metadata.annotations?.["volumeType"] ?? storageClass.metadata.annotations?.["defaultVolumeType"] ?? "hostPath";
  const source = type.toLowerCase() === "local" ? { local: { path } } : { hostPath: { path, type: "DirectoryOrCreate" } };
  const expression = { key: "kubernetes.io/hostname", operator: "In", values: [hostname] };
  return {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name, annotations: { [provisionedBy]: provisioner, [volumeNode]: node } },
    spec: {
      ...source,
      accessModes: spec?.accessModes ?? [],
      capacity: { storage: spec?.resources?.requests?.["storage"] ?? "0" },
      claimRef: {
        apiVersion: "v1", kind: "PersistentVolumeClaim", name: metadata.name!, namespace: metadata.namespace!, uid: metadata.uid!,
        ...(metadata.resourceVersion && { resourceVersion: metadata.resourceVersion }),
      },
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [expression] }] } },
      persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? "Delete",
      storageClassName: storageClass.metadata.name!,
      volumeMode: "Filesystem",
      ...(storageClass.mountOptions && { mountOptions: storageClass.mountOptions }),
    },
  };
}

/** The node that holds the volume's folder. */
export const nodeOfVolume = (volume: PersistentVolume): string | undefined => volume.metadata.annotations?.[volumeNode];

export const pathOfVolume = ({ spec }: PersistentVolume): string | undefined => spec?.local?.path ?? spec?.hostPath?.path;
