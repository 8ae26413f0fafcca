/** The plugin over a Node's life: what it tells the other nodes, on an API server that fails and from which somebody deletes the Node. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { apiError, nodes, type KubeClient } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { flaky, seeded } from "@k3s-p/plugin-api/kube/fake-flaky";
import type { Cni, Runner } from "@k3s-p/plugin-api/slots";
import { startAlone, testNode } from "@k3s-p/plugin-api/testing";
import plugin from "./plugin.ts";

const mac = "aa:bb:cc:dd:ee:01";
const prefix = "flannel.alpha.coreos.com/";

/** A host that has eth0 and does as it is told. */
function fakeHost(): { readonly runner: Runner; readonly batches: string[] } {
  const batches: string[] = [];
  const eth0 = [{ ifname: "eth0", mtu: 1500, addr_info: [{ local: "192.0.2.1" }] }];
  const answer = (command: string, args: readonly string[]) => {
    if (command === "ip" && args.includes("address")) return JSON.stringify(eth0);
    if (args.includes("-j")) return "[]";
    return command === "sh" && args[1]?.includes("type vxlan") ? `${mac}\n` : "";
  };
  return {
    batches,
    runner: {
      run: async (command, args, { stdin } = {}) => {
        if (stdin && args.includes("-batch")) batches.push(...String(stdin).trim().split("\n"));
        return { code: 0, stdout: answer(command, args), stderr: "" };
      },
      spawn: async () => Promise.reject(new Error("nothing is spawned")),
    },
  };
}

async function start(kube = fakeKube(), client: KubeClient = kube) {
  const dir = mkdtempSync(join(tmpdir(), "flannel-"));
  const host = fakeHost();
  const runtime = { cni: { confDir: join(dir, "net.d"), binDir: join(dir, "bin") } };
  const started = await startAlone<Cni>(plugin, { needs: { kube: client, node: testNode(dir, { name: "a", ip: "192.0.2.1" }), runner: host.runner, runtime }, dir });
  onTestFinished(async () => {
    await started.stop();
    rmSync(dir, { recursive: true });
  });
  return { kube, started, ...host };
}

const node = (name: string, podCIDR: string, annotations = {}) => ({ metadata: { name, annotations }, spec: { podCIDR } });
const told = (kube: ReturnType<typeof fakeKube>) => kube.read(nodes, "a")?.metadata.annotations ?? {};
const expected = expect.objectContaining({ [`${prefix}public-ip`]: "192.0.2.1", [`${prefix}backend-data`]: JSON.stringify({ VNI: 1, VtepMAC: mac }) });

function cluster() {
  const kube = fakeKube();
  kube.put(nodes, node("a", "10.42.0.0/24", { mine: "kept" }));
  return kube;
}

test("says how its node is reached, once", async () => {
  const { kube } = await start(cluster());
  await vi.waitFor(() => expect(told(kube)).toEqual(expected));
  expect(told(kube)["mine"]).toBe("kept");
  kube.edit(nodes, "a", undefined, (draft) => void (draft.metadata.labels = { x: "y" }));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(kube.writes).toHaveLength(1);
});

test("says it again when the Node was deleted and registered again: the others had dropped their routes", async () => {
  const { kube, started } = await start(cluster());
  await vi.waitFor(() => expect(told(kube)).toEqual(expected));
  await kube.delete(nodes, "a");
  kube.put(nodes, { metadata: { name: "a" }, spec: {} });
  await vi.waitFor(() => expect(told(kube)).toEqual(expected));
  kube.edit(nodes, "a", undefined, (draft) => void (draft.spec.podCIDR = "10.42.0.0/24"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([started.failures, started.restarts]).toEqual([[], []]);
});

test("starts anew when its Node has another pod range", async () => {
  const { kube, started } = await start(cluster());
  await kube.delete(nodes, "a");
  kube.put(nodes, node("a", "10.42.7.0/24"));
  expect([started.failures, started.restarts]).toEqual([[], ["spec.podCIDR of node a is 10.42.7.0/24 now, no longer 10.42.0.0/24"]]);
});

test("serves its own pods while the API server does not take what it says, and says it when it does", async () => {
  const kube = cluster();
  let away = true;
  kube.onWrite = () => {
    if (away) throw apiError(503, "ServiceUnavailable", "the server is away");
  };
  const { started, batches } = await start(kube);
  await vi.waitFor(() => expect(started.logged.join("\n")).toContain("warn the other nodes do not know yet how this one is reached"));
  kube.put(nodes, node("b", "10.42.1.0/24", { [`${prefix}public-ip`]: "192.0.2.2", [`${prefix}backend-type`]: "vxlan", [`${prefix}backend-data`]: '{"VtepMAC":"aa:bb:cc:dd:ee:02"}' }));
  await vi.waitFor(() => expect(batches).toContain("route replace 10.42.1.0/24 via 10.42.1.0 dev flannel.1 onlink"));
  away = false;
  await vi.waitFor(() => expect(told(kube)).toEqual(expected), 5000);
});

test("comes to the same end over a bad network", async () => {
  const outcomes = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(async (seed) => {
    const random = seeded(seed);
    const kube = cluster();
    const network = { random, failing: 0.6 };
    const { batches, started } = await start(kube, flaky(kube, network));
    const other = (i: number) => kube.put(nodes, node(`b${i}`, `10.42.${i}.0/24`, { [`${prefix}public-ip`]: `192.0.2.${i}`, [`${prefix}backend-type`]: "vxlan", [`${prefix}backend-data`]: `{"VtepMAC":"aa:bb:cc:dd:ee:0${i}"}` }));
    other(2);
    await kube.delete(nodes, "a");
    other(3);
    kube.put(nodes, node("a", "10.42.0.0/24"));
    await vi.waitFor(() => expect(told(kube)).toEqual(expected), 15_000);
    await vi.waitFor(() => expect(batches).toEqual(expect.arrayContaining([2, 3].map((i) => `route replace 10.42.${i}.0/24 via 10.42.${i}.0 dev flannel.1 onlink`))), 5000);
    return started.failures;
  }));
  expect(outcomes.flat()).toEqual([]);
});

test("pods of IPv6 are refused before anything is touched", async () => {
  const dir = mkdtempSync(join(tmpdir(), "flannel-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  await expect(startAlone(plugin, { needs: { node: testNode(dir, {}, { clusterCidr: ["fd00:42::/56", "10.42.0.0/16"] }) }, dir })).rejects.toMatchObject({
    code: "K3SP_CONFIG_INVALID", message: "cluster-cidr: fd00:42::/56 is not of IPv4, and flannel carries nothing else here",
  });
});
