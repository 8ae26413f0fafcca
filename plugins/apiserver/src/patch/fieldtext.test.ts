import { describe, expect, it } from "vitest";
import { createFieldManagement } from "./apply.ts";
import { difference, fieldsOf, intersection, union } from "./fieldset.ts";
import { byFields, intern, internParsed, textOf } from "./fieldtext.ts";
import { shapeOf } from "./shape.ts";

const shape = shapeOf("", "v1", "Pod");
const pod = (...containers: object[]) => ({ metadata: { labels: { app: "a" } }, spec: { containers } });

describe("kept field sets", () => {
  it("are one frozen object with sorted elements for all that are equal", () => {
    const set = intern({ "f:b": {}, "f:a": { "f:d": {}, ".": {} } });
    expect(intern({ "f:a": { ".": {}, "f:d": {} }, "f:b": {} })).toBe(set);
    expect(internParsed(JSON.parse(textOf(set)))).toBe(set);
    expect(textOf(set)).toBe('{"f:a":{".":{},"f:d":{}},"f:b":{}}');
    expect(Object.isFrozen(set["f:a"])).toBe(true);
  });

  it("keep their text and meaning after many others", () => {
    const set = intern({ "f:first": {} });
    for (let i = 0; i < 3000; i++) intern({ [`f:${i}`]: {} });
    expect(textOf(set)).toBe('{"f:first":{}}');
    expect(intern({ "f:first": {} })).toEqual(set);
  });

  it("stay the same object where nothing is added or taken", () => {
    const set = intern(fieldsOf(pod({ name: "c", image: "i" }), shape));
    expect(union(set, { "f:spec": {} })).not.toBe(set);
    expect(union(set, fieldsOf({ metadata: { labels: { app: "b" } } }, shape))).toBe(set);
    expect(difference(set, { "f:status": {} })).toBe(set);
    expect(intersection(set, { "f:spec": { "f:containers": { 'k:{"name":"other"}': {} } } })).toEqual({});
  });
});

describe("results by fields", () => {
  const seen = (value: object): number => results.get(value, shape, () => ++made);
  const results = byFields<number>();
  let made = 0;
  it("are shared by objects that differ in values alone", () => {
    const first = seen(pod({ name: "c", image: "one", ports: [{ containerPort: 80 }] }));
    expect(seen(pod({ name: "c", image: "two", ports: [{ containerPort: 80, hostIP: undefined }] }))).toBe(first);
  });
  it.each([
    ["another field", pod({ name: "c", command: ["x"] })],
    ["another item", pod({ name: "d", image: "one" })],
    ["another key of an item", pod({ name: "c", image: "one", ports: [{ containerPort: 81 }] })],
    ["an empty map for a value", { metadata: { labels: {} }, spec: { containers: [{ name: "c", image: "one" }] } }],
    ["a name that looks like structure", { metadata: { labels: { "app,4:spec{": "a" } } }],
  ])("are not shared over %s", (_, value) => {
    const before = made;
    expect(seen(value)).toBeGreaterThan(before);
  });
});

describe("a create", () => {
  const fields = createFieldManagement();
  const track = (next: object, ignoreStatus?: boolean): any[] => fields.track({
    live: undefined, next: next as never, manager: "m", operation: "Update", group: "", version: "v1", kind: "Pod", subresource: "", now: "2026-01-01T00:00:00Z",
    ...(ignoreStatus && { ignoreStatus }),
  }) as any[];
  it("gives objects with the same fields the same record", () => {
    const [one] = track(pod({ name: "c", image: "one" }));
    const [two] = track(pod({ name: "c", image: "two" }));
    expect(two.fieldsV1).toBe(one.fieldsV1);
    expect(one.fieldsV1["f:spec"]["f:containers"]['k:{"name":"c"}']).toEqual({ ".": {}, "f:image": {}, "f:name": {} });
  });
  it("says nothing about the status of a kind that has a subresource for it", () => {
    const stated = { ...pod({ name: "c" }), status: { phase: "Running" } };
    expect(Object.keys(track(stated)[0].fieldsV1)).toEqual(["f:metadata", "f:spec", "f:status"]);
    expect(Object.keys(track(stated, true)[0].fieldsV1)).toEqual(["f:metadata", "f:spec"]);
  });
});
