/** PersistentVolumes and PersistentVolumeClaims. */
import type { Behaviour } from "../row.ts";
import { keepStatus, withStatus } from "../strategy.ts";
import type { Obj } from "../types.ts";
import { persistentVolumeClaimColumns, persistentVolumeColumns } from "./columns.ts";
import { defaultPersistentVolume } from "./defaults.ts";
import { defaultClaim } from "./volume-defaults.ts";
import { validateClaimSpec, validateClaimUpdate } from "./validate-claim.ts";
import { validatePersistentVolume, validatePersistentVolumeUpdate } from "./validate-cluster.ts";
import { warnOfFraction } from "./warn-pod.ts";

const CLASS = "volume.beta.kubernetes.io/storage-class";

const warnOfClass = ({ metadata }: Obj): string[] =>
  metadata?.annotations?.[CLASS] === undefined ? [] : [`metadata.annotations[${CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead`];

export const persistentVolume: Behaviour = {
  ...withStatus({ phase: "Pending" }),
  columns: persistentVolumeColumns,
  defaults: defaultPersistentVolume,
  validate: validatePersistentVolume,
  validateUpdate: validatePersistentVolumeUpdate,
  warnings: (volume) => [
    ...warnOfClass(volume), ...warnOfFraction("spec.capacity[storage]", volume.spec.capacity?.storage),
    ...(volume.spec.persistentVolumeReclaimPolicy === "Recycle" ? ["spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."] : []),
  ],
};

/** `dataSource` and `dataSourceRef` say the same for what both can say. */
function syncDataSource(spec: Obj): void {
  const { dataSource, dataSourceRef } = spec;
  if (dataSource && !dataSourceRef) spec.dataSourceRef = { ...dataSource };
  else if (dataSourceRef && !dataSource && !dataSourceRef.namespace) {
    const { apiGroup, kind, name } = dataSourceRef;
    spec.dataSource = { ...(apiGroup !== undefined && { apiGroup }), kind, name };
  }
}

export const persistentVolumeClaim: Behaviour = {
  columns: persistentVolumeClaimColumns,
  defaults: defaultClaim,
  prepareCreate: (object) => {
    object.status = { phase: "Pending" };
    syncDataSource(object.spec);
  },
  prepareUpdate: (object, old) => {
    keepStatus(object, old);
    syncDataSource(object.spec);
  },
  validate: ({ spec }) => validateClaimSpec("spec", spec),
  validateUpdate: validateClaimUpdate,
  warnings: (claim) => [...warnOfClass(claim), ...warnOfFraction("spec.resources.requests[storage]", claim.spec.resources?.requests?.storage)],
};
