import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createCollection } from "./collection.ts";
import { canonicalize, deepFreeze, rawBytes, sameContent, toEntry, withRevision, type Entry } from "./entry.ts";

const object = (name: string, namespace = "ns", rest: object = {}): any => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, ...rest });
const entry = (name: string, revision: number, namespace = "ns", rest: object = {}): Entry =>
  toEntry(namespace, name, revision, canonicalize(object(name, namespace, rest)));
const names = (list: readonly Entry[] | undefined): string[] | undefined => list?.map((e) => `${e.namespace}/${e.name}@${e.revision}`);

describe("an entry", () => {
  test("has bytes with the revision spliced in, and the same as a frozen object", () => {
    const made = toEntry("ns", "a", 42, canonicalize({ kind: "ConfigMap", data: { z: "1", a: "2" }, metadata: { namespace: "ns", name: "a", resourceVersion: "7" }, apiVersion: "v1", gone: undefined } as any));
    const text = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"42","namespace":"ns","name":"a"},"data":{"z":"1","a":"2"}}';
    expect(made.bytes.toString()).toBe(text);
    expect(made.object).toEqual(JSON.parse(text));
    expect(Object.isFrozen(made.object) && Object.isFrozen(made.object.metadata) && Object.isFrozen(made.object.data)).toBe(true);
    expect(rawBytes(made).toString()).toBe(text.replace('"resourceVersion":"42",', ""));
    expect(withRevision(made, 50).object.metadata!.resourceVersion).toBe("50");
  });

  test("is the same content whatever the key order and revision, and not when a value differs", () => {
    const made = entry("a", 5, "ns", { data: { a: "1", b: "2" } });
    expect(sameContent(made, object("a", "ns", { data: { b: "2", a: "1" } }))).toBe(true);
    expect(sameContent(made, object("a", "ns", { data: { b: "2", a: "3" } }))).toBe(false);
    expect(sameContent(made, object("a", "ns", { data: { b: "2", a: "11" } }))).toBe(false);
  });

  test("parses again after its object was let go", () => {
    const made = entry("a", 5);
    const before = made.object;
    made.release();
    expect(made.object).toEqual(before);
    expect(deepFreeze(made.object)).toBe(made.object);
  });
});

describe("a collection", () => {
  const filled = () => {
    const collection = createCollection("", "configmaps", { since: 1, onError: (error) => { throw error; } });
    collection.apply(2, "b", "ns", entry("b", 2));
    collection.apply(3, "a", "ns", entry("a", 3));
    collection.apply(4, "a", "other", entry("a", 4, "other"));
    collection.apply(5, "b", "ns", entry("b", 5));
    collection.apply(6, "a", "ns", undefined);
    return collection;
  };

  test("lists in key order, by namespace and over all", () => {
    const collection = filled();
    expect(names(collection.list(""))).toEqual(["ns/b@5", "other/a@4"]);
    expect(names(collection.list("ns"))).toEqual(["ns/b@5"]);
    expect(collection.get("a", "other")?.revision).toBe(4);
    expect(collection.get("a", "ns")).toBeUndefined();
  });

  test("shows any state within its history", () => {
    const collection = filled();
    expect([1, 2, 3, 4, 5, 6].map((revision) => names(collection.listAt(revision, "")))).toEqual([
      [], ["ns/b@2"], ["ns/a@3", "ns/b@2"], ["ns/a@3", "ns/b@2", "other/a@4"], ["ns/a@3", "ns/b@5", "other/a@4"], ["ns/b@5", "other/a@4"],
    ]);
    collection.expire(4);
    expect(collection.listAt(3, "")).toBeUndefined();
    expect(collection.since(3)).toBeUndefined();
    expect(collection.since(4)!.map((event) => `${event.type} ${event.entry.name}@${event.revision}`)).toEqual(["MODIFIED b@5", "DELETED a@6"]);
  });

  test("shows what it showed at every revision, whatever was written since", () => {
    const write = fc.record({ name: fc.constantFrom("a", "b", "c", "a-b"), namespace: fc.constantFrom("ns", "ns-2", "other"), remove: fc.boolean() });
    fc.assert(fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
      const collection = createCollection("", "configmaps", { since: 0, onError: () => {} });
      const seen: (readonly (string[] | undefined)[])[] = [];
      const now = (revision: number) => ["", "ns", "other"].map((namespace) => names(collection.listAt(revision, namespace)));
      for (const [i, { name, namespace, remove }] of writes.entries()) {
        seen.push(["", "ns", "other"].map((at) => names(collection.list(at))));
        collection.apply(i + 1, name, namespace, remove ? undefined : entry(name, i + 1, namespace));
        expect(now(i)).toEqual(seen[i]);
      }
      for (const [revision, lists] of seen.entries()) expect(now(revision)).toEqual(lists);
    }));
  });

  test("gives every page of a snapshot from one list, until the snapshot leaves the history", () => {
    const collection = filled();
    const snapshot = collection.listAt(4, "ns");
    collection.apply(7, "c", "ns", entry("c", 7));
    expect(collection.listAt(4, "ns")).toBe(snapshot);
    for (let revision = 8; revision < 20; revision++) {
      collection.apply(revision, "c", "ns", entry("c", revision));
      collection.listAt(revision - 1, "ns");
    }
    expect(names(collection.listAt(4, "ns"))).toEqual(names(snapshot));
    collection.expire(5);
    expect(collection.listAt(4, "ns")).toBeUndefined();
  });

  test("keeps its history within bounds, however many writes there are", () => {
    const collection = createCollection("", "configmaps", { since: 0, onError: () => {} });
    const big = { data: { a: "x".repeat(10_000) } };
    for (let revision = 1; revision <= 12_000; revision++) collection.apply(revision, "a", "ns", entry("a", revision, "ns", big));
    expect(collection.oldest).toBeGreaterThan(0);
    expect(collection.since(collection.oldest)!.length).toBeLessThan(4000);
    expect(collection.since(11_999)).toHaveLength(1);
  });

  test("stays sorted under random inserts and removals", () => {
    const collection = createCollection("", "configmaps", { since: 0, onError: () => {} });
    const present = new Set<string>();
    let seed = 7;
    for (let revision = 1; revision <= 2000; revision++) {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      const name = `n${seed % 200}`;
      const remove = present.has(name) && seed % 3 === 0;
      collection.apply(revision, name, "ns", remove ? undefined : entry(name, revision));
      if (remove) present.delete(name);
      else present.add(name);
    }
    expect(collection.list("").map((e) => e.name)).toEqual([...present].sort());
    expect(collection.count).toBe(present.size);
  });
});
