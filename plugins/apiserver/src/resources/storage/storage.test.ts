import { describe, expect, it } from "vitest";
import { created, fakeContext, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const GROUP = "storage.k8s.io";
const named = (object: Obj): Obj => ({ metadata: { name: "x" }, ...object });
const containing = (text: string): string => expect.stringContaining(text) as unknown as string;
const driver = (spec: Obj = {}): Obj => named({ spec });
const attachment = (source: Obj, spec: Obj = {}): Obj => named({ spec: { attacher: "d.example", nodeName: "n", source, ...spec } });
const inline = (spec: Obj): Obj => attachment({ inlineVolumeSpec: { accessModes: ["ReadWriteOnce"], csi: { driver: "d.example", volumeHandle: "h" }, ...spec } });
const EITHER = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

describe("a refused creation", () => {
  it.each<[string, Obj, ...string[]]>([
    ["storageclasses", { provisioner: "a/b", reclaimPolicy: "Recycle" }, 'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'],
    ["storageclasses", { provisioner: "a/b", volumeBindingMode: "x" }, 'volumeBindingMode: Unsupported value: "x": supported values: "Immediate", "WaitForFirstConsumer"'],
    ["storageclasses", { provisioner: "a/b", allowedTopologies: [{}] }, 'allowedTopologies[0].matchLabelExpressions: Duplicate value: ""'],
    ["storageclasses", { provisioner: "a/b", parameters: Object.fromEntries(Array.from({ length: 513 }, (_, i) => [`p${i}`, ""])) }, "parameters: Too long: may not be more than 512 bytes"],
    ["volumeattributesclasses", { driverName: "d" }, "parameters: Required value: must contain at least one key/value pair"],
    ["csidrivers", driver({ volumeLifecycleModes: ["x"] }), 'spec.volumeLifecycleModes: Unsupported value: "x": supported values: "Persistent", "Ephemeral"'],
    ["csidrivers", driver({ tokenRequests: [{ expirationSeconds: 2 ** 33 }, { expirationSeconds: 1 }] }),
      "spec.tokenRequests[0].expirationSeconds: Invalid value: 8589934592: may not specify a duration larger than 2^32 seconds", 'spec.tokenRequests[1].audience: Duplicate value: ""'],
    ["csidrivers", driver({ nodeAllocatableUpdatePeriodSeconds: 9 }), "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"],
    ["csidrivers", driver({ serviceAccountTokenInSecrets: true }), "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified"],
    ["csinodes", driver({ drivers: [{ name: "d", nodeID: "n".repeat(257), topologyKeys: ["a", "a"] }, { name: "d", nodeID: "n", allocatable: { count: -1 } }] }),
      containing("must be 256 characters or less"), 'spec.drivers[0]: Duplicate value: "a"',
      "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0", 'spec.drivers[1].name: Duplicate value: "d"'],
    ["volumeattachments", attachment({}), `spec.source: Required value: ${EITHER}`],
    ["volumeattachments", attachment({ persistentVolumeName: "v", inlineVolumeSpec: {} }), `spec.source: Forbidden: ${EITHER}`],
    ["volumeattachments", attachment({ persistentVolumeName: "v" }, { nodeName: "" }), containing('spec.nodeName: Invalid value: "": a lowercase RFC 1123 subdomain')],
    ["volumeattachments", attachment({ persistentVolumeName: "v" }, { attacher: "" }), "spec.attacher: Required value", "spec.attacher: Required value", containing('spec.attacher: Invalid value: ""')],
    ["volumeattachments", inline({ capacity: { storage: "1" }, storageClassName: "c", volumeMode: "Block" }),
      "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
      "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
      "spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes"],
    ["csistoragecapacities", { capacity: "-1" }, containing('storageClassName: Invalid value: "": a lowercase RFC 1123 subdomain'), 'capacity: Invalid value: "-1": must be greater than or equal to 0'],
  ])("of %s %j", (plural, body, ...errors) => expect(created(rowOf(GROUP, plural), named(body)).errors).toEqual(errors));
});

it("takes volumes of attachments alone", () => {
  expect(created(rowOf(GROUP, "volumeattachments"), inline({ persistentVolumeReclaimPolicy: "Retain", volumeMode: "Filesystem" })).errors).toEqual([]);
});

describe("a refused update", () => {
  const drivers = [{ name: "d", nodeID: "n", topologyKeys: ["a"] }];
  it.each<[string, Obj, (o: Obj) => void, ...string[]]>([
    ["storageclasses", { provisioner: "a/b" }, (o) => (o.reclaimPolicy = "Retain"), "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."],
    ["storageclasses", { provisioner: "a/b" }, (o) => (o.volumeBindingMode = "WaitForFirstConsumer"), 'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable'],
    ["volumeattributesclasses", { driverName: "d", parameters: { a: "b" } }, (o) => (o.driverName = "e"), "driverName: Forbidden: updates to driverName are forbidden."],
    ["csidrivers", driver(), (o) => (o.spec.attachRequired = false), "spec.attachedRequired: Invalid value: false: field is immutable"],
    ["csinodes", driver({ drivers }), (o) => (o.spec.drivers[0].nodeID = "m"), 'spec.drivers: Invalid value: {"Name":"d","NodeID":"m","TopologyKeys":["a"],"Allocatable":null}: field is immutable'],
    ["csinodes", driver({ drivers }), (o) => (o.spec.drivers[0].allocatable = { count: 1 })],
    ["csinodes", driver({ drivers }), (o) => (o.spec.drivers = [{ name: "e", nodeID: "n" }])],
    ["csistoragecapacities", { storageClassName: "a" }, (o) => (o.storageClassName = "b"), 'storageClassName: Invalid value: "b": field is immutable'],
  ])("of %s %j", (plural, body, change, ...errors) => {
    const row = rowOf(GROUP, plural);
    expect(updated(row, created(row, named(body)).object, change).errors).toEqual(errors);
  });

  it("of the status of an attachment", () => {
    const row = rowOf(GROUP, "volumeattachments");
    const old = created(row, attachment({ persistentVolumeName: "v" })).object;
    const next = { ...old, status: { attached: false, attachError: { message: "x".repeat(1025), errorCode: -1 } } };
    expect(row.validateStatusUpdate!(next, old, fakeContext()).map((e) => `${e.field}: ${e.message}`)).toEqual([
      "status.attachError.message: Too long: may not be more than 262144 bytes",
      "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ]);
  });
});

it("counts the changes of a driver from the first", () => {
  const row = rowOf(GROUP, "csidrivers");
  const { object } = created(row, driver());
  const once = updated(row, object, (o) => (o.spec.requiresRepublish = true)).object;
  const twice = updated(row, once, (o) => (o.spec.seLinuxMount = true)).object;
  const other = updated(row, twice, (o) => (o.spec.storageCapacity = true)).object;
  expect([object, once, twice, other].map(({ metadata }) => metadata!.generation)).toEqual([undefined, 1, 2, 2]);
});
