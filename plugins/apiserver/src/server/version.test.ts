import { expect, test } from "vitest";
import { versionInfo } from "./version.ts";

test("the version has what clients take it apart into", () => {
  expect(versionInfo).toMatchObject({
    major: expect.stringMatching(/^\d$/), minor: expect.stringMatching(/^\d+\+?$/),
    gitVersion: expect.stringMatching(/^v\d\.\d+\.[\w.+-]+$/), gitCommit: expect.stringMatching(/^[0-9a-f]+$/),
  });
});
