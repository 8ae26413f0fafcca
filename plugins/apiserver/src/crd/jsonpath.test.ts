import { describe, expect, it } from "vitest";
import { customColumns } from "./columns.ts";
import { parseJsonPath } from "./jsonpath.ts";

const object = {
  metadata: { name: "n", annotations: { "example.com/a": "x" }, creationTimestamp: "2026-01-01T00:00:00Z" },
  spec: { hosts: ["a", "b", "c"], count: 3, ratio: 1.5, on: true, nothing: null },
  status: { conditions: [{ type: "Ready", status: "True", n: 1 }, { type: "Old", status: "False", n: 2 }] },
};

describe("JSONPath", () => {
  it.each<[string, unknown[]]>([
    [".metadata.name", ["n"]], ["{.metadata.name}", ["n"]], ["$.metadata.name", ["n"]], [".spec.hosts[0]", ["a"]], [".spec.hosts[-1]", ["c"]],
    [".spec.hosts[*]", ["a", "b", "c"]], [".spec.hosts[0:2]", ["a", "b"]], [".spec.hosts[::2]", ["a", "c"]], [".spec.hosts[0,2]", ["a", "c"]],
    [".metadata.annotations.example\\.com/a", ["x"]], [".metadata.annotations['example.com/a']", ["x"]], [".missing.deeper", []],
    ['.status.conditions[?(@.type=="Ready")].status', ["True"]], [".status.conditions[?(@.type=='Old')].status", ["False"]],
    [".status.conditions[?(@.n>1)].type", ["Old"]], [".status.conditions[?(@.n!=1)].type", ["Old"]], [".status.conditions[?(@.type)].n", [1, 2]],
    ["..type", ["Ready", "Old"]], [".spec.nothing", [null]],
  ])("%s", (path, want) => {
    expect(parseJsonPath(path)(object)).toEqual(want);
  });

  it.each([".spec.hosts[", ".a b", ".spec[x]", ".a[?(x == 1)]"])("refuses %s", (path) => {
    expect(() => parseJsonPath(path)).toThrow();
  });
});

describe("printer columns", () => {
  const now = Date.parse("2026-01-01T01:00:00Z");
  it.each<[string, string, unknown]>([
    ["string", ".metadata.name", "n"], ["string", ".spec.count", "3"], ["string", ".spec.hosts", '["a","b","c"]'], ["string", ".spec.on", "true"],
    ["integer", ".spec.count", 3], ["integer", ".spec.ratio", 1], ["integer", ".metadata.name", null], ["number", ".spec.ratio", 1.5],
    ["boolean", ".spec.on", true], ["date", ".metadata.creationTimestamp", "60m"], ["date", ".metadata.name", "<invalid>"], ["string", ".missing", null],
    ["string", ".spec.nothing", null],
  ])("%s of %s", (type, jsonPath, want) => {
    expect(customColumns([{ name: "X", type, jsonPath }])[1]!.value(object as never, now)).toBe(want);
  });

  it("are the age when there are none", () => {
    expect(customColumns(undefined).map((column) => [column.name, column.type])).toEqual([["Name", "string"], ["Age", "date"]]);
  });
});
