import { expect, test } from "vitest";
import { agreedCni, atLeastCni, offeredCni } from "./version.ts";

test.each([
  [["1.0.0"], "1.0.0"],
  [["1.0.0", "1.1.0"], "1.1.0"],
  [["1.1.0", "0.4.0", "1.0.0"], "1.1.0"],
  [["1.0.0", "1.10.0", "9.0.0"], "1.0.0"],
  [["9.0.0"], "9.0.0"],
])("of %j a runtime takes %s", ([cniVersion = "", ...cniVersions], agreed) => {
  const list = { cniVersion, cniVersions, name: "x", plugins: [] };
  expect(agreedCni(list)).toBe(agreed);
  expect(offeredCni(list)).toContain(cniVersion);
});

test("versions are compared by their numbers", () => {
  expect([atLeastCni("1.10.0", "1.9.0"), atLeastCni("1.1.0", "1.1.0"), atLeastCni("0.4.0", "1.0.0")]).toEqual([true, true, false]);
  expect(offeredCni({ cniVersion: "1.10.0", cniVersions: ["1.9.0", "1.10.0"], name: "x", plugins: [] })).toEqual(["1.9.0", "1.10.0"]);
});
