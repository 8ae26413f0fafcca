import { describe, expect, it } from "vitest";
import { applyJsonPatch } from "./json.ts";
import { applyMergePatch } from "./merge.ts";
import { shapeOf, shapeOfSchema, typeRule } from "./shape.ts";
import { applyStrategicPatch } from "./strategic.ts";

const freeze = <T>(value: T): T => {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
};
const codeOf = (run: () => unknown): number | undefined => {
  try {
    run();
    return undefined;
  } catch (error) {
    return (error as { code: number }).code;
  }
};

describe("applyJsonPatch", () => {
  const cases: [string, object, object[], object][] = [
    ["adds a member", { a: 1 }, [{ op: "add", path: "/b", value: 2 }], { a: 1, b: 2 }],
    ["inserts into a list", { a: [1, 3] }, [{ op: "add", path: "/a/1", value: 2 }], { a: [1, 2, 3] }],
    ["appends to a list", { a: [1] }, [{ op: "add", path: "/a/-", value: 2 }], { a: [1, 2] }],
    ["removes and replaces", { a: { b: 1, c: 2 } }, [{ op: "remove", path: "/a/b" }, { op: "replace", path: "/a/c", value: 3 }], { a: { c: 3 } }],
    ["unescapes the pointer", { "a/b": { "c~d": 1 } }, [{ op: "replace", path: "/a~1b/c~0d", value: 2 }], { "a/b": { "c~d": 2 } }],
    ["moves", { a: { b: 1 } }, [{ op: "move", from: "/a/b", path: "/c" }], { a: {}, c: 1 }],
    ["copies", { a: { b: 1 } }, [{ op: "copy", from: "/a", path: "/c" }, { op: "replace", path: "/c/b", value: 2 }], { a: { b: 1 }, c: { b: 2 } }],
    ["passes a test", { a: [{ b: null }] }, [{ op: "test", path: "/a", value: [{ b: null }] }], { a: [{ b: null }] }],
    ["takes a missing value for null", {}, [{ op: "test", path: "/a", value: null }], {}],
  ];
  it.each(cases)("%s", (_, doc, ops, expected) => {
    expect(applyJsonPatch(freeze(doc), freeze(ops))).toEqual(expected);
  });

  it.each<[string, unknown, number]>([
    ["a failing test", [{ op: "test", path: "/a", value: 2 }], 422],
    ["a missing parent", [{ op: "add", path: "/x/y", value: 2 }], 422],
    ["the removal of what is not there", [{ op: "remove", path: "/x" }], 422],
    ["a replacement of what is not there", [{ op: "replace", path: "/x", value: 1 }], 422],
    ["an index beyond the end", [{ op: "add", path: "/l/9", value: 1 }], 422],
    ["an unknown operation", [{ op: "frob", path: "/a" }], 422],
    ["something else than a list", { op: "add" }, 400],
    ["what is no operation", [null], 400],
    ["copies that grow without end", [{ op: "add", path: "/a", value: { x: "y".repeat(1000) } }, ...Array.from({ length: 40 }, (_, i) => ({ op: "copy", from: "/a", path: `/a/${i}` }))], 422],
    ["too many operations", Array.from({ length: 10_001 }, () => ({ op: "test", path: "/a", value: 1 })), 413],
  ])("refuses %s", (_, ops, code) => {
    expect(codeOf(() => applyJsonPatch({ a: 1, l: [] }, ops))).toBe(code);
  });
});

describe("applyMergePatch", () => {
  it.each<[object, unknown, unknown]>([
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])("%j with %j gives %j", (doc, patch, expected) => {
    expect(applyMergePatch(freeze(doc), freeze(patch))).toEqual(expected);
  });
});

describe("applyStrategicPatch", () => {
  const pod = (spec: object, metadata: object = {}) => freeze({ metadata, spec });
  const patched = (doc: object, patch: object) => applyStrategicPatch(freeze(doc), freeze(patch), "", "v1", "Pod");

  it("merges containers by name, and puts a new one first", () => {
    expect(patched(
      pod({ containers: [{ name: "a", image: "a:1", env: [{ name: "X", value: "1" }] }, { name: "b", image: "b:1" }] }),
      { spec: { containers: [{ name: "c", image: "c:1" }, { name: "a", env: [{ name: "Y", value: "2" }] }] } },
    )).toEqual(pod({ containers: [
      { name: "c", image: "c:1" },
      { name: "a", image: "a:1", env: [{ name: "Y", value: "2" }, { name: "X", value: "1" }] }, { name: "b", image: "b:1" },
    ] }));
  });

  it("deletes an item, a field and a whole struct", () => {
    expect(patched(
      pod({ containers: [{ name: "a" }, { name: "b" }], nodeName: "n", securityContext: { runAsUser: 1 } }),
      { spec: { containers: [{ name: "a", $patch: "delete" }], nodeName: null, securityContext: { $patch: "delete" } } },
    )).toEqual(pod({ containers: [{ name: "b" }], securityContext: {} }));
  });

  it("replaces a struct and a list", () => {
    expect(patched(
      pod({ containers: [{ name: "a", image: "x" }], securityContext: { runAsUser: 1 } }),
      { spec: { containers: [{ $patch: "replace" }, { name: "b" }], securityContext: { $patch: "replace", runAsGroup: 2 } } },
    )).toEqual(pod({ containers: [{ name: "b" }], securityContext: { runAsGroup: 2 } }));
  });

  it("replaces lists without a merge key", () => {
    expect(patched(pod({ tolerations: [{ key: "a" }] }), { spec: { tolerations: [{ key: "b" }] } }))
      .toEqual(pod({ tolerations: [{ key: "b" }] }));
  });

  it("joins finalizers, and deletes from them", () => {
    expect(patched({ metadata: { finalizers: ["a", "b"] } }, { metadata: { finalizers: ["c"] } }))
      .toEqual({ metadata: { finalizers: ["c", "a", "b"] } });
    expect(patched({ metadata: { finalizers: ["a", "b"] } }, { metadata: { "$deleteFromPrimitiveList/finalizers": ["a"] } }))
      .toEqual({ metadata: { finalizers: ["b"] } });
  });

  it("orders a merged list as the patch says", () => {
    expect(patched(
      pod({ containers: [{ name: "a" }, { name: "x" }, { name: "b" }] }),
      { spec: { "$setElementOrder/containers": [{ name: "b" }, { name: "a" }], containers: [{ name: "b", image: "b" }] } },
    )).toEqual(pod({ containers: [{ name: "x" }, { name: "b", image: "b" }, { name: "a" }] }));
  });

  it("retains only the named keys", () => {
    expect(applyStrategicPatch(
      { spec: { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } } } },
      { spec: { strategy: { $retainKeys: ["type"], type: "Recreate" } } }, "apps", "v1", "Deployment",
    )).toEqual({ spec: { strategy: { type: "Recreate" } } });
    expect(codeOf(() => patched({}, { spec: { $retainKeys: ["a"], b: 1 } }))).toBe(400);
  });

  it("swaps a volume's source with $retainKeys", () => {
    expect(patched(
      pod({ volumes: [{ name: "v", emptyDir: {} }] }),
      { spec: { volumes: [{ $retainKeys: ["name", "hostPath"], name: "v", hostPath: { path: "/x" } }] } },
    )).toEqual(pod({ volumes: [{ name: "v", hostPath: { path: "/x" } }] }));
  });

  it("refuses an item without its merge key, and an unknown directive", () => {
    expect(codeOf(() => patched(pod({ containers: [] }), { spec: { containers: [{ image: "x" }] } }))).toBe(500);
    expect(codeOf(() => patched(pod({}), { spec: { $patch: "frob" } }))).toBe(400);
  });

});

describe("shapes", () => {
  it("knows list keys through nested types", () => {
    const ports = shapeOf("apps", "v1", "Deployment").field("spec").field("template").field("spec")
      .field("containers").item().field("ports");
    expect([ports.list, ports.keys, ports.mergeKey, ports.keyDefaults])
      .toEqual(["map", ["containerPort", "protocol"], "containerPort", { protocol: "TCP" }]);
  });
  it("knows the metadata of every kind, and atomic types", () => {
    expect(shapeOf("example.com", "v1", "Any").field("metadata").field("finalizers").list).toBe("set");
    expect(shapeOf("apps", "v1", "Deployment").field("spec").field("selector").atomic).toBe(true);
    expect(typeRule("policy/v1.PodDisruptionBudgetSpec")?.fields.get("selector")?.patch).toBe("replace");
  });
  it("reads a structural schema", () => {
    const shape = shapeOfSchema({ properties: { spec: { properties: { ports: {
      "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "proto"],
      items: { properties: { proto: { default: "TCP" } } },
    } } } } });
    expect(shape.field("spec").field("ports").keyDefaults).toEqual({ proto: "TCP" });
    expect(shape.field("metadata").field("ownerReferences").keys).toEqual(["uid"]);
  });
});
