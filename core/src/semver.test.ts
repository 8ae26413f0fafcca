import fc from "fast-check";
import satisfies from "semver/functions/satisfies.js";
import validRange from "semver/ranges/valid.js";
import minVersion from "semver/ranges/min-version.js";
import { expect, test } from "vitest";
import { semver } from "./semver.ts";

const number = fc.integer({ min: 0, max: 3 });
const versions = fc.tuple(number, number, number).map((parts) => parts.join("."));
const ranges = fc.tuple(fc.constantFrom("^", "~", ">=", ""), fc.array(number, { minLength: 1, maxLength: 3 })).map(([sign, parts]) => sign + parts.join("."));

test("answers as the package does", () => {
  fc.assert(fc.property(versions, ranges, (version, range) => {
    expect(`${version} in ${range}: ${semver.satisfies(version, range)}`).toBe(`${version} in ${range}: ${satisfies(version, range)}`);
    expect(semver.validRange(range)).toBe(validRange(range) !== null);
    expect(semver.lowestMajor(range)).toBe(minVersion(range)!.major);
  }), { numRuns: 2000 });
});

test.each([["1.2.3", true], ["1.2.3-rc.1", true], ["1.2", false], ["01.2.3", false], ["v", false]])("%s is a version: %s", (text, isOne) => {
  expect(semver.valid(text)).toBe(isOne);
});
