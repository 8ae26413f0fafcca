import { expect, test } from "vitest";
import { criticalPath, startOrder } from "./graph.ts";

test("starts providers before those that need them, in a stable order", () => {
  const edges = new Map([["kubelet", ["apiserver", "containerd"]], ["apiserver", ["datastore"]], ["datastore", []], ["containerd", []]]);
  expect(startOrder(edges)).toEqual(["datastore", "apiserver", "containerd", "kubelet"]);
});

test("names the path of a cycle", () => {
  const edges = new Map([["a", ["b"]], ["b", ["c"]], ["c", ["a"]]]);
  expect(() => startOrder(edges)).toThrow("plugins need each other in a circle: a -> b -> c -> a");
});

test("the critical path is the chain that decided when the last plugin was ready", () => {
  const edges = new Map([["datastore", []], ["apiserver", ["datastore"]], ["containerd", []], ["kubelet", ["apiserver", "containerd"]]]);
  const timings = new Map([
    ["datastore", { started: 0, ready: 100 }], ["containerd", { started: 0, ready: 200 }],
    ["apiserver", { started: 100, ready: 400 }], ["kubelet", { started: 400, ready: 450 }],
  ]);
  expect(criticalPath(edges, timings)).toEqual([{ id: "datastore", ms: 100 }, { id: "apiserver", ms: 300 }, { id: "kubelet", ms: 50 }]);
});
