import { expect, it } from "vitest";
import { testNode } from "@k3s-p/plugin-api/testing";
import { templateVariables } from "./plugin.ts";

it("lets manifests name the system's registry with and without the slash that an image needs", () => {
  const registry = (name?: string) => {
    const { SYSTEM_DEFAULT_REGISTRY: prefix, SYSTEM_DEFAULT_REGISTRY_RAW: raw } = templateVariables(testNode("/data"), name);
    return [prefix, raw];
  };
  expect(registry("reg.example:5000")).toEqual(["reg.example:5000/", "reg.example:5000"]);
  expect(registry()).toEqual(["", ""]);
});
