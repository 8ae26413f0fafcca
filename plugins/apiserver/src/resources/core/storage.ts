/** PersistentVolumes and PersistentVolumeClaims. */
import type { Behaviour } from "../row.ts";
import { withStatus } from "../strategy.ts";
import { persistentVolumeClaimColumns, persistentVolumeColumns } from "./columns.ts";
import { defaultPersistentVolume } from "./defaults.ts";
import { defaultClaim } from "./volume-defaults.ts";

export const persistentVolume: Behaviour = {
  ...withStatus({ phase: "Pending" }),
  columns: persistentVolumeColumns,
  defaults: defaultPersistentVolume,
};

export const persistentVolumeClaim: Behaviour = {
  ...withStatus({ phase: "Pending" }),
  columns: persistentVolumeClaimColumns,
  defaults: defaultClaim,
};
