import { describe, expect, it } from "vitest";
import { created, rowOf, statusUpdated, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const claims = rowOf("resource.k8s.io", "resourceclaims", "v1");
const slices = rowOf("resource.k8s.io", "resourceslices", "v1");

const request = { name: "gpu", exactly: { deviceClassName: "gpu.example.com" } };
const claim = (devices: Obj = {}): Obj => ({ metadata: { name: "c" }, spec: { devices: { requests: [request], ...devices } } });
const at = "spec.devices";
const reference = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const wanted = (exactly: Obj): Obj => ({ requests: [{ name: "gpu", exactly: { deviceClassName: "c", ...exactly } }] });

describe("a ResourceClaim", () => {
  it.each<[Obj, ...string[]]>([
    [{ constraints: [{ requests: ["gpu"], matchAttribute: "example.com/numa" }], config: [{ requests: ["gpu"], opaque: { driver: "d.example.com", parameters: {} } }] }],
    [{ requests: [{ ...request, firstAvailable: [{ name: "a", deviceClassName: "c" }] }] },
      `${at}.requests[0]: Invalid value: null: exactly one of \`exactly\` or \`firstAvailable\` is required, but multiple fields are set`],
    [{ requests: [request, request] }, `${at}.requests[1]: Duplicate value: "gpu"`],
    [{ constraints: [{ requests: ["a/b/c"], matchAttribute: "a.b/c" }] }, `${at}.constraints[0].requests[0]: Invalid value: "a/b/c": ${reference}`],
    [{ constraints: [{ requests: ["gpu", "gpu"], matchAttribute: "a.b/c" }] }, `${at}.constraints[0].requests[1]: Duplicate value: "gpu"`],
    [{ constraints: [{ matchAttribute: "numa" }] }, `${at}.constraints[0].matchAttribute: Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash`],
    [{ constraints: [{}] }, `${at}.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`],
    [{ config: [{ opaque: { driver: "d.example.com", parameters: { text: "x".repeat(10_240) } } }] }, `${at}.config[0].opaque.parameters: Too long: may not be more than 10240 bytes`],
    [{ requests: Array.from({ length: 33 }, () => ({})) }, `${at}.requests: Too many: 33: must have at most 32 items`],
    [wanted({ tolerations: [{ operator: "Exists", effect: "None" }] })],
    [wanted({ tolerations: [{ operator: "Exists", value: "x" }] }), `${at}.requests[0].exactly.tolerations[0].value: Invalid value: "x": must be empty for operator \`Exists\``],
    [wanted({ tolerations: [{ operator: "Lt", effect: "PreferNoSchedule" }] }),
      `${at}.requests[0].exactly.tolerations[0].operator: Unsupported value: "Lt": supported values: "Equal", "Exists"`,
      `${at}.requests[0].exactly.tolerations[0].effect: Unsupported value: "PreferNoSchedule": supported values: "NoExecute", "NoSchedule", "None"`],
  ])("with devices %j is judged", (devices, ...errors) => expect(created(claims, claim(devices)).errors).toEqual(errors));

  const result = { request: "gpu", driver: "d.example.com", pool: "p/q", device: "gpu-0" };
  const allocation = { devices: { results: [result] } };
  const pod = { resource: "pods", name: "p", uid: "1" };
  const inUse = { allocation, reservedFor: [pod] };
  it.each<[string, Obj, Obj, ...string[]]>([
    ["allocated and in use", {}, inUse],
    ["in use without an allocation", {}, { reservedFor: [pod] }, "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
    ["in use twice by one", {}, { allocation, reservedFor: [pod, pod] }, 'status.reservedFor[1]: Duplicate value: "1"'],
    ["in use by nobody known", {}, { allocation, reservedFor: [{ resource: "pods" }] }, "status.reservedFor[0].name: Required value", "status.reservedFor[0].uid: Required value"],
    ["given another device", inUse, { allocation: { devices: { results: [] } } }, 'status.allocation: Invalid value: {"devices":{"results":[]}}: field is immutable'],
    ["released", inUse, {}],
    ["allocated for a request that it lacks", {}, { allocation: { devices: { results: [{ ...result, request: "x" }] } } },
      `status.allocation.devices.results[0].request: Invalid value: "x": ${reference}`],
    ["told of a device", {}, { allocation, devices: [{ driver: result.driver, pool: result.pool, device: result.device, data: {} }] }],
    ["told of another device", {}, { allocation, devices: [{ driver: result.driver, pool: result.pool, device: "gpu-1" }] },
      'status.devices[0]: Invalid value: "d.example.com/p/q/gpu-1": must be an allocated device in the claim'],
  ])("is %s", (_, before, status, ...errors) => expect(statusUpdated(claims, { ...claim(), status: before }, status)).toEqual(errors));

  it("takes no new user once it is deleted", () => {
    const old = { ...claim(), status: inUse };
    old.metadata!.deletionTimestamp = "2026-01-01T00:00:00Z";
    expect(statusUpdated(claims, old, { ...inUse, reservedFor: [{ ...pod, uid: "2" }] })).toEqual([
      "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
    ]);
  });
});

const slice = (spec: Obj = {}): Obj => ({
  metadata: { name: "s" },
  spec: { driver: "d.example.com", nodeName: "n", pool: { name: "p", generation: 1, resourceSliceCount: 1 }, devices: [{ name: "d" }], ...spec },
});
const device = (more: Obj): Obj => ({ devices: [{ name: "d", ...more }] });
const d = "spec.devices[0]";

describe("a ResourceSlice", () => {
  it.each<[Obj, ...string[]]>([
    [device({ attributes: { model: { string: "x" }, "example.com/v": { version: "1.2.3-rc.1" } }, capacity: { memory: { value: "1Gi" } }, taints: [{ key: "k", effect: "None" }] })],
    [{ allNodes: true }, 'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set'],
    [{ allNodes: false }, "spec.allNodes: Invalid value: false: must be either unset or set to true"],
    [{ sharedCounters: [{ name: "c", counters: { m: { value: "1" } } }] }, 'spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'],
    [{ devices: undefined, sharedCounters: [{ name: "c" }] }, "spec.sharedCounters[0].counters: Required value"],
    [device({ attributes: { a: {} } }), `${d}.attributes[a]: Invalid value: "": exactly one value must be specified`],
    [device({ attributes: { a: { version: "1" } } }), `${d}.attributes[a].version: Invalid value: "1": must be a string compatible with semver.org spec 2.0.0`],
    [device({ attributes: { "/a": { int: 1 } } }), `${d}.attributes[/a]: Invalid value: "": the domain must not be empty`],
    [device({ capacity: { m: { value: "1", requestPolicy: {} } } }), `${d}.capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true`],
    [device({ taints: [{ key: "k", effect: "PreferNoSchedule" }] }), `${d}.taints[0].effect: Unsupported value: "PreferNoSchedule": supported values: "NoExecute", "NoSchedule", "None"`],
    [device({ allNodes: true }), `${d}: Invalid value: null: \`nodeName\`, \`nodeSelector\` and \`allNodes\` can only be set if \`perDeviceNodeSelection\` is set to true in the ResourceSlice spec`],
    [{ nodeName: undefined, perDeviceNodeSelection: true },
      `${d}: Required value: exactly one of \`nodeName\`, \`nodeSelector\`, or \`allNodes\` is required when \`perDeviceNodeSelection\` is set to true in the ResourceSlice spec`],
  ])("with %j is judged", (spec, ...errors) => expect(created(slices, slice(spec)).errors).toEqual(errors));

  it("stays with its driver, pool and node", () => {
    const { errors } = updated(slices, slice(), ({ spec }) => {
      Object.assign(spec, { driver: "e.example.com", nodeName: "m" });
      spec.pool.name = "q";
    });
    expect(errors).toEqual([
      'spec.pool.name: Invalid value: "q": field is immutable', 'spec.driver: Invalid value: "e.example.com": field is immutable', 'spec.nodeName: Invalid value: "m": field is immutable',
    ]);
  });
});
