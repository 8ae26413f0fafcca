/** The plugin with the real CNI programs and nft, in network namespaces of its own. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodes } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import type { Cni } from "@k3s-p/plugin-api/slots";
import { localRunner, startAlone, testNode, testPaths, type StartedPlugin } from "@k3s-p/plugin-api/testing";
import { cniRun, join2, netns, netnsUnavailable, type Netns } from "@k3s-p/plugin-api/testing-netns";
import plugin from "./plugin.ts";

it("stays off with backend none, as the user brings a network", async () => {
  const dir = mkdtempSync("/tmp/k3sp-fl-none-");
  await expect(startAlone(plugin, { needs: { node: testNode(dir) }, config: { backend: "none" }, dir })).rejects.toMatchObject({ name: "Skip" });
  rmSync(dir, { recursive: true });
});

const missing = netnsUnavailable();
if (missing) console.warn(`flannel data-plane test skipped: needs ${missing}`);

describe.skipIf(missing !== undefined)("one node, for real", () => {
  const id = process.pid % 10_000;
  const binDir = "/usr/lib/cni";
  let root: string;
  let all: Netns[];
  let started: StartedPlugin<Cni>;
  let host: Netns, outside: Netns, podA: Netns, podB: Netns;
  const confDir = () => testPaths(root).cniConf;

  beforeAll(async () => {
    root = mkdtempSync("/tmp/k3sp-fl-");
    all = [host, outside, podA, podB] = ["n", "o", "a", "b"].map((name) => netns(`kfl${id}${name}`)) as [Netns, Netns, Netns, Netns];
    join2(host, "eth0", "192.0.2.10/24", outside, "eth0", "192.0.2.20/24");
    // What a network left behind when the server was killed and then started with another one.
    mkdirSync(confDir(), { recursive: true });
    writeFileSync(join(confDir(), "05-old.conflist"), "{}");
    writeFileSync(join(confDir(), "99-users-own.conflist"), "{}");
    writeFileSync(join(confDir(), ".installed"), "05-old.conflist\n");
    const kube = fakeKube();
    kube.put(nodes, { metadata: { name: "node-1" }, spec: { podCIDR: "10.42.3.0/24" } });
    const runtime = { cni: { confDir: confDir(), binDir: join(root, "bin") } };
    const needs = { kube, node: testNode(root, { ip: "192.0.2.10" }), runner: localRunner(host.prefix), runtime };
    started = await startAlone<Cni>(plugin, { needs, dir: root });
    for (const pod of [podA, podB]) await cniRun("ADD", started.impl.confList, host, pod, binDir);
    await podB.serve(80, "b");
    await outside.serve(80, "outside");
    await host.serve(81, "node");
  }, 30_000);
  afterAll(async () => {
    await started?.stop();
    for (const each of all) each.remove();
    rmSync(root, { recursive: true, force: true });
  });

  it("installs its list, removes the one of the former network and keeps the user's", () => {
    expect(readdirSync(confDir()).sort()).toEqual([".installed", "10-flannel.conflist", "99-users-own.conflist"]);
    expect(JSON.parse(readFileSync(join(confDir(), "10-flannel.conflist"), "utf8"))).toEqual(started.impl.confList);
    expect(readFileSync(join(root, "run-flannel/subnet.env"), "utf8")).toContain("FLANNEL_SUBNET=10.42.3.1/24");
  });

  it("lets pods reach each other with their own address", () => {
    expect(podA.ask("10.42.3.3", 80)).toBe("b 10.42.3.2");
  });

  it("lets pods and the node reach each other", () => {
    expect(podA.ask("192.0.2.10", 81)).toBe("node 10.42.3.2");
    expect(host.ask("10.42.3.3", 80)).toBe("b 10.42.3.1");
  });

  it("masquerades what leaves the cluster", () => {
    expect(podA.ask("192.0.2.20", 80)).toBe("outside 192.0.2.10");
  });

  it("opens host ports", async () => {
    const podC = netns(`kfl${id}c`);
    all.push(podC);
    const port = { containerPort: 80, protocol: "tcp" };
    const portMappings = [{ ...port, hostPort: 8080, hostIP: "" }, { ...port, hostPort: 8081, hostIP: "127.0.0.1" }];
    await cniRun("ADD", started.impl.confList, host, podC, binDir, { portMappings });
    await podC.serve(80, "c");
    expect(outside.ask("192.0.2.10", 8080)).toBe("c 192.0.2.20");
    expect(podC.ask("192.0.2.10", 8080)).toMatch(/^c /);
    for (const from of ["192.0.2.10", "127.0.0.1"]) expect(host.ask("127.0.0.1", 8081, { from })).toMatch(/^c /);
    expect(outside.ask("192.0.2.10", 8081)).toBeUndefined();
  });

  it("lets pods out although something else drops what is forwarded", () => {
    host.run("iptables", "-P", "FORWARD", "DROP");
    expect(podA.ask("192.0.2.20", 80)).toBe("outside 192.0.2.10");
  });

  it("takes its list back on stop and leaves running pods connected", async () => {
    await started.stop();
    expect(existsSync(join(confDir(), "10-flannel.conflist"))).toBe(false);
    expect(podA.ask("10.42.3.3", 80)).toBe("b 10.42.3.2");
    expect(podA.ask("192.0.2.20", 80)).toBe("outside 192.0.2.10");
  });
});
