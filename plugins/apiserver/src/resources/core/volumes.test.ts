import { describe, expect, it } from "vitest";
import { created, fakeContext, NOW, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const claims = rowOf("", "persistentvolumeclaims");
const volumes = rowOf("", "persistentvolumes");
const claim = (spec: Obj = {}, metadata: Obj = {}): Obj =>
  ({ metadata: { name: "c", ...metadata }, spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, ...spec } });
/** Made of `source` alone, unless that is of other fields. */
const volume = (source: Obj = { hostPath: { path: "/a" } }, spec: Obj = {}): Obj =>
  ({ metadata: { name: "v" }, spec: { accessModes: ["ReadWriteOnce"], capacity: { storage: "1Gi" }, ...source, ...spec } });
const bound = (object: Obj, status: Obj = {}): Obj => ({ ...object, status: { phase: "Bound", ...status } });
const containing = (text: string): string => expect.stringContaining(text) as unknown as string;

const FROZEN = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";
const CLASS = "volume.beta.kubernetes.io/storage-class";

describe("a PersistentVolumeClaim", () => {
  it.each<[Obj, ...string[]]>([
    [{ resources: { requests: { storage: "0" } } }, 'spec.resources[storage]: Invalid value: "0": must be greater than zero'],
    [{ resources: { requests: { storage: "-1" } } }, 'spec.resources[storage]: Invalid value: "-1": must be greater than zero'],
    [{ accessModes: ["x"] }, 'spec.accessModes: Unsupported value: "x": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'],
    [{ accessModes: ["ReadWriteOncePod", "ReadWriteOnce"] }, "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
    [{ volumeMode: "" }, 'spec.volumeMode: Unsupported value: "": supported values: "Block", "Filesystem"'],
    [{ volumeAttributesClassName: "A" }, containing('spec.volumeAttributesClassName: Invalid value: "A": a lowercase RFC 1123 subdomain')],
    [{ dataSourceRef: { kind: "X", name: "x" } },
      `spec.dataSource: Invalid value: "X": must be 'PersistentVolumeClaim' when referencing the default apiGroup`,
      `spec.dataSourceRef: Invalid value: "X": must be 'PersistentVolumeClaim' when referencing the default apiGroup`],
    [{ dataSource: { kind: "PersistentVolumeClaim", name: "a" }, dataSourceRef: { kind: "PersistentVolumeClaim", name: "b" } }, "spec: Invalid value: {}: must match dataSourceRef"],
  ])("is refused with %j", (spec, ...errors) => expect(created(claims, claim(spec)).errors).toEqual(errors));

  it("says the same in both data sources, and nothing of what it cannot have", () => {
    const sources = (spec: Obj): unknown[] => {
      const { object } = created(claims, claim(spec));
      return [object.spec.dataSource, object.spec.dataSourceRef];
    };
    const snapshot = { apiGroup: "snapshot.storage.k8s.io", kind: "VolumeSnapshot", name: "s" };
    expect(sources({ dataSource: snapshot })).toEqual([snapshot, snapshot]);
    expect(sources({ dataSource: { apiGroup: "example.com", kind: "X", name: "x" } })).toEqual([undefined, undefined]);
    expect(sources({ dataSourceRef: { apiGroup: "example.com", kind: "X", name: "x" } })[0]).toEqual({ apiGroup: "example.com", kind: "X", name: "x" });
    expect(sources({ dataSourceRef: { kind: "PersistentVolumeClaim", name: "c", namespace: "other" } })).toEqual([undefined, undefined]);
  });

  const size = (storage: string) => (o: Obj): void => void (o.spec.resources.requests.storage = storage);
  it.each<[string, Obj, (o: Obj) => void, string[]]>([
    ["shows what changed", claim(), (o) => (o.spec.accessModes = ["ReadOnlyMany"]), [containing(`${FROZEN}@@ -1,`)]],
    ["grows when it is bound", bound(claim()), size("2Gi"), []],
    ["does not grow before", claim(), size("2Gi"), [containing(FROZEN)]],
    ["shrinks to what there is not", bound(claim({ resources: { requests: { storage: "3Gi" } } }), { capacity: { storage: "1Gi" } }), size("2Gi"), []],
    ["does not shrink below what there is", bound(claim({ resources: { requests: { storage: "3Gi" } } }), { capacity: { storage: "2Gi" } }), size("2Gi"),
      ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]],
    ["gets its volume once", claim(), (o) => (o.spec.volumeName = "v"), []],
    ["keeps its volume", claim({ volumeName: "v" }), (o) => (o.spec.volumeName = "w"), [containing(FROZEN)]],
    ["gets a class when it has none", bound(claim()), (o) => (o.spec.storageClassName = "fast"), []],
    ["keeps its class", claim({ storageClassName: "" }), (o) => (o.spec.storageClassName = "fast"), [containing(FROZEN)]],
    ["keeps the class of its annotation", claim({}, { annotations: { [CLASS]: "a" } }), (o) => (o.metadata!.annotations = { [CLASS]: "b" }),
      [`metadata.annotations.${CLASS}: Invalid value: "b": field is immutable`]],
    ["takes the class of its annotation as its own", claim({}, { annotations: { [CLASS]: "a" } }), (o) => {
      delete o.metadata!.annotations;
      o.spec.storageClassName = "a";
    }, []],
    ["keeps its mode", claim(), (o) => (o.spec.volumeMode = "Block"), [containing(FROZEN), 'volumeMode: Invalid value: "Block": field is immutable']],
    ["changes its class of attributes when bound", bound(claim({ volumeAttributesClassName: "a" })), (o) => (o.spec.volumeAttributesClassName = "b"), []],
    ["does not change it before", claim({ volumeAttributesClassName: "a" }), (o) => (o.spec.volumeAttributesClassName = "b"), [containing(FROZEN)]],
    ["does not lose it", bound(claim({ volumeAttributesClassName: "a" })), (o) => (o.spec.volumeAttributesClassName = ""),
      ["spec.volumeAttributesClassName: Forbidden: update from non-nil value to an empty string is forbidden"]],
  ])("%s", (_, body, change, errors) => {
    const { object } = created(claims, body);
    expect(updated(claims, { ...object, status: body.status ?? object.status }, change).errors).toEqual(errors);
  });

  it.each<[Obj, string[]]>([
    [{ capacity: { storage: "-1Gi" } }, ["status.capacity[storage]: Invalid value: -1073741824: must be a valid resource quantity"]],
    [{ allocatedResourceStatuses: { storage: "NodeResizePending", cpu: "NodeResizePending" } }, ['status.allocatedResourceStatus: Unsupported value: "cpu": supported values: "storage"']],
    [{ allocatedResources: { cpu: "1", storage: "2Gi" } }, ['status.allocatedResources: Unsupported value: "cpu": supported values: "storage"']],
  ])("may not have the status %j", (status, errors) => {
    expect(claims.validateStatusUpdate!({ ...claim(), status }, claim(), fakeContext()).map((e) => `${e.field}: ${e.message}`)).toEqual(errors);
  });
});

describe("a PersistentVolume", () => {
  it.each<[Obj, ...string[]]>([
    [{ hostPath: {} }, "spec.hostPath.path: Required value"],
    [{ gcePersistentDisk: { partition: 300 } }, "spec.persistentDisk.pdName: Required value", "spec.persistentDisk.partition: Invalid value: 300: must be between 1 and 255, inclusive"],
    [{ nfs: { path: "a" } }, "spec.nfs.server: Required value", 'spec.nfs.path: Invalid value: "a": must be an absolute path'],
    [{ hostPath: { path: "/a" }, cephfs: { monitors: ["a"] } }, "spec.cephFS: Forbidden: may not specify more than 1 volume type"],
    [{ iscsi: { targetPortal: "a", iqn: "x", lun: 256 } }, 'spec.iscsi.iqn: Invalid value: "x": must be valid format', "spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive"],
    [{ iscsi: { targetPortal: "a", iqn: "iqn.2015-02.example.com:test", discoveryCHAPAuth: true } }, "spec.iscsi.secretRef: Required value"],
    [{ fc: {} }, "spec.fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"],
    [{ fc: { targetWWNs: ["a"] } }, "spec.fc.lun: Required value: lun is required if targetWWNs is specified"],
    [{ flexVolume: { driver: "d", options: { "a.k8s.io/x": "" } } }, 'spec.flexVolume.options[a.k8s.io/x]: Invalid value: "a.k8s.io/x": kubernetes.io and k8s.io namespaces are reserved'],
    [{ quobyte: { registry: "a", volume: "v" } }, 'spec.quobyte.registry: Invalid value: "a": must be a host:port pair or multiple pairs separated by commas'],
    [{ azureFile: { secretName: "s", shareName: "s", secretNamespace: "" } }, "spec.azureFile.secretNamespace: Required value"],
    [{ azureDisk: { diskName: "d", diskURI: "x" } }, 'spec.azureDisk.diskURI: Unsupported value: "x": supported values: "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"'],
    [{ storageos: { volumeName: "v", secretRef: {} } }, "spec.storageos.secretRef.name: Required value", "spec.storageos.secretRef.namespace: Required value"],
    [{ csi: {} }, "spec.csi.driver: Required value", containing('spec.csi.driver: Invalid value: "": a lowercase RFC 1123 subdomain'), "spec.csi.volumeHandle: Required value"],
    [{ csi: { driver: "d".repeat(64), volumeHandle: "h", nodePublishSecretRef: { name: "s" } } }, "spec.csi.driver: Too long: may not be more than 63 bytes", "spec.csi.nodePublishSecretRef.namespace: Required value"],
    [{ local: { path: "/a" } }, "spec.nodeAffinity: Required value: Local volume requires node affinity"],
    [{ hostPath: { path: "/" }, persistentVolumeReclaimPolicy: "Recycle" }, "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
    [{ hostPath: { path: "/a" }, capacity: {} }, "spec.capacity: Required value", 'spec.capacity: Unsupported value: {}: supported values: "storage"'],
    [{ hostPath: { path: "/a" }, capacity: { storage: "-1" } }, "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity", 'spec.capacity[storage]: Invalid value: "-1": must be greater than zero'],
    [{ hostPath: { path: "/a" }, volumeAttributesClassName: "" }, "spec.volumeAttributesClassName: Required value: an empty string is disallowed", "spec.csi: Required value: has to be specified when using volumeAttributesClassName"],
  ])("is refused with %j", (source, ...errors) => expect(created(volumes, volume(source)).errors).toEqual(errors));

  const affinity = (key: string): Obj => ({ required: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator: "In", values: ["a"] }] }] } });
  const [oldZone, zone] = ["failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"];
  const csi = { csi: { driver: "d.example", volumeHandle: "h" } };
  it.each<[string, Obj, (o: Obj) => void, string[]]>([
    ["shows what changed of its source", volume(), (o) => (o.spec.hostPath.path = "/b"),
      [containing("spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n@@ -1,")]],
    ["keeps its mode", volume(), (o) => (o.spec.volumeMode = "Block"), ['volumeMode: Invalid value: "Block": field is immutable']],
    ["keeps where it is", volume(undefined, { nodeAffinity: affinity("a") }), (o) => (o.spec.nodeAffinity = affinity("b")),
      [containing("field is immutable, except for updating from beta label to GA")]],
    ["says where it is in newer words", volume(undefined, { nodeAffinity: affinity(oldZone) }), (o) => (o.spec.nodeAffinity = affinity(zone)), []],
    ["gets secrets for its expansion later", volume(csi), (o) => (o.spec.csi.controllerExpandSecretRef = { name: "s", namespace: "n" }), []],
    ["does not lose its class of attributes", volume(csi, { volumeAttributesClassName: "a" }), (o) => delete o.spec.volumeAttributesClassName,
      ["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"]],
    ["may be claimed and kept", volume(), (o) => Object.assign(o.spec, { claimRef: { name: "c" }, persistentVolumeReclaimPolicy: "Delete" }), []],
  ])("%s", (_, body, change, errors) => expect(updated(volumes, created(volumes, body).object, change).errors).toEqual(errors));

  it("tells since when it is in its phase", () => {
    const { object } = created(volumes, volume());
    expect(object.status).toEqual({ phase: "Pending", lastPhaseTransitionTime: NOW });
    const written = (status: Obj, old: Obj): Obj => {
      const next: Obj = { ...object, status };
      volumes.prepareStatusUpdate!(next, { ...object, status: old }, fakeContext());
      return next.status as Obj;
    };
    const before = "2020-01-01T00:00:00Z";
    expect(written({ phase: "Bound" }, { phase: "Available", lastPhaseTransitionTime: before })).toEqual({ phase: "Bound", lastPhaseTransitionTime: NOW });
    expect(written({ phase: "Bound" }, { phase: "Bound", lastPhaseTransitionTime: before })).toEqual({ phase: "Bound", lastPhaseTransitionTime: before });
    expect(written({ phase: "Bound", lastPhaseTransitionTime: "2021-01-01T00:00:00Z" }, { phase: "Available", lastPhaseTransitionTime: before }).lastPhaseTransitionTime).toBe("2021-01-01T00:00:00Z");
  });

  it("warns of what is gone", () => {
    const body = volume({ rbd: { monitors: ["a"], image: "i" } }, { persistentVolumeReclaimPolicy: "Recycle", nodeAffinity: affinity(oldZone) });
    expect(volumes.warnings!(created(volumes, body).object)).toEqual([
      "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
      `spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: ${oldZone} is deprecated since v1.17; use "${zone}" instead`,
      "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
    ]);
  });
});
