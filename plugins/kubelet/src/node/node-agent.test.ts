/** The Node of this machine, on an API server that is away, that refuses, and from which somebody deletes it. */
import { apiError, forbidden, leases, nodes, type KubeClient, type Node } from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { flaky, seeded } from "@k3s-p/plugin-api/kube/fake-flaky";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import type { KubeletContext } from "../context.ts";
import { testNode, testOptions } from "../testing/harness.ts";
import type { Machine } from "./machine.ts";
import { nodeAgent } from "./node-agent.ts";
import type { NodeState } from "./node-object.ts";

const machine = { capacity: { cpu: "2" }, allocatable: { cpu: "2" }, architecture: "amd64", info: {} } as unknown as Machine;
const state: NodeState = { images: [], runtimeVersion: "x", problem: undefined, diskPressure: false, memoryPressure: false, pidPressure: false };

interface Start {
  readonly options?: Partial<typeof testOptions>;
  readonly externalIp?: string;
  readonly warn?: (fields: object, message: string) => void;
  readonly kube?: FakeKube;
  /** What the kubelet has of the API, when that is not what the test has. */
  readonly client?: KubeClient;
}

/** Its clock does not wait: what is due in less than a beat runs at once, and beats run on demand. */
function start({ options = {}, externalIp, warn = () => {}, kube = fakeKube(), client = kube }: Start = {}) {
  const node = { ...testNode("/nowhere"), labels: { tier: "edge" }, ...(externalIp && { externalIp }) };
  let beat = (): void => {};
  const waits: number[] = [];
  const clock: KubeletContext["clock"] = {
    now: () => Date.now(),
    after(ms, fn) {
      if (ms >= 10_000) beat = fn;
      else {
        waits.push(ms);
        queueMicrotask(fn);
      }
      return () => {};
    },
  };
  const ctx = { kube: client, node, clock, log: { ...silentLogger, warn }, events: { record: () => {} }, options: { ...testOptions, ...options } } as unknown as KubeletContext;
  const agent = nodeAgent(ctx, machine, () => 10250, async () => state, async () => {});
  onTestFinished(() => agent.stop());
  return { kube, agent, waits, beat: () => beat(), node: () => kube.read(nodes, "n1") as Node | undefined };
}

test("an API server that is away is asked again until it has taken the node", async () => {
  const { kube, agent, waits, node } = start();
  let outage = 8;
  kube.onWrite = () => {
    if (outage-- > 0) throw apiError(503, "ServiceUnavailable", "the server is away");
  };
  await agent.start();
  expect(waits).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 7000]);
  expect(node()).toMatchObject({
    metadata: { labels: { tier: "edge", "kubernetes.io/hostname": "n1", "node.kubernetes.io/instance-type": "k3s" }, annotations: { "k3s.io/hostname": "n1", "k3s.io/internal-ip": "192.0.2.1" } },
    spec: { providerID: "k3s://n1" },
    status: { addresses: [{ type: "InternalIP", address: "192.0.2.1" }, { type: "Hostname", address: "n1" }] },
  });
});

test("an outage is told once a reason, and again when it comes again", async () => {
  const told: string[] = [];
  const { kube, agent, beat } = start({ warn: (fields, message) => told.push(`${message}: ${(fields as { err: string }).err}`) });
  await agent.start();
  let reason = "";
  kube.onWrite = () => {
    if (reason) throw apiError(503, "ServiceUnavailable", reason);
  };
  for (const next of ["away", "away", "away", "starting", "starting", "", "away", "away"]) {
    reason = next;
    const before = kube.writes.length;
    beat();
    await vi.waitFor(() => expect(kube.writes.length).toBeGreaterThan(before + 1));
    await new Promise(setImmediate);
  }
  expect(told).toEqual(["node lease not renewed: away", "node lease not renewed: starting", "node lease not renewed: away"]);
});

test("what the API server refuses is an error at once", async () => {
  const { kube, agent, waits } = start();
  kube.onWrite = () => {
    throw forbidden(nodes, "n1", "node \"n1\" is not allowed to set the following labels: x");
  };
  await expect(agent.start()).rejects.toThrow("not allowed to set the following labels");
  expect(waits).toEqual([]);
});

test("a Node that somebody deleted is registered again with the next beat, and so is its Lease", async () => {
  const { kube, agent, beat, node } = start();
  await agent.start();
  const first = node()!.metadata.uid;
  await kube.delete(nodes, "n1");
  await kube.delete(leases, "n1", { namespace: "kube-node-lease" });
  beat();
  await vi.waitFor(() => expect(node()).toMatchObject({ metadata: { labels: { tier: "edge" } }, spec: { providerID: "k3s://n1" } }));
  expect(node()!.metadata.uid).not.toBe(first);
  beat();
  await vi.waitFor(() => expect(kube.read(leases, "n1", "kube-node-lease")?.metadata.ownerReferences?.[0]).toMatchObject({ uid: node()!.metadata.uid }));
});

test("after an outage the status is written again, whatever the watch has told meanwhile", async () => {
  const { kube, agent, beat, node } = start();
  await agent.start();
  const ready = () => node()!.status!.conditions!.find(({ type }) => type === "Ready")!.status;
  kube.hold();
  kube.edit(nodes, "n1", undefined, (draft) => draft.status.conditions.forEach((condition: { status: string }) => void (condition.status = "Unknown")));
  beat();
  await vi.waitFor(() => expect(kube.writes.at(-1)).toMatchObject({ verb: "patch", resource: "leases" }));
  expect(ready()).toBe("Unknown");
  let outage = true;
  kube.onWrite = () => {
    if (outage) throw apiError(503, "ServiceUnavailable", "the server is away");
  };
  const written = kube.writes.length;
  beat();
  await vi.waitFor(() => expect(kube.writes.length).toBeGreaterThan(written + 1));
  outage = false;
  beat();
  await vi.waitFor(() => expect(ready()).toBe("True"));
  kube.release();
});

test("on a bad network it is registered once, and a good moment is enough for status and Lease", async () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const kube = fakeKube();
    const network = { random: seeded(seed), failing: 0.6 };
    const { agent, beat, node } = start({ kube, client: flaky(kube, network) });
    await agent.start();
    const { uid } = node()!.metadata;
    for (let i = 0; i < 10; i++) {
      beat();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    kube.edit(nodes, "n1", undefined, (draft) => void (draft.status.conditions = []));
    network.failing = 0;
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      beat();
    }
    await vi.waitFor(() => expect(node()).toMatchObject({ metadata: { uid }, status: { conditions: expect.arrayContaining([expect.objectContaining({ type: "Ready", status: "True" })]) } }));
    expect(kube.read(leases, "n1", "kube-node-lease")?.metadata.ownerReferences?.[0]?.uid).toBe(uid);
    agent.stop();
  }
});

test("a Node of an earlier version gets the id of its provider, one that has another keeps it, and nothing else is touched", async () => {
  for (const [before, after] of [[undefined, "k3s://n1"], ["hcloud://7", "hcloud://7"]] as const) {
    const { kube, agent, node } = start();
    kube.put(nodes, { metadata: { name: "n1", labels: { mine: "kept" } }, spec: { ...(before && { providerID: before }), podCIDR: "10.42.1.0/24", unschedulable: true } });
    await agent.start();
    expect(node()).toMatchObject({ metadata: { labels: { mine: "kept" } }, spec: { providerID: after, podCIDR: "10.42.1.0/24", unschedulable: true } });
    expect(node()!.metadata.labels).not.toHaveProperty("tier");
  }
});

test("an outer address that is no longer given is taken back, and the status is not written at each beat for it", async () => {
  const { kube, agent, node } = start({ externalIp: "198.51.100.7" });
  await agent.start();
  expect(node()!.status!.addresses!.map(({ type }) => type)).toEqual(["InternalIP", "ExternalIP", "Hostname"]);
  agent.stop();
  const next = start({ kube });
  await next.agent.start();
  await vi.waitFor(() => expect(node()!.status!.addresses).toEqual([{ type: "InternalIP", address: "192.0.2.1" }, { type: "Hostname", address: "n1" }]));
  expect(node()!.metadata.annotations).not.toHaveProperty("k3s.io/external-ip");
  const statuses = () => kube.writes.filter(({ resource }) => resource === "nodes/status").length;
  const before = statuses();
  next.beat();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(statuses()).toBe(before);
});

test("with a cloud controller of one's own, that one names the node's provider, its addresses, and takes the taint away", async () => {
  const { kube, agent, beat, node } = start({ options: { externalCloud: true } });
  await agent.start();
  const addresses = [{ type: "InternalDNS", address: "n1.cloud.example" }, { type: "InternalIP", address: "192.0.2.1" }];
  kube.edit(nodes, "n1", undefined, (draft) => Object.assign(draft.status, { addresses, conditions: [] }));
  beat();
  await vi.waitFor(() => expect(node()!.status!.conditions).toHaveLength(4));
  expect(node()!.status!.addresses).toEqual(addresses);
  expect(node()!.spec).toEqual({ taints: [{ key: "node.cloudprovider.kubernetes.io/uninitialized", value: "true", effect: "NoSchedule" }] });
});
