import { describe, expect, it } from "vitest";
import { created, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const slices = rowOf("discovery.k8s.io", "endpointslices");
const slice = (extra: Obj = {}): Obj => ({ metadata: { name: "x" }, addressType: "IPv4", endpoints: [{ addresses: ["10.0.0.1"] }], ports: [{ port: 80 }], ...extra });
const zones = (...names: string[]): Obj => ({ endpoints: [{ addresses: ["10.0.0.1"], hints: { forZones: names.map((name) => ({ name })) } }] });

describe("an EndpointSlice", () => {
  it.each<[Obj, ...string[]]>([
    [{ endpoints: [{ addresses: ["x"] }] }, 'endpoints[0].addresses[0]: Invalid value: "x": must be a valid IPv4 address', 'endpoints[0].addresses[0]: Invalid value: "x": must be a valid IP address'],
    [{ endpoints: [{ addresses: ["fd00::1"] }] }, 'endpoints[0].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address'],
    [{ addressType: "IPv6" }, 'endpoints[0].addresses[0]: Invalid value: "10.0.0.1": must be a valid IPv6 address'],
    [{ addressType: "FQDN", endpoints: [{ addresses: ["localhost"] }] }, 'endpoints[0].addresses[0]: Invalid value: "localhost": should be a domain with at least two segments separated by dots'],
    [{ endpoints: [{ addresses: [] }] }, "endpoints[0].addresses: Required value: must contain at least 1 address"],
    [{ ports: [{}, {}] }, 'ports[1].name: Duplicate value: ""'],
    [{ ports: [{ protocol: "x" }] }, 'ports[0].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP"'],
    [{ ports: [{ appProtocol: "a/b/c" }] }, expect.stringContaining('ports[0].appProtocol: Invalid value: "a/b/c": a qualified name must consist of') as unknown as string],
    [zones("a", "a"), 'endpoints[0].hints.forZones[1].name: Duplicate value: "a"'],
    [zones(..."123456789"), "endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"],
    [{ endpoints: [{ addresses: ["10.0.0.1"], hints: { forNodes: [{ name: "A" }] } }] }, expect.stringContaining('endpoints[0].hints.forNodes[0].name: Invalid value: "A": a lowercase RFC 1123 subdomain') as unknown as string],
  ])("is refused with %j", (extra, ...errors) => expect(created(slices, slice(extra)).errors).toEqual(errors));

  it("takes domains and ports without numbers", () => {
    expect(created(slices, slice({ addressType: "FQDN", endpoints: [{ addresses: ["a.example."] }], ports: [{}] })).errors).toEqual([]);
  });

  it("loses the topology of older versions, unless it has it already", () => {
    const topology = { endpoints: [{ addresses: ["10.0.0.1"], conditions: {}, deprecatedTopology: { a: "b" } }] };
    const { object } = created(slices, slice(structuredClone(topology)));
    expect(object.endpoints).toEqual([{ addresses: ["10.0.0.1"], conditions: {} }]);
    const had = { ...object, ...topology };
    expect(updated(slices, had, (o) => (o.metadata!.labels = { a: "b" })).object.endpoints).toEqual(topology.endpoints);
    expect(updated(slices, had, (o) => (o.endpoints[0].addresses = ["10.0.0.2"])).object.endpoints).toEqual([{ addresses: ["10.0.0.2"], conditions: {} }]);
  });

  it("is of another generation when its labels change", () => {
    const { object } = created(slices, slice());
    const generation = (o: Obj): string => JSON.stringify(slices.generationOf!(o));
    expect(generation({ ...object, metadata: { ...object.metadata, labels: { a: "b" } } })).not.toBe(generation(object));
    expect(generation({ ...object, metadata: { ...object.metadata, annotations: { a: "b" } } })).toBe(generation(object));
  });

  it("keeps endpoints that were once taken, and warns of addresses that are written otherwise", () => {
    const old = slice({ addressType: "IPv6", endpoints: [{ addresses: ["::1"], conditions: {} }] });
    expect(updated(slices, old, (o) => (o.metadata!.labels = { a: "b" })).errors).toEqual([]);
    expect(created(slices, old).errors).not.toEqual([]);
    expect(slices.warnings!(slice({ endpoints: [{ addresses: ["fd00::1", "FD00::1"] }] })))
      .toEqual(['endpoints[0].addresses[1]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")']);
  });
});
