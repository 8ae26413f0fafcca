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
  const cni = (command: "ADD" | "CHECK" | "DEL" | "GC", pod: Netns, args = {}, more = {}) => cniRun(command, started.impl.confList, host, pod, join(root, "bin"), args, more);
  const validOnly = (...pods: readonly Netns[]) => ({ "cni.dev/valid-attachments": pods.map(({ name }) => ({ containerID: name, ifname: "eth0" })) });
  const ports = (hostPort: number, more = {}) => ({ portMappings: [{ hostPort, containerPort: 80, protocol: "tcp", ...more }] });
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
  it("leads ports of the node to pods, from outside, from the node and from neighbours, until DEL", async () => {
    const pod = netns(`kmy${id}p`);
    try {
      const { ips } = await cni("ADD", pod, ports(8080));
      await pod.serve(80, "by port");
      outside.run("ip", "route", "add", "default", "via", "192.0.2.10");
      expect(outside.ask("192.0.2.10", 8080)).toBe("by port 192.0.2.20");
      for (const from of [host, podA, pod]) expect(from.ask("192.0.2.10", 8080)).toMatch(/^by port /);
      await cni("DEL", pod);
      expect(outside.ask("192.0.2.10", 8080)).toBeUndefined();
      expect(await cni("ADD", pod, ports(8080, { hostIP: "192.0.2.99" }))).toMatchObject({ ips });
      expect(outside.ask("192.0.2.10", 8080)).toBeUndefined();
    } finally {
      await cni("DEL", pod);
      pod.remove();
    }
  });
  it("collects the links, addresses and ports of strangers, and leaves those of valid pods", async () => {
    const stranger = netns(`kmy${id}s`);
    try {
      const { ips } = await cni("ADD", stranger, ports(8081));
      const rules = () => host.run("nft", "list", "chain", "ip", "k3sp-my-cni", "hostports");
      expect(rules()).toContain(`dnat to ${ips![0]!.address.split("/")[0]}:80`);
      await cni("GC", host, {}, validOnly(podA, podB));
      expect(rules()).not.toContain("dnat");
      expect(stranger.run("ip", "-o", "link")).not.toContain("eth0");
      expect(podA.ask("10.99.0.3", 80)).toBe("b 10.99.0.2");
      expect(await cni("ADD", stranger)).toMatchObject({ ips });
    } finally {
      await cni("DEL", stranger);
      stranger.remove();
    }
  });
  it("says by CHECK when a pod has lost its link", async () => {
    await cni("CHECK", podA);
    podA.run("ip", "link", "delete", "eth0");
    await expect(cni("CHECK", podA)).rejects.toThrow(/does not exist/);
  });
});
