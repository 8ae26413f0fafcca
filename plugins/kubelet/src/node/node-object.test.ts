import { expect, test } from "vitest";
import type { NodeInfo } from "@k3s-p/plugin-api/slots";
import type { Machine } from "./machine.ts";
import { testOptions } from "../testing/harness.ts";
import { newNode, nodeStatus, type NodeState, statusPatch } from "./node-object.ts";

const machine = { capacity: { cpu: "2", pods: "110" }, allocatable: { cpu: "1900m", pods: "110" }, info: {} } as unknown as Machine;
const node = { name: "n", ip: "192.0.2.1" } as NodeInfo;
const state: NodeState = { images: [], runtimeVersion: "x", problem: undefined, diskPressure: false, memoryPressure: false, pidPressure: false };
const status = (before: object) => nodeStatus(node, 10250, machine, state, before, "2026-01-01T00:00:00Z");

test("the Node names its outer address where kubectl and where K3s's tools look for it", () => {
  const outer = { ...node, externalIp: "198.51.100.7", labels: {}, taints: [] };
  const { metadata, status: shown } = newNode(outer, testOptions, machine, nodeStatus(outer, 10250, machine, state, undefined, "2026-01-01T00:00:00Z"));
  expect(metadata.annotations).toMatchObject({ "k3s.io/internal-ip": "192.0.2.1", "k3s.io/external-ip": "198.51.100.7" });
  expect(shown!.addresses).toEqual([{ type: "InternalIP", address: "192.0.2.1" }, { type: "ExternalIP", address: "198.51.100.7" }, { type: "Hostname", address: "n" }]);
});

test("an extended resource that somebody states as capacity can be allocated", () => {
  const before = { capacity: { cpu: "9", "example.com/gpu": "4" }, allocatable: { cpu: "1900m" } };
  const next = status(before);
  expect(next.capacity).toEqual({ cpu: "2", pods: "110", "example.com/gpu": "4" });
  expect(next.allocatable).toEqual({ cpu: "1900m", pods: "110", "example.com/gpu": "4" });
  expect(statusPatch(before, next, machine)).toMatchObject({ capacity: machine.capacity, allocatable: next.allocatable! });
});

test("what is no longer capacity is taken out of what can be allocated", () => {
  const before = { capacity: { cpu: "2", pods: "110" }, allocatable: { cpu: "1900m", pods: "110", "example.com/gpu": "4" } };
  expect(status(before).allocatable).toEqual(machine.allocatable);
  expect(statusPatch(before, status(before), machine)).toMatchObject({ allocatable: { "example.com/gpu": null } });
});
