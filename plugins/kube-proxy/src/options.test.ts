import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startAlone, testNode } from "@k3s-p/plugin-api/testing";
import args from "../arguments.json" with { type: "json" };
import { flags, proxySettings } from "./options.ts";
import plugin from "./plugin.ts";

test("knows the flags that it says it reads, and lets the others of upstream be", () => {
  expect(Object.keys(flags).sort()).toEqual(args.read);
  expect(proxySettings({ kubeProxyArg: ["v=2"] })).toEqual(proxySettings({}));
});

test("a network of services that is not of IPv4 is refused before anything is touched", async () => {
  const dir = mkdtempSync(join(tmpdir(), "kube-proxy-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  await expect(startAlone(plugin, { needs: { node: testNode(dir, {}, { serviceCidr: ["fd00:43::/112"] }) }, dir })).rejects.toMatchObject({
    code: "K3SP_CONFIG_INVALID", message: "service-cidr: fd00:43::/112 is not of IPv4, and kube-proxy serves nothing else here",
  });
});
