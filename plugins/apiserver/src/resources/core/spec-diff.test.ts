import { expect, test } from "vitest";
import { specDiff } from "./spec-diff.ts";

const pod = (value: string, extra: object = {}) => ({
  containers: [{ name: "c", image: "i", env: [{ name: "A", value: "1" }, { name: "B", value }] }], hostNetwork: true, nodeName: "n", priority: 0, restartPolicy: "Always", ...extra,
});

test("shows what has changed with three lines around it", () => {
  expect(specDiff(pod("2"), pod("3"))).toBe(`@@ -8,7 +8,7 @@
     },
     {
      "Name": "B",
-     "Value": "2"
+     "Value": "3"
     }
    ],
    "Image": "i",
`);
});

test("shows changes far apart one by one, with lines that have come and gone", () => {
  const before = { a: 1, b: 2, c: [1, 2], d: 4, e: 5, f: 6, g: 7, h: 8 };
  expect(specDiff(before, { ...before, a: 0, b: undefined, i: { j: 9 } })).toBe(`@@ -1,6 +1,5 @@
 {
- "A": 1,
- "B": 2,
+ "A": 0,
  "C": [
   1,
   2
@@ -9,5 +8,8 @@
  "E": 5,
  "F": 6,
  "G": 7,
- "H": 8
+ "H": 8,
+ "I": {
+  "J": 9
+ }
 }
`);
});

test("takes its time with no spec, however long", () => {
  const long = (start: number) => ({ env: Array.from({ length: 2000 }, (_, i) => start + i) });
  const lines = specDiff(long(0), long(5000)).split("\n");
  expect([lines.filter((line) => line.startsWith("-")).length, lines.filter((line) => line.startsWith("+")).length]).toEqual([2000, 2000]);
});

test("shows nothing of the order of keys", () => {
  expect(specDiff({ a: 1, b: { c: 1, d: 2 } }, { b: { d: 2, c: 1 }, a: 1 })).toBe("");
});
