import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Cni } from "@k3s-p/plugin-api/slots";
import { localRunner, startAlone, type StartedPlugin } from "@k3s-p/plugin-api/testing";
import { cniRun, join2, netns, netnsUnavailable, type Netns } from "@k3s-p/plugin-api/testing-netns";
import plugin from "./plugin.ts";

const missing = netnsUnavailable();
if (missing) console.warn(`my-cni test skipped: needs ${missing}`);

describe.skipIf(missing !== undefined)("my-cni", () => {
  const id = process.pid % 10_000;
  let root: string;
  let started: StartedPlugin<Cni>;
  const cni = (command: "ADD" | "CHECK", pod: Netns, list = started.impl.confList) => cniRun(command, list, host, pod, `${join(root, "bin")}:/usr/lib/cni`);
  let host: Netns, outside: Netns, podA: Netns, podB: Netns;

  beforeAll(async () => {
    root = mkdtempSync("/tmp/k3sp-my-cni-");
    [host, outside, podA, podB] = ["n", "o", "a", "b"].map((name) => netns(`kmy${id}${name}`)) as [Netns, Netns, Netns, Netns];
    join2(host, "eth0", "192.0.2.10/24", outside, "eth0", "192.0.2.20/24");
    const runtime = { cni: { confDir: join(root, "net.d"), binDir: join(root, "bin") } };
    const needs = { runner: localRunner(host.prefix), runtime };
    started = await startAlone<Cni>(plugin, { needs, dir: root, config: { subnet: "10.99.0.0/24" } });
    for (const pod of [podA, podB]) await cni("ADD", pod);
    await podB.serve(80, "b");
    await outside.serve(80, "outside");
  }, 30_000);
  afterAll(async () => {
    await started?.stop();
    for (const each of [host, outside, podA, podB]) each.remove();
    rmSync(root, { recursive: true, force: true });
  });

  it("gives pods addresses of its range and lets them talk", () => expect(podA.ask("10.99.0.3", 80)).toBe("b 10.99.0.2"));
  it("masquerades what leaves", () => expect(podA.ask("192.0.2.20", 80)).toBe("outside 192.0.2.10"));
  it("says by CHECK when a pod has lost its link", async () => {
    const { confList } = started.impl;
    const alone = { ...confList, plugins: confList.plugins.slice(0, 1) };
    await cni("CHECK", podA, alone);
    podA.run("ip", "link", "delete", "eth0");
    await expect(cni("CHECK", podA, alone)).rejects.toThrow(/does not exist/);
  });
});
