import { describe, expect, it } from "vitest";
import { ApiError } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import { createFieldManagement } from "./apply.ts";
import { compare, difference, fieldsOf, intersection, mergeApplied, paths, union } from "./fieldset.ts";
import { shapeOf, shapeOfSchema } from "./shape.ts";

const fields = createFieldManagement();
const deployment = { group: "apps", version: "v1", kind: "Deployment", subresource: "" };
const shape = shapeOf("apps", "v1", "Deployment");

const make = (spec: object, labels?: Record<string, string>): Obj =>
  ({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "d", namespace: "ns", ...(labels && { labels }) }, spec });
const withContainers = (...containers: object[]) => make({ template: { spec: { containers } } });

let clock = 0;
const now = () => `2026-01-01T00:00:${String(clock++).padStart(2, "0")}Z`;
const freeze = <T>(value: T): T => {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
};
const apply = (live: Obj | undefined, applied: Obj, manager = "me", force = false, more = {}): Obj =>
  fields.apply({ ...deployment, live: freeze(live), applied: freeze(applied), manager, force, now: now(), ...more });
const update = (live: Obj | undefined, next: Obj, manager = "kubectl", more = {}): Obj => {
  const managedFields = fields.track({ ...deployment, live: freeze(live), next: freeze(next), manager, operation: "Update", now: now(), ...more });
  return { ...next, metadata: { ...next.metadata, managedFields: managedFields as never } };
};
const managers = (object: Obj) => Object.fromEntries((object.metadata!.managedFields as any[]).map((e) => [`${e.manager}/${e.operation}`, [...paths(e.fieldsV1)]]));
const errorOf = (run: () => unknown): ApiError => {
  try {
    run();
  } catch (error) {
    return error as ApiError;
  }
  throw new Error("no error");
};

describe("field sets", () => {
  const set = (...list: string[]) => fieldsOf(Object.fromEntries(list.map((key) => [key, 1])), shape);
  it("unite, intersect and differ", () => {
    expect([...paths(union(set("a"), set("b")))]).toEqual([".a", ".b"]);
    expect([...paths(intersection(set("a", "b"), set("b", "c")))]).toEqual([".b"]);
    expect([...paths(difference(set("a", "b"), set("b")))]).toEqual([".a"]);
  });
  it("are written as upstream writes them", () => {
    expect(fieldsOf({ spec: { template: { spec: { containers: [{ name: "c", image: "i", ports: [{ containerPort: 80 }], args: ["x"] }] } } }, metadata: { finalizers: ["f"] } }, shape)).toEqual({
      "f:spec": { "f:template": { "f:spec": { "f:containers": {
        'k:{"name":"c"}': { ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:ports": { 'k:{"containerPort":80,"protocol":"TCP"}': { ".": {}, "f:containerPort": {} } } },
      } } } },
      "f:metadata": { "f:finalizers": { 'v:"f"': {} } },
    });
  });
  it("name containers that come and go with what they hold", () => {
    const { changed, removed } = compare({ a: { b: 1 } }, { c: { d: 1 } }, shape);
    expect(changed).toEqual({ "f:c": { ".": {}, "f:d": {} } });
    expect(removed).toEqual({ "f:a": { ".": {}, "f:b": {} } });
  });
  it("merge keyed lists in the applied order", () => {
    const list = shape.field("spec").field("template").field("spec").field("containers");
    const named = (...names: string[]) => names.map((name) => ({ name }));
    expect((mergeApplied(named("a", "x", "b"), named("b", "a"), list) as { name: string }[]).map((i) => i.name)).toEqual(["x", "b", "a"]);
    expect((mergeApplied(named("a", "x", "b"), named("a", "n", "b"), list) as { name: string }[]).map((i) => i.name)).toEqual(["a", "x", "n", "b"]);
    expect((mergeApplied(named("main"), named("sidecar"), list) as { name: string }[]).map((i) => i.name)).toEqual(["main", "sidecar"]);
    expect((mergeApplied(named("a", "b", "c"), named("c", "a"), list) as { name: string }[]).map((i) => i.name)).toEqual(["b", "c", "a"]);
  });
});

describe("apply", () => {
  it("creates, and owns what it states", () => {
    const made = apply(undefined, make({ replicas: 1 }, { app: "x" }));
    expect(managers(made)).toEqual({ "me/Apply": [".metadata.labels.app", ".spec.replicas"] });
    expect((made.metadata!.managedFields as any[])[0]).toMatchObject({ apiVersion: "apps/v1", fieldsType: "FieldsV1", operation: "Apply" });
  });

  it("changes nothing when applied again", () => {
    const made = apply(undefined, withContainers({ name: "c", image: "i" }));
    expect(apply(made, withContainers({ name: "c", image: "i" }))).toEqual(made);
  });

  it("merges with what others own, and shares equal values", () => {
    const live = update(undefined, make({ replicas: 3, paused: true }));
    const next = apply(live, make({ replicas: 3, minReadySeconds: 5 }));
    expect(next.spec).toEqual({ replicas: 3, paused: true, minReadySeconds: 5 });
    expect(managers(next)).toEqual({
      "me/Apply": [".spec.minReadySeconds", ".spec.replicas"], "kubectl/Update": [".spec.paused", ".spec.replicas"],
    });
  });

  it("conflicts in upstream's words", () => {
    const live = update(undefined, make({ replicas: 3, paused: true }));
    const one = errorOf(() => apply(live, make({ replicas: 4 })));
    expect([one.code, one.message]).toEqual([409, 'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas']);
    expect(one.status.details!.causes).toEqual([{ reason: "FieldManagerConflict", message: 'conflict with "kubectl" using apps/v1', field: ".spec.replicas" }]);
    const two = errorOf(() => apply(live, make({ replicas: 4, paused: false })));
    expect(two.message).toBe('Apply failed with 2 conflicts: conflicts with "kubectl" using apps/v1:\n- .spec.paused\n- .spec.replicas');
    const other = apply(undefined, withContainers({ name: "c", image: "a" }), "first");
    expect(errorOf(() => apply(other, withContainers({ name: "c", image: "b" }))).message)
      .toBe('Apply failed with 1 conflict: conflict with "first": .spec.template.spec.containers[name="c"].image');
  });

  it("takes over by force", () => {
    const live = update(undefined, make({ replicas: 3, paused: true }));
    const next = apply(live, make({ replicas: 4 }), "me", true);
    expect(next.spec.replicas).toBe(4);
    expect(managers(next)).toEqual({ "me/Apply": [".spec.replicas"], "kubectl/Update": [".spec.paused"] });
  });

  it("removes what it no longer states, unless another owns it", () => {
    const first = apply(undefined, make({ replicas: 1, paused: true, minReadySeconds: 2 }));
    const shared = apply(first, make({ minReadySeconds: 2 }), "other");
    const next = apply(shared, make({ replicas: 1 }));
    expect(next.spec).toEqual({ replicas: 1, minReadySeconds: 2 });
  });

  it("removes list items with all that the server added to them", () => {
    const first = apply(undefined, withContainers({ name: "a", image: "a" }, { name: "b", image: "b" }));
    const defaulted = structuredClone(first);
    defaulted.spec.template.spec.containers[1].imagePullPolicy = "Always";
    const next = apply(defaulted, withContainers({ name: "a", image: "a" }));
    expect(next.spec.template.spec.containers).toEqual([{ name: "a", image: "a" }]);
  });

  it("keeps an item in which another owns a field", () => {
    const first = apply(undefined, withContainers({ name: "a", image: "a" }, { name: "b", image: "b" }));
    const next = structuredClone(first);
    next.spec.template.spec.containers[1].workingDir = "/w";
    const changed = update(first, next);
    const result = apply(changed, withContainers({ name: "a", image: "a" }));
    expect(result.spec.template.spec.containers).toEqual([{ name: "a", image: "a" }, { name: "b", workingDir: "/w" }]);
  });

  it("gives an object of before to whoever came before", () => {
    const next = apply(make({ replicas: 1, paused: true }), make({ replicas: 1 }));
    expect(managers(next)).toEqual({ "me/Apply": [".spec.replicas"], "before-first-apply/Update": [".spec.paused", ".spec.replicas"] });
  });

  it("states status on its subresource only", () => {
    const live = apply(undefined, make({ replicas: 1 }));
    const body = { ...make({ replicas: 9 }), status: { replicas: 2 } } as Obj;
    const next = apply(live, body, "ctrl", false, { subresource: "status" });
    expect([next.spec.replicas, next.status.replicas]).toEqual([1, 2]);
    expect((next.metadata!.managedFields as any[]).find((e) => e.manager === "ctrl")).toMatchObject({ subresource: "status", fieldsV1: { "f:status": { "f:replicas": {} } } });
    expect(managers(apply(live, body, "x", true))["x/Apply"]).toEqual([".spec.replicas"]);
  });

  it("follows a custom kind's schema", () => {
    const custom = createFieldManagement({ shapeOf: () => shapeOfSchema({ properties: { spec: { properties: {
      rules: { "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], items: {} },
    } } } }) });
    const base = { group: "e.com", version: "v1", kind: "Foo", subresource: "", force: false };
    const body = (...rules: object[]): Obj => ({ apiVersion: "e.com/v1", kind: "Foo", metadata: { name: "f" }, spec: { rules } });
    const one = custom.apply({ ...base, live: undefined, applied: body({ id: "a" }), manager: "m1", now: now() });
    const two = custom.apply({ ...base, live: one, applied: body({ id: "b" }), manager: "m2", now: now() });
    expect(two.spec.rules).toEqual([{ id: "a" }, { id: "b" }]);
  });
});

describe("apply by kubectl", () => {
  const annotation = "kubectl.kubernetes.io/last-applied-configuration";
  const clientSide = (spec: object): Obj => {
    const object = make(spec);
    return { ...object, metadata: { ...object.metadata, annotations: { [annotation]: JSON.stringify(object) } } };
  };

  it("takes over what a client applied, and keeps the annotation at what is applied now", () => {
    const live = update(undefined, clientSide({ replicas: 1, paused: true }), "kubectl-client-side-apply");
    const next = apply(live, make({ replicas: 2 }), "kubectl");
    expect(JSON.parse(next.metadata!.annotations![annotation]!).spec).toEqual({ replicas: 2 });
    expect(managers(next)["kubectl/Apply"]).toEqual([".spec.replicas"]);
    expect(errorOf(() => apply(live, make({ replicas: 2 }), "other")).code).toBe(409);
  });

  it("has conflicts on what others have changed since", () => {
    const made = update(undefined, clientSide({ replicas: 1, paused: true }), "kubectl-client-side-apply");
    const live = update(made, { ...made, spec: { replicas: 5, paused: true } } as Obj, "hpa");
    expect(errorOf(() => apply(live, make({ replicas: 2, paused: false }), "kubectl")).message)
      .toBe('Apply failed with 1 conflict: conflict with "hpa" using apps/v1: .spec.replicas');
  });
});

describe("track", () => {
  it("gives a created object to its creator", () => {
    const made = update(undefined, make({ replicas: 1 }, { app: "x" }));
    expect(managers(made)).toEqual({ "kubectl/Update": [".metadata.labels", ".metadata.labels.app", ".spec.replicas"] });
  });

  it("moves changed fields to the writer, and forgets removed ones", () => {
    const made = update(undefined, make({ replicas: 1, paused: true, minReadySeconds: 1 }));
    const next = update(made, { ...made, spec: { replicas: 2, paused: true } } as Obj, "hpa");
    expect(managers(next)).toEqual({ "kubectl/Update": [".spec.paused"], "hpa/Update": [".spec.replicas"] });
  });

  it("gives nobody the metadata as such", () => {
    const made = update(undefined, make({ replicas: 1 }));
    const next = update(made, { ...made, metadata: { ...made.metadata, annotations: { a: "1" } } } as Obj, "other");
    expect(managers(next)["other/Update"]).toEqual([".metadata.annotations", ".metadata.annotations.a"]);
  });

  it("keeps the list as it is when nothing changed", () => {
    const made = update(undefined, make({ replicas: 1 }));
    const again = update(made, structuredClone(made), "other");
    expect(again.metadata!.managedFields).toEqual(made.metadata!.managedFields);
  });

  it("records subresources apart", () => {
    const made = update(undefined, make({ replicas: 1 }));
    const next = update(made, { ...made, status: { replicas: 1 } } as Obj, "kubectl", { subresource: "status" });
    expect((next.metadata!.managedFields as any[]).map((e) => e.subresource)).toEqual([undefined, "status"]);
  });

  it("takes fields from appliers too", () => {
    const made = apply(undefined, make({ replicas: 1, paused: true }));
    const next = update(made, { ...made, spec: { replicas: 2, paused: true } } as Obj, "kubectl");
    expect(managers(next)).toEqual({ "me/Apply": [".spec.paused"], "kubectl/Update": [".spec.replicas"] });
  });

  it("folds old updaters, and lets a client clear the list", () => {
    let object = update(undefined, make({ replicas: 0 }), "m0");
    for (let i = 1; i < 14; i++) object = update(object, { ...object, spec: { ...object.spec, [`x${i}`]: i } } as Obj, `m${i}`);
    const names = (object.metadata!.managedFields as any[]).map((e) => e.manager);
    expect(names).toHaveLength(10);
    expect(names[0]).toBe("ancient-changes");
    const cleared = { ...object, metadata: { ...object.metadata, managedFields: [{}] } } as unknown as Obj;
    expect(fields.track({ ...deployment, live: object, next: cleared, manager: "m", operation: "Update", now: now() })).toBeUndefined();
  });
});
