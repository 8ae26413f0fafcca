/** What a server tells its agents, and what becomes of it there. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { planFrom, planServer, readSettings } from "../plan.ts";
import { checkSlots, withCluster, type ForAgents } from "./shared-settings.ts";

const url = "https://a:6443";
let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "shared-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const config = (text: string): string[] => {
  writeFileSync(join(dir, "config.yaml"), text);
  return ["--config", join(dir, "config.yaml"), "--node-name", "node1"];
};
const told = async (argv: readonly string[] = [], text = "") => (await planServer([...config(text), ...argv], {})).node.cluster;
const agent = async (answer: ForAgents, argv: readonly string[] = [], text = "") => {
  const settings = withCluster(readSettings([...config(text), ...argv], {}, "agent"), answer, url);
  const planned = await planFrom(settings, { role: "agent" });
  checkSlots(planned.plan, answer, url);
  return planned;
};
const myCni = (name = "my-cni"): string => {
  mkdirSync(join(dir, name));
  const k3sp = { api: "^0.1.0", provides: { cni: "1.0" }, permissions: { kube: [{ groups: [""], resources: ["nodes"], verbs: ["get"] }] } };
  writeFileSync(join(dir, name, "package.json"), JSON.stringify({ name, version: "1.0.0", description: "a network", type: "module", exports: "./plugin.ts", k3sp }));
  writeFileSync(join(dir, name, "plugin.ts"), "");
  return join(dir, name);
};

test("a server tells what is in force, its defaults too", async () => {
  const { shared, nodeSlots, agentPlugins } = await told(["--advertise-address", "192.0.2.1"]);
  expect(shared).toEqual({
    "cluster-cidr": ["10.42.0.0/16"], "service-cidr": ["10.43.0.0/16"], "service-node-port-range": "30000-32767",
    "cluster-dns": ["10.43.0.10"], "cluster-domain": "cluster.local", "plugins.flannel.config.backend": "vxlan", "plugins.flannel.config.vni": 1, disable: [],
    "advertise-address": "192.0.2.1", "https-listen-port": 6443,
  });
  expect(nodeSlots).toMatchObject({ cni: "flannel", "network-policy": "network-policy", proxy: "kube-proxy" });
  expect(agentPlugins).toEqual(expect.arrayContaining(["flannel", "kube-proxy", "network-policy"]));
  for (const other of ["apiserver", "controller-manager", "kubelet", "containerd"]) expect(agentPlugins).not.toContain(other);
});

test.each<[readonly string[], string]>([[[], "plugins: { flannel: { config: { backend: host-gw } } }"], [["--flannel-backend", "host-gw"], ""]])("an option of a plugin is told, by whatever it was set: %j %s", async (argv, text) => {
  const answer = await told(argv, text);
  expect(answer.shared["plugins.flannel.config.backend"]).toBe("host-gw");
  expect((await agent(answer)).configs.get("flannel")).toEqual({ ...(await planServer([...config(text), ...argv], {})).configs.get("flannel") });
});

test("a server without a node of its own tells the same", async () => {
  const { shared, nodeSlots, agentPlugins } = await told();
  expect(await told(["--disable-agent"])).toMatchObject({ shared, nodeSlots, agentPlugins, disabled: ["containerd", "flannel", "kube-proxy", "kubelet", "network-policy"] });
});

test.each([
  [["--disable", "flannel,traefik"], ["flannel"]], [["--flannel-backend", "none"], ["flannel"]], [["--slot", "cni=none"], ["flannel"]],
  [["--disable-kube-proxy", "--disable-network-policy"], ["kube-proxy", "network-policy"]], [["--disable", "containerd"], []],
])("with %j agents leave out %j", async (argv, off) => {
  const answer = await told(argv);
  expect(answer.shared.disable).toEqual(off);
  for (const id of off) expect((await agent(answer)).plan.plugins.map((m) => m.id)).not.toContain(id);
});

describe("an agent", () => {
  test("has the cluster's settings in force and says where they are from", async () => {
    const answer = await told(["--cluster-cidr", "10.9.0.0/16", "--service-cidr", "10.8.0.0/16", "--cluster-domain", "here.test", "--service-node-port-range", "40000-40100", "--advertise-address", "192.0.2.1", "--https-listen-port", "7443"]);
    const { node, settings, configs } = await agent(answer);
    expect(node).toMatchObject({
      role: "agent", cluster: { clusterCidr: ["10.9.0.0/16"], serviceCidr: ["10.8.0.0/16"], clusterDns: ["10.8.0.10"], clusterDomain: "here.test", serviceNodePortRange: [40000, 40100], advertiseAddress: "192.0.2.1", httpsListenPort: 7443, shared: {}, agentPlugins: [] },
    });
    expect(settings.values.get("cluster-cidr")).toEqual({ value: ["10.9.0.0/16"], source: url });
    expect(configs.get("flannel")).toMatchObject({ backend: "vxlan" });
  });

  test("runs what a node needs, and names nothing of the server as left out", async () => {
    const { plan } = await agent(await told(), [], "plugins: { coredns: { config: { port: 5353 } } }");
    expect(plan.plugins.map((m) => m.id).sort()).toEqual(["containerd", "flannel", "kube-proxy", "kubelet", "local-storage", "network-policy", "server-link"]);
    expect(plan.leftOut).toEqual([]);
    expect(plan.choices.filter((choice) => choice.replaces)).toEqual([]);
    await expect(agent(await told(), [], "plugins: { corends: {} }")).rejects.toThrow(`plugins.corends: no such plugin; did you mean "coredns"?`);
  });

  test("knows no flag of the server, on the command line or in a file", async () => {
    for (const flag of ["--cluster-cidr", "--disable", "--agent-token", "--profile", "--cluster-init"]) {
      expect(() => readSettings([...config(""), flag, "x"], {}, "agent")).toThrow(expect.objectContaining({ code: "K3SP_FLAG_UNKNOWN", message: `unknown flag ${flag}: only k3s-p server takes it` }));
    }
    expect(readSettings(config("flannel-backend: host-gw"), {}, "agent").warnings).toEqual([`${dir}/config.yaml:1:1: unknown key "flannel-backend" is ignored: only k3s-p server takes it`]);
    expect(() => readSettings(["--flannel-ifaces", "x"], {}, "agent")).toThrow('did you mean "--flannel-iface"?');
  });

  test("takes those of K3s's agent, and their environment", () => {
    const { values } = readSettings(config("node-label: [a=b]"), { K3S_URL: url, K3S_TOKEN: "t", K3S_NODE_NAME: "n" }, "agent");
    expect([...values].map(([name, { value }]) => [name, value])).toEqual(expect.arrayContaining([["server", url], ["token", "t"], ["node-label", ["a=b"]]]));
    for (const flag of ["--with-node-id", "--docker", "--lb-server-port=6444", "--kubelet-arg=a=b", "--flannel-iface=eth0", "--snapshotter=native", "--bind-address=0.0.0.0"]) {
      expect(readSettings([...config(""), flag], {}, "agent").warnings).toEqual([]);
    }
  });

  test("refuses another provider of a slot that is the cluster's affair", async () => {
    const cni = myCni();
    const answer = await told(["--plugin", cni]);
    expect(answer).toMatchObject({ nodeSlots: { cni: "my-cni" }, shared: { disable: ["flannel"] }, agentPlugins: expect.arrayContaining(["my-cni"]) as string[] });
    await expect(agent(answer)).rejects.toMatchObject({
      code: "K3SP_SLOT_MISSING", message: `the slot "cni" is my-cni's in this cluster, and nobody's here`, detail: [`from ${url}`], fix: "give --plugin with my-cni here too",
    });
    expect((await agent(answer, ["--plugin", cni])).plan.choices).toContainEqual(expect.objectContaining({ slot: "cni", plugin: "my-cni" }));
    await expect(agent(await told(), ["--plugin", cni])).rejects.toMatchObject({ code: "K3SP_SLOT_MISSING", message: `the slot "cni" is flannel's in this cluster, and my-cni's here`, fix: "leave out here what puts it in the place of flannel: --plugin, --slot or a section of the config file" });
  });

  test("refuses a section that contradicts the cluster, and takes one that agrees", async () => {
    const text = "plugins: { flannel: { config: { backend: host-gw } } }";
    await expect(agent(await told(), [], text)).rejects.toMatchObject({
      code: "K3SP_CONFIG_INVALID", message: `plugins.flannel.config.backend: "host-gw" is not what the server has, "vxlan"; leave it out here\n  ${dir}/config.yaml:1:42`,
    });
    expect((await agent(await told([], text), [], text)).configs.get("flannel")).toMatchObject({ backend: "host-gw" });
  });
});
