/** Table columns of storage.k8s.io. */
import { ageColumn, integer, nameColumn, nameColumnWith, text } from "../columns.ts";
import type { Column, Obj } from "../types.ts";

const isTrue = (value: unknown): boolean => value === true;
const flag = (name: string, description: string, value: (object: Obj) => boolean): Column =>
  ({ name, type: "boolean", priority: 0, description, value });

const isDefault = (o: Obj): boolean =>
  ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
    .some((key) => o.metadata?.annotations?.[key] === "true");

export const storageClassColumns: readonly Column[] = [
  nameColumnWith((o) => (isDefault(o) ? `${o.metadata?.name} (default)` : (o.metadata?.name ?? ""))),
  text("Provisioner", "Who makes volumes of the class.", (o) => o.provisioner ?? ""),
  text("ReclaimPolicy", "What becomes of a volume when its claim goes.", (o) => o.reclaimPolicy ?? "Delete"),
  text("VolumeBindingMode", "When a volume is made and bound.", (o) => o.volumeBindingMode ?? "Immediate"),
  text("AllowVolumeExpansion", "Whether claims may grow.", (o) => String(o.allowVolumeExpansion ?? false)),
  ageColumn,
];

export const volumeAttributesClassColumns: readonly Column[] = [
  nameColumnWith((o) => (isDefault(o) ? `${o.metadata?.name} (default)` : (o.metadata?.name ?? ""))),
  text("DriverName", "Driver that the class is for.", (o) => o.driverName ?? ""),
  ageColumn,
];

export const volumeAttachmentColumns: readonly Column[] = [
  nameColumn,
  { ...text("Attacher", "Driver that attaches.", (o) => o.spec?.attacher ?? ""), format: "name" },
  text("PV", "Volume that is attached.", (o) => o.spec?.source?.persistentVolumeName ?? ""),
  text("Node", "Node that it is attached to.", (o) => o.spec?.nodeName ?? ""),
  flag("Attached", "Whether it is attached.", (o) => isTrue(o.status?.attached)),
  ageColumn,
];

export const csiNodeColumns: readonly Column[] = [
  nameColumn,
  integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node", (o) => o.spec?.drivers?.length ?? 0),
  ageColumn,
];

export const csiDriverColumns: readonly Column[] = [
  nameColumn,
  flag("AttachRequired", "Whether volumes must be attached.", (o) => o.spec?.attachRequired !== false),
  flag("PodInfoOnMount", "Whether the driver wants to know the pod.", (o) => isTrue(o.spec?.podInfoOnMount)),
  flag("StorageCapacity", "Whether the driver publishes its capacity.", (o) => isTrue(o.spec?.storageCapacity)),
  text("TokenRequests", "Audiences of the tokens that the driver gets.", (o) =>
    (o.spec?.tokenRequests ?? []).map((r: Obj) => r.audience).join(",") || "<unset>"),
  flag("RequiresRepublish", "Whether volumes are published again and again.", (o) => isTrue(o.spec?.requiresRepublish)),
  text("Modes", "Lifecycles that the driver supports.", (o) => (o.spec?.volumeLifecycleModes ?? []).join(",") || "<none>"),
  ageColumn,
];

export const csiStorageCapacityColumns: readonly Column[] = [
  nameColumn,
  text("StorageClassName", "Class that the capacity is for.", (o) => o.storageClassName ?? ""),
  text("Capacity", "Free space.", (o) => o.capacity ?? "<unset>"),
];
