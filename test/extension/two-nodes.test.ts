/** What the control plane makes of two nodes, one of which falls silent. Their kubelets are pretended, with the rights of real ones. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import {
  conditionIsTrue, daemonSets, deployments, endpointSlices, keyOf, leases, nodes, pods, services, type KubeClient, type Lease, type Node, type Pod,
} from "@k3s-p/plugin-api/kube";
import { createTestCluster, type TestCluster } from "../kit/index.ts";

const GRACE_SECONDS = 3;
let cluster: TestCluster;
const ends: (() => void)[] = [];
const lives = new Map<string, () => void>();

/** Registers the node, beats, and runs every pod that is bound to it, until it falls silent. */
async function startNode(name: string, address: string): Promise<void> {
  const kube = cluster.as({ name: `system:node:${name}`, groups: ["system:nodes", "system:authenticated"] });
  const condition = { type: "Ready", status: "True", reason: "KubeletReady", message: "", lastHeartbeatTime: now(), lastTransitionTime: now() };
  const status = {
    addresses: [{ type: "InternalIP", address }, { type: "Hostname", address: name }], capacity: { cpu: "4", memory: "8Gi", pods: "110" },
    allocatable: { cpu: "4", memory: "8Gi", pods: "110" }, conditions: [condition],
  };
  const known = await kube.create(nodes, { metadata: { name, labels: { "kubernetes.io/hostname": name } }, spec: { providerID: `k3s://${name}` }, status } as unknown as Node)
    .catch(() => kube.patch(nodes, name, { status: { conditions: [condition] } }, { subresource: "status", type: "strategic" }));
  const spec = () => ({ holderIdentity: name, leaseDurationSeconds: 40, renewTime: new Date().toISOString().replace("Z", "000Z") });
  const ownerReferences = [{ apiVersion: "v1", kind: "Node", name, uid: known.metadata.uid }];
  const beat = () => kube.patch(leases, name, { spec: spec() }, { namespace: "kube-node-lease" }).catch(() => undefined);
  await kube.create(leases, { metadata: { name, namespace: "kube-node-lease", ownerReferences }, spec: spec() } as unknown as Lease).catch(beat);
  const timer = setInterval(() => void beat(), 500);
  const mine = kube.informer(pods, { fieldSelector: `spec.nodeName=${name}` });
  await mine.synced;
  const see = (pod: Pod) => void run(kube, pod).catch(() => undefined);
  mine.on({ added: see, updated: see });
  const stop = () => {
    clearInterval(timer);
    mine.stop();
  };
  lives.set(name, stop);
  ends.push(stop);
}

let addresses = 10;
async function run(kube: KubeClient, { metadata, spec, status }: Pod): Promise<void> {
  const { name, namespace } = metadata as { name: string; namespace: string };
  if (metadata.deletionTimestamp) return void (await kube.delete(pods, name, { namespace, gracePeriodSeconds: 0 }));
  const ready = ["Initialized", "PodScheduled", "ContainersReady", "Ready"].map((type) => ({ type, status: "True", lastTransitionTime: now() }));
  if (conditionIsTrue(status?.conditions, "Ready")) return;
  const podIP = status?.podIP ?? `10.42.200.${addresses++}`;
  const containerStatuses = spec!.containers.map((c) => ({ name: c.name, image: c.image, imageID: "", ready: true, started: true, restartCount: 0, state: { running: { startedAt: now() } } }));
  await kube.patch(pods, name, { status: { phase: "Running", podIP, podIPs: [{ ip: podIP }], conditions: ready, containerStatuses } }, { namespace, subresource: "status", type: "strategic" });
}

const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");
const until = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 15_000, interval: 50 });
const podsOf = async (app: string) => (await cluster.kube.list(pods, { namespace: "default", labelSelector: `app=${app}` })).items;
const spread = async (app: string) => (await podsOf(app)).map((pod) => pod.spec?.nodeName).sort();
const template = (app: string, more: object = {}) => ({ metadata: { labels: { app } }, spec: { containers: [{ name: "c", image: "i" }], ...more } });
const endpoints = async () => (await cluster.kube.list(endpointSlices, { namespace: "default", labelSelector: "kubernetes.io/service-name=web" })).items
  .flatMap((slice) => slice.endpoints ?? []).map(({ nodeName, conditions }) => `${nodeName} ${conditions?.ready ? "ready" : "not ready"}`).sort();
const shown = async () => ((await cluster.kube.get(services, "web", "default")).status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip);

beforeAll(async () => {
  cluster = await createTestCluster({
    controllers: true, scheduler: true, config: { "controller-manager": { managerArg: [`node-monitor-grace-period=${GRACE_SECONDS}s`] } },
    plugins: { servicelb: fileURLToPath(new URL("../../plugins/servicelb", import.meta.url)) },
  });
  await startNode("n1", "192.0.2.11");
  await startNode("n2", "192.0.2.12");
  const selector = { matchLabels: { app: "web" } };
  await cluster.kube.create(deployments, { metadata: { name: "web", namespace: "default" }, spec: { replicas: 4, selector, template: template("web") } } as never);
  await cluster.kube.create(daemonSets, { metadata: { name: "each", namespace: "default" }, spec: { selector: { matchLabels: { app: "each" } }, template: template("each") } } as never);
  await cluster.kube.create(services, { metadata: { name: "web", namespace: "default" }, spec: { type: "LoadBalancer", selector: { app: "web" }, ports: [{ port: 80 }] } } as never);
});
afterAll(async () => {
  for (const end of ends) end();
  await cluster?.stop();
});

test("each node has a range of its own, pods and daemons on both, and the load balancer has both addresses", async () => {
  await until(async () => expect((await cluster.kube.list(nodes)).items.map(({ spec }) => spec?.podCIDR).sort()).toEqual(["10.42.0.0/24", "10.42.1.0/24"]));
  await until(async () => expect(await spread("web")).toEqual(["n1", "n1", "n2", "n2"]));
  await until(async () => expect(await spread("each")).toEqual(["n1", "n2"]));
  await until(async () => expect(await endpoints()).toEqual(["n1 ready", "n1 ready", "n2 ready", "n2 ready"]));
  await until(async () => expect(await shown()).toEqual(["192.0.2.11", "192.0.2.12"]));
});

test("a node that falls silent is tainted, its endpoints and addresses take no traffic, and its pods go when they tolerate no more", async () => {
  const patient = { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute", tolerationSeconds: 1 };
  await cluster.kube.create(pods, { metadata: { name: "hasty", namespace: "default", labels: { app: "hasty" } }, spec: { nodeName: "n2", containers: [{ name: "c", image: "i" }], tolerations: [patient] } } as never);
  await until(async () => expect((await podsOf("hasty"))[0]?.status?.phase).toBe("Running"));
  lives.get("n2")!();
  await until(async () => expect((await cluster.kube.get(nodes, "n2")).spec?.taints?.map(({ key, effect }) => `${key}:${effect}`).sort()).toEqual([
    "node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule",
  ]));
  await until(async () => expect(await endpoints()).toEqual(["n1 ready", "n1 ready", "n2 not ready", "n2 not ready"]));
  await until(async () => expect(await shown()).toEqual(["192.0.2.11"]));
  await until(async () => expect((await podsOf("hasty"))[0]?.metadata.deletionTimestamp).toBeDefined());
  const patience = (await podsOf("web")).map(({ metadata, spec }) => [metadata.deletionTimestamp, spec?.tolerations?.find(({ key }) => key?.endsWith("/unreachable"))?.tolerationSeconds]);
  expect(patience).toEqual(Array(4).fill([undefined, 300]));
  await cluster.kube.patch(deployments, "web", { spec: { replicas: 6 } }, { namespace: "default" });
  await until(async () => expect(await spread("web")).toEqual(["n1", "n1", "n1", "n1", "n2", "n2"]));
});

test("it takes up where it was when it is heard again", async () => {
  await startNode("n2", "192.0.2.12");
  await until(async () => expect((await cluster.kube.get(nodes, "n2")).spec?.taints ?? []).toEqual([]));
  await until(async () => expect((await endpoints()).filter((line) => line === "n2 ready")).toHaveLength(2));
  await until(async () => expect(await shown()).toEqual(["192.0.2.11", "192.0.2.12"]));
  await until(async () => expect(await podsOf("hasty")).toEqual([]));
  expect(cluster.logged.filter((line) => /^(warn|error)/.test(line))).toEqual([]);
});

test("a deployment moves away from a node that is deleted, and a daemon's pod is not made for it", async () => {
  lives.get("n2")!();
  const before = (await podsOf("web")).map(keyOf);
  await cluster.kube.delete(nodes, "n2");
  await until(async () => expect((await endpoints()).filter((line) => line.startsWith("n1"))).toHaveLength(4));
  await until(async () => expect((await cluster.kube.get(daemonSets, "each", "default")).status?.desiredNumberScheduled).toBe(1));
  await until(async () => expect(await shown()).toEqual(["192.0.2.11"]));
  expect((await podsOf("web")).map(keyOf)).toEqual(before);
});
