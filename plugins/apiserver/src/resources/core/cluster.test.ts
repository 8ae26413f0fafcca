import { describe, expect, it } from "vitest";
import { created, fakeContext, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const nodes = rowOf("", "nodes");
const namespaces = rowOf("", "namespaces");
const node = (extra: Obj = {}): Obj => ({ metadata: { name: "n" }, ...extra });
const lines = (errors: readonly { field: string; message: string }[] | undefined): string[] => (errors ?? []).map((e) => `${e.field}: ${e.message}`);

describe("a Node", () => {
  const taint = { key: "a", effect: "NoSchedule" };
  it.each<[Obj, ...string[]]>([
    [{ spec: { taints: [taint, taint] } }, 'metadata.taints[1]: Duplicate value: {"Key":"a","Value":"","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair'],
    [{ status: { capacity: { pods: "1500m" }, allocatable: { cpu: "-1" } } }, 'status.capacity.pods: Invalid value: "1500m": must be an integer',
      'status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0'],
    [{ spec: { podCIDRs: ["10.0.0.0/24", "10.0.1.0/24"] } }, 'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family'],
    [{ spec: { podCIDRs: ["10.0.0.0/24", "10.0.0.0/24"] } }, expect.any(String) as unknown as string, 'spec.podCIDRs[1]: Duplicate value: "10.0.0.0/24"'],
  ])("is refused with %j", (extra, ...errors) => expect(created(nodes, node(extra)).errors).toEqual(errors));

  it("has pods of both families", () => {
    expect(created(nodes, node({ spec: { podCIDRs: ["10.0.0.0/24", "fd00::/64"] } })).errors).toEqual([]);
  });

  it.each<[string, Obj, (o: Obj) => void, string[]]>([
    ["range of pods", { podCIDR: "10.0.0.0/24" }, (o) => Object.assign(o.spec, { podCIDR: "10.0.1.0/24" }), ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid']],
    ["external ID", {}, (o) => (o.spec.externalID = "x"), ["spec.externalID: Forbidden: may not be updated"]],
  ])("keeps its %s", (_, spec, change, errors) => expect(updated(nodes, created(nodes, node({ spec })).object, change).errors).toEqual(errors));

  it("tells each address once, whoever writes it", () => {
    const address = { type: "InternalIP", address: "192.0.2.1" };
    const { object } = created(nodes, node());
    const next = { ...object, status: { ...object.status, addresses: [address, address] } };
    expect(lines(nodes.validateStatusUpdate!(next, object, fakeContext()))).toEqual(['status.addresses[1]: Duplicate value: {"Type":"InternalIP","Address":"192.0.2.1"}']);
  });

  it("loses what nothing uses any more", () => {
    const { object } = created(nodes, node({ spec: { configSource: { configMap: {} } }, status: { config: {} } }));
    expect([object.spec, object.status]).not.toContainEqual(expect.objectContaining({ configSource: expect.anything() }));
    expect(object.status).not.toHaveProperty("config");
    expect(updated(nodes, object, (o) => (o.spec.configSource = { configMap: {} })).object.spec).not.toHaveProperty("configSource");
  });
});

describe("a Namespace", () => {
  const namespace = (extra: Obj = {}): Obj => ({ metadata: { name: "n" }, ...extra });

  it("is labelled with its own name, whatever is asked for", () => {
    const { object } = created(namespaces, { metadata: { name: "n", labels: { "kubernetes.io/metadata.name": "other", a: "b" } } });
    expect(object.metadata!.labels).toEqual({ "kubernetes.io/metadata.name": "n", a: "b" });
  });

  it.each<[Obj, string]>([
    [{ status: { phase: "Terminating" } }, "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"],
    [{ metadata: { name: "n", deletionTimestamp: "2020-01-01T00:00:00Z" }, status: { phase: "Active" } },
      "status.Phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty"],
  ])("is not in the phase of %j", (next, error) => {
    expect(lines(namespaces.validateStatusUpdate!({ ...namespace(), ...next }, namespace(), fakeContext()))).toEqual([error]);
  });

  it("says which finalizer is none", () => {
    const next = namespace({ spec: { finalizers: ["kubernetes", "x"] } });
    const why = 'Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified';
    expect(created(namespaces, next).errors).toEqual([`spec.finalizers: ${why}`]);
    expect(lines(namespaces.validateUpdate!(next, namespace(), { ...fakeContext(), subresource: "finalize" }))).toEqual([`spec.finalizers[1]: ${why}`]);
  });
});

describe("an Event", () => {
  const core = rowOf("", "events");
  const events = rowOf("events.k8s.io", "events");
  const report = { eventTime: "2020-01-01T00:00:00.000000Z", reportingController: "c", reportingInstance: "i", action: "a", reason: "r", type: "Normal" };
  const event = (extra: Obj = {}): Obj => ({ apiVersion: "events.k8s.io/v1", metadata: { name: "e" }, regarding: { namespace: "default" }, ...report, ...extra });

  it.each<[Obj, ...string[]]>([
    [{ reason: "r".repeat(129) }, 'reason: Invalid value: "": can have at most 128 characters'],
    [{ note: "n".repeat(1025) }, 'message: Invalid value: "": can have at most 1024 characters'],
    [{ reportingController: "" }, "reportingController: Required value", 'reportingController: Invalid value: "": name part must be non-empty', expect.any(String) as unknown as string],
    [{ series: { count: 1 } }, 'series.count: Invalid value: "": should be at least 2', "series.lastObservedTime: Required value"],
    [{ type: "x" }, 'type: Invalid value: "": has invalid value: x'],
    [{ deprecatedCount: 1, deprecatedSource: { host: "h" } }, 'count: Invalid value: "": needs to be unset', 'source: Invalid value: "": needs to be unset'],
  ])("of events.k8s.io is refused with %j", (extra, ...errors) => expect(created(events, event(extra)).errors).toEqual(errors));

  it("with its time may be about an object of any namespace, and about none in few", () => {
    expect(created(events, event({ regarding: { namespace: "other" } })).errors).toEqual([]);
    expect(created(events, event({ regarding: {}, metadata: { name: "e", namespace: "kube-system" } })).errors).toEqual([]);
    expect(created(events, event({ regarding: {}, metadata: { name: "e", namespace: "other" } })).errors).toEqual(['involvedObject.namespace: Invalid value: "": does not match event.namespace']);
  });

  it("of events.k8s.io changes in its series and its note alone", () => {
    const { object } = created(events, event({ note: "n" }));
    expect(updated(events, object, (o) => (o.series = { count: 2, lastObservedTime: report.eventTime })).errors).toEqual([]);
    expect(updated(events, object, (o) => (o.note = "m")).errors).toEqual([]);
    expect(updated(events, object, (o) => Object.assign(o, { reason: "Other", reportingInstance: "j" })).errors).toEqual([
      'reason: Invalid value: "Other": field is immutable', 'reportingInstance: Invalid value: "j": field is immutable',
    ]);
    const old = created(core, { metadata: { name: "e" }, involvedObject: { namespace: "default" }, message: "n" }).object;
    expect(updated(core, old, (o) => (o.message = "m")).errors).toEqual([]);
  });

  it("of events.k8s.io has the name of an object", () => {
    expect([core.nameRule, events.nameRule]).toEqual(["path", undefined]);
  });
});

it("has no more ready replicas than replicas", () => {
  const row = rowOf("", "replicationcontrollers");
  const next = { metadata: { name: "rc" }, status: { replicas: 1, readyReplicas: 2 } };
  expect(lines(row.validateStatusUpdate!(next, next, fakeContext()))).toEqual(["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]);
});
