import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { behaviours } from "./behaviours.ts";

const sources = globSync("*.test.ts", { cwd: import.meta.dirname }).map((file) => readFileSync(join(import.meta.dirname, file), "utf8"));

test("each of the 72 behaviours that need no node has exactly one test", () => {
  const tested = sources.flatMap((source) => [...source.matchAll(/^ *behaviour\("([\w-]+)"/gm)].map(([, id]) => id!));
  expect(tested.sort()).toEqual(Object.keys(behaviours).sort());
  expect(tested).toHaveLength(72);
  expect(new Set(Object.values(behaviours)).size).toBe(72);
});
