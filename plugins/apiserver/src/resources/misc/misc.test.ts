import { describe, expect, it } from "vitest";
import { created, rowOf, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const leases = rowOf("coordination.k8s.io", "leases");
const priorities = rowOf("scheduling.k8s.io", "priorityclasses");
const runtimes = rowOf("node.k8s.io", "runtimeclasses");
const named = (object: Obj, name = "x"): Obj => ({ metadata: { name }, ...object });

it("has no elections that the server coordinates", () => {
  const election = { strategy: "OldestEmulationVersion", preferredHolder: "h" };
  const { object, errors } = created(leases, named({ spec: { holderIdentity: "i", ...election } }));
  expect([object.spec, errors]).toEqual([{ holderIdentity: "i" }, []]);
  expect(updated(leases, object, (o) => Object.assign(o.spec, election)).object.spec).toEqual({ holderIdentity: "i" });
});

describe("a PriorityClass", () => {
  const RESERVED = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: ";
  it.each<[Obj, ...string[]]>([
    [named({ value: 1 }, "system-x"), `${RESERVED}system-x is not a known system priority class`],
    [named({ value: 1 }, "system-node-critical"), `${RESERVED}value of system-node-critical PriorityClass must be 2000001000`],
    [named({ value: 2_000_001_000, globalDefault: true }, "system-node-critical"), `${RESERVED}globalDefault of system-node-critical PriorityClass must be false`],
    [named({ value: 2_000_001_000 }, "system-node-critical")],
    [named({ value: 1, preemptionPolicy: "x" }), 'preemptionPolicy: Unsupported value: "x": supported values: "PreemptLowerPriority", "Never"'],
  ])("of %j", (body, ...errors) => expect(created(priorities, body).errors).toEqual(errors));
});

it("takes for the overhead of a RuntimeClass what containers may have", () => {
  expect(created(runtimes, named({ handler: "h", overhead: { podFixed: { cpu: "1", pods: "1" } } })).errors)
    .toEqual(['overhead.limits[pods]: Invalid value: "pods": must be a standard resource for containers']);
});
