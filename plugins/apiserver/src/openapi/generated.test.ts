/** What a server says that lacks what the build makes. */
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { requireBuild } from "./generated.ts";

test("schemas that have not been built are named, with the way to build them", () => {
  expect(() => requireBuild()).not.toThrow();
  expect(() => requireBuild(pathToFileURL("/nowhere/"))).toThrow(expect.objectContaining({
    code: "K3SP_PLUGIN_START_FAILED", message: "apiserver: its schemas have not been built", detail: ["missing: /nowhere/fields.json"],
  }));
});
