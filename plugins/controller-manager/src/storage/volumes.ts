/** What the volume binder knows about claims, volumes and classes: annotations, classes, and which volume fits. Pure. */
import {
  compareQuantity, matchesSelector,
  type PersistentVolume, type PersistentVolumeClaim, type StorageClass,
} from "@k3s-p/plugin-api/kube";

export const annotation = {
  bindCompleted: "pv.kubernetes.io/bind-completed",
  boundByController: "pv.kubernetes.io/bound-by-controller",
  provisionedBy: "pv.kubernetes.io/provisioned-by",
  selectedNode: "volume.kubernetes.io/selected-node",
  provisioner: "volume.kubernetes.io/storage-provisioner",
  betaProvisioner: "volume.beta.kubernetes.io/storage-provisioner",
  betaClass: "volume.beta.kubernetes.io/storage-class",
  defaultClass: "storageclass.kubernetes.io/is-default-class",
} as const;

type Annotated = { metadata: { annotations?: Record<string, string> } };
export const has = (object: Annotated, name: string): boolean => object.metadata.annotations?.[name] !== undefined;

/** The beta annotation wins over the field, as upstream still has it. */
export const classOfClaim = (claim: PersistentVolumeClaim): string =>
  claim.metadata.annotations?.[annotation.betaClass] ?? claim.spec?.storageClassName ?? "";
const classOfVolume = (volume: PersistentVolume): string =>
  volume.metadata.annotations?.[annotation.betaClass] ?? volume.spec?.storageClassName ?? "";
/** A claim that names no class at all; `""` is a choice. */
export const namesNoClass = (claim: PersistentVolumeClaim): boolean =>
  claim.spec?.storageClassName === undefined && !has(claim, annotation.betaClass);

/** The newest of the classes that are marked as default. */
export function defaultClass(classes: readonly StorageClass[]): StorageClass | undefined {
  return classes
    .filter((sc) => sc.metadata.annotations?.[annotation.defaultClass] === "true")
    .sort(
      (a, b) =>
        Date.parse(b.metadata.creationTimestamp!) - Date.parse(a.metadata.creationTimestamp!) ||
        (a.metadata.name! < b.metadata.name! ? -1 : 1),
    )[0];
}

/** The reference names the claim; with a uid it must be the very one. */
export function refersTo(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const ref = volume.spec?.claimRef;
  if (!ref || ref.name !== claim.metadata.name || ref.namespace !== claim.metadata.namespace) return false;
  return !ref.uid || ref.uid === claim.metadata.uid;
}

const modeOf = (object: { spec?: { volumeMode?: string } }): string => object.spec?.volumeMode ?? "Filesystem";
const isBigEnough = (volume: PersistentVolume, claim: PersistentVolumeClaim): boolean =>
  compareQuantity(volume.spec?.capacity?.storage ?? "0", claim.spec?.resources?.requests?.storage ?? "0") >= 0;
const allowsModes = (volume: PersistentVolume, claim: PersistentVolumeClaim): boolean =>
  (claim.spec?.accessModes ?? []).every((mode) => volume.spec?.accessModes?.includes(mode));

/** Why a volume that a claim asks for by name cannot serve it. */
export function mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim): string | undefined {
  if (!isBigEnough(volume, claim)) return "requested PV is too small";
  if (classOfVolume(volume) !== classOfClaim(claim)) return "storageClassName does not match";
  if (modeOf(volume) !== modeOf(claim)) return "incompatible volumeMode";
  return allowsModes(volume, claim) ? undefined : "incompatible accessMode";
}

/** The volume that is reserved for the claim, else the smallest free one that fits; with `onlyReserved` none that is free. */
export function bestMatch(
  volumes: readonly PersistentVolume[], claim: PersistentVolumeClaim, onlyReserved: boolean,
): PersistentVolume | undefined {
  const usable = volumes.filter(
    (volume) => !volume.metadata.deletionTimestamp && modeOf(volume) === modeOf(claim) && isBigEnough(volume, claim),
  );
  const reserved = usable.find((volume) => refersTo(volume, claim));
  if (reserved) return reserved;
  if (onlyReserved) return undefined;
  return usable
    .filter(
      (volume) =>
        !volume.spec?.claimRef &&
        volume.status?.phase === "Available" &&
        allowsModes(volume, claim) &&
        classOfVolume(volume) === classOfClaim(claim) &&
        (!claim.spec?.selector || matchesSelector(claim.spec.selector, volume.metadata.labels)),
    )
    .sort(
      (a, b) =>
        compareQuantity(a.spec?.capacity?.storage ?? "0", b.spec?.capacity?.storage ?? "0") ||
        (a.metadata.name! < b.metadata.name! ? -1 : 1),
    )[0];
}
