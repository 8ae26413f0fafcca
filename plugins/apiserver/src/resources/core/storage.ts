/** PersistentVolumes and PersistentVolumeClaims. */
import { same } from "../fields.ts";
import type { Behaviour } from "../row.ts";
import { keepStatus } from "../strategy.ts";
import type { Obj, StrategyContext } from "../types.ts";
import { persistentVolumeClaimColumns, persistentVolumeColumns } from "./columns.ts";
import { defaultPersistentVolume } from "./defaults.ts";
import { validateClaimSpec, CLASS, validateClaimStatus, validateClaimUpdate } from "./validate-claim.ts";
import { validatePersistentVolume, validatePersistentVolumeUpdate } from "./validate-persistent.ts";
import { defaultClaim } from "./volume-defaults.ts";
import { warnOfPersistent } from "./warn-persistent.ts";
import { warnOfFraction } from "./warn-pod.ts";

const warnOfClass = ({ metadata }: Obj): string[] =>
  metadata?.annotations?.[CLASS] === undefined ? [] : [`metadata.annotations[${CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead`];

export const persistentVolume: Behaviour = {
  columns: persistentVolumeColumns,
  defaults: defaultPersistentVolume,
  prepareCreate: (volume, { now }) => {
    volume.status = { phase: "Pending", lastPhaseTransitionTime: now };
  },
  prepareUpdate: keepStatus,
  prepareStatusUpdate: stampPhase,
  validate: validatePersistentVolume,
  validateUpdate: validatePersistentVolumeUpdate,
  warnings: (volume) => [...warnOfClass(volume), ...warnOfPersistent(volume.spec), ...warnOfFraction("spec.capacity[storage]", volume.spec.capacity?.storage)],
};

/** A change of phase gets the time, unless the writer gives one. */
function stampPhase({ status }: Obj, { status: old = {} }: Obj, { now }: StrategyContext): void {
  const isGiven = status.lastPhaseTransitionTime != null && status.lastPhaseTransitionTime !== old.lastPhaseTransitionTime;
  if (isGiven) return;
  if (status.phase !== old.phase) status.lastPhaseTransitionTime = now;
  else if (status.lastPhaseTransitionTime == null && old.lastPhaseTransitionTime != null) status.lastPhaseTransitionTime = old.lastPhaseTransitionTime;
}

/**
 * `dataSource` and `dataSourceRef` say the same for what both can say. What the older one cannot be, and references to
 * other namespaces (an alpha of upstream's, switched off), are ignored; a claim that has one keeps it.
 */
function settleDataSources(spec: Obj, old?: Obj): void {
  if (spec.dataSourceRef?.namespace && !old?.dataSourceRef) delete spec.dataSourceRef;
  const isInUse = old?.dataSource || old?.dataSourceRef;
  if (!isInUse && !spec.dataSourceRef && !isClassicSource(spec.dataSource)) delete spec.dataSource;
  const { dataSource, dataSourceRef } = spec;
  if (dataSource && !dataSourceRef) spec.dataSourceRef = { ...dataSource };
  else if (dataSourceRef && !dataSource && !dataSourceRef.namespace) {
    const { apiGroup, kind, name } = dataSourceRef;
    spec.dataSource = { ...(apiGroup !== undefined && { apiGroup }), kind, name };
  }
}

const isClassicSource = (source: Obj | undefined): boolean =>
  [{ kind: "PersistentVolumeClaim", apiGroup: "" }, { kind: "VolumeSnapshot", apiGroup: "snapshot.storage.k8s.io" }]
    .some((classic) => same(classic, { kind: source?.kind, apiGroup: source?.apiGroup ?? "" }));

export const persistentVolumeClaim: Behaviour = {
  columns: persistentVolumeClaimColumns,
  defaults: defaultClaim,
  prepareCreate: (object) => {
    object.status = { phase: "Pending" };
    settleDataSources(object.spec);
  },
  prepareUpdate: (object, old) => {
    keepStatus(object, old);
    settleDataSources(object.spec, old.spec);
  },
  validate: ({ spec }) => validateClaimSpec("spec", spec),
  validateUpdate: validateClaimUpdate,
  validateStatusUpdate: validateClaimStatus,
  warnings: (claim) => [
    ...warnOfClass(claim),
    ...["requests", "limits"].flatMap((list) => warnOfFraction(`spec.resources.${list}[storage]`, claim.spec.resources?.[list]?.storage)),
  ],
};
