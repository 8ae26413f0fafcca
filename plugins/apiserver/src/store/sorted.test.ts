import fc from "fast-check";
import { expect, test } from "vitest";
import { createSorted } from "./sorted.ts";

test("whatever is added, removed and read, the items are in the order of their keys", () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom("add", "remove", "read"), fc.integer({ min: 0, max: 40 })), { maxLength: 120 }), (steps) => {
    const sorted = createSorted<{ readonly key: string }>();
    const model = new Map<string, { readonly key: string }>();
    for (const [what, n] of steps) {
      const key = `k${n}`;
      const held = model.get(key);
      if (what === "add" && !held) {
        const item = { key };
        model.set(key, item);
        sorted.add(item);
      } else if (what === "remove" && held) {
        model.delete(key);
        sorted.remove(held);
      } else if (what === "read") expect(sorted.items()).toEqual([...model.values()].sort((a, b) => (a.key < b.key ? -1 : 1)));
      expect(sorted.size).toBe(model.size);
    }
    expect(sorted.items()).toEqual([...model.values()].sort((a, b) => (a.key < b.key ? -1 : 1)));
  }));
});

test("many at once are merged", () => {
  const sorted = createSorted<{ readonly key: string }>();
  const keys = Array.from({ length: 500 }, (_, i) => `k${(i * 37) % 500}`.padEnd(5, "x"));
  keys.slice(0, 200).forEach((key) => sorted.add({ key }));
  sorted.items();
  keys.slice(200).forEach((key) => sorted.add({ key }));
  expect(sorted.items().map(({ key }) => key)).toEqual([...keys].sort());
});
