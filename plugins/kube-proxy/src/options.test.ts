import { expect, test } from "vitest";
import args from "../arguments.json" with { type: "json" };
import { flags, proxySettings } from "./options.ts";

test("knows the flags that it says it reads, and lets the others of upstream be", () => {
  expect(Object.keys(flags).sort()).toEqual(args.read);
  expect(proxySettings({ kubeProxyArg: ["v=2"] })).toEqual(proxySettings({}));
});
