import { afterEach, expect, it, vi } from "vitest";
import { nodes, persistentVolumeClaims, persistentVolumes, podDisruptionBudgets, pods, storageClasses } from "@k3s-p/plugin-api/kube";
import { nodeObject, podObject, requesting, testCluster, type TestCluster, type TestOptions } from "./test-cluster.ts";

let cluster: TestCluster | undefined;
const start = async (options?: TestOptions) => (cluster = await testCluster(options));
afterEach(() => {
  cluster?.stop();
  vi.useRealTimers();
});

it("binds a pod and says so in an event", async () => {
  const c = await start();
  c.addNode("n1");
  c.addPod("web");
  await c.settle();
  expect(c.nodeOf("web")).toBe("n1");
  expect(c.messages("Scheduled")).toEqual(["Successfully assigned default/web to n1"]);
});

it("leaves pods of other schedulers alone", async () => {
  const c = await start();
  c.addNode("n1");
  c.addPod("theirs", { schedulerName: "other" });
  await c.settle();
  expect(c.nodeOf("theirs")).toBeUndefined();
});

it("says why a pod does not fit, in event and condition", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addPod("small", requesting({ cpu: "700m" }));
  await c.settle();
  c.addPod("big", requesting({ cpu: "500m" }));
  await c.settle();
  const message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
  expect(c.messages("FailedScheduling")).toEqual([message]);
  expect(c.pod("big")?.status?.conditions).toMatchObject([{ type: "PodScheduled", status: "False", reason: "Unschedulable", message }]);
});

it("tells that preemption cannot help when the node is too small", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addPod("huge", requesting({ cpu: "5" }));
  await c.settle();
  expect(c.messages("FailedScheduling")).toEqual([
    "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
  ]);
});

it("reports a cluster without nodes, and binds at once when a node comes", async () => {
  const c = await start();
  c.addPod("early");
  await c.settle();
  expect(c.messages("FailedScheduling")).toEqual(["no nodes available to schedule pods"]);
  c.addNode("n1");
  await c.settle();
  expect(c.nodeOf("early")).toBe("n1");
});

it("binds at once when a taint is removed", async () => {
  const c = await start();
  c.addNode("n1", { spec: { taints: [{ key: "node.kubernetes.io/not-ready", effect: "NoSchedule" }] } });
  c.addPod("web");
  await c.settle();
  expect(c.messages("FailedScheduling")[0]).toContain("0/1 nodes are available: 1 node(s) had untolerated taint(s).");
  c.addNode("n1");
  await c.settle();
  expect(c.nodeOf("web")).toBe("n1");
});

it("binds at once when another pod leaves", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addPod("first", requesting({ cpu: "1" }));
  await c.settle();
  c.addPod("second", requesting({ cpu: "1" }));
  await c.settle();
  expect(c.nodeOf("second")).toBeUndefined();
  c.kube.drop(pods, "first", "default");
  await c.settle();
  expect(c.nodeOf("second")).toBe("n1");
});

it("treats a finished pod as gone", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addPod("job", requesting({ cpu: "1" }));
  await c.settle();
  c.addPod("next", requesting({ cpu: "1" }));
  await c.settle();
  c.kube.put(pods, { ...c.pod("job"), status: { phase: "Succeeded" } });
  await c.settle();
  expect(c.nodeOf("next")).toBe("n1");
});

it("places the more important pod first", async () => {
  const c = await start();
  c.addPod("low", { ...requesting({ cpu: "1" }), priority: 1 });
  c.addPod("high", { ...requesting({ cpu: "1" }), priority: 10, preemptionPolicy: "Never" });
  c.addNode("n1", { allocatable: { cpu: "1" } });
  await c.settle();
  expect([c.nodeOf("high"), c.nodeOf("low")]).toEqual(["n1", undefined]);
});

it("holds a gated pod until its gates are removed", async () => {
  const c = await start();
  c.addNode("n1");
  c.addPod("gated", { schedulingGates: [{ name: "example.com/wait" }] });
  await c.settle();
  expect(c.nodeOf("gated")).toBeUndefined();
  expect(c.pod("gated")?.status?.conditions).toMatchObject([{ reason: "SchedulingGated" }]);
  const { schedulingGates: _gates, ...spec } = c.pod("gated")!.spec!;
  c.kube.put(pods, { ...c.pod("gated"), spec });
  await c.settle();
  expect(c.nodeOf("gated")).toBe("n1");
});

it("retries after a second when a binding fails", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  let refusals = 1;
  const c = await start({
    onBind: () => {
      if (refusals-- > 0) throw new Error("the server is unhappy");
    },
  });
  c.addNode("n1");
  c.addPod("web");
  await c.settle();
  expect(c.messages("FailedScheduling")).toEqual(["the server is unhappy"]);
  expect(c.nodeOf("web")).toBeUndefined();
  await vi.advanceTimersByTimeAsync(1_000);
  await c.settle();
  expect(c.nodeOf("web")).toBe("n1");
});

it("evicts less important pods, and binds when they are gone", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addPod("small", { ...requesting({ cpu: "400m" }), priority: 5 });
  c.addPod("low", { ...requesting({ cpu: "600m" }), priority: 1 });
  await c.settle();
  c.addPod("vip", { ...requesting({ cpu: "600m" }), priority: 1000 });
  await c.settle();
  expect(c.pod("low")).toBeUndefined();
  expect(c.nodeOf("small")).toBe("n1");
  expect(c.nodeOf("vip")).toBe("n1");
  expect(c.messages("Preempted")).toEqual(["Preempted by pod uid-of-vip on node n1"]);
  expect(c.pod("vip")?.status).toMatchObject({ nominatedNodeName: "n1" });
});

it("prefers victims that no disruption budget protects", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addNode("n2", { allocatable: { cpu: "1" } });
  c.addPod("guarded", { ...requesting({ cpu: "1" }), priority: 1, nodeName: "n1" }, { labels: { app: "db" } });
  c.addPod("free", { ...requesting({ cpu: "1" }), priority: 2, nodeName: "n2" });
  c.kube.put(podDisruptionBudgets, {
    metadata: { name: "db", namespace: "default" }, spec: { selector: { matchLabels: { app: "db" } } }, status: { disruptionsAllowed: 0 },
  });
  await c.settle();
  c.addPod("vip", { ...requesting({ cpu: "1" }), priority: 1000 });
  await c.settle();
  expect(c.nodeOf("vip")).toBe("n2");
  expect(c.pod("guarded")).toBeDefined();
});

it("keeps the promised node while victims terminate, and gives it back when it is of no use", async () => {
  const c = await start({ gracefulDeletion: true });
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addPod("low", { ...requesting({ cpu: "1" }), priority: 1 });
  await c.settle();
  c.addPod("vip", { ...requesting({ cpu: "1" }), priority: 1000 });
  await c.settle();
  expect(c.pod("low")?.metadata.deletionTimestamp).toBeDefined();
  expect(c.pod("low")?.status?.conditions).toMatchObject([{ type: "DisruptionTarget", reason: "PreemptionByScheduler" }]);
  c.addPod("rival", { ...requesting({ cpu: "1" }), priority: 1 });
  c.addNode("n1", { allocatable: { cpu: "1" }, labels: { changed: "yes" } });
  await c.settle();
  expect(c.messages("FailedScheduling").join()).toContain("not eligible due to a terminating pod on the nominated node");
  expect(c.pod("vip")?.status?.nominatedNodeName).toBe("n1");
  c.addNode("n1", { allocatable: { cpu: "500m" } });
  c.kube.drop(pods, "low", "default");
  await c.settle();
  c.addNode("n1", { allocatable: { cpu: "600m" }, labels: { changed: "again" } });
  c.addPod("small", requesting({ cpu: "500m" }));
  await c.settle();
  expect([c.nodeOf("vip"), c.nodeOf("rival"), c.nodeOf("small")]).toEqual([undefined, undefined, "n1"]);
});

it("does not let others take the place that victims left", async () => {
  const c = await start({ gracefulDeletion: true });
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addPod("low", { ...requesting({ cpu: "1" }), priority: 1 });
  await c.settle();
  c.addPod("vip", { ...requesting({ cpu: "1" }), priority: 1000 });
  await c.settle();
  c.addPod("rival", { ...requesting({ cpu: "1" }), priority: 10 });
  c.kube.drop(pods, "low", "default");
  await c.settle();
  expect([c.nodeOf("vip"), c.nodeOf("rival")]).toEqual(["n1", undefined]);
});

it("never preempts for a pod that asked not to", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { cpu: "1" } });
  c.addPod("low", { ...requesting({ cpu: "1" }), priority: 1 });
  await c.settle();
  c.addPod("polite", { ...requesting({ cpu: "1" }), priority: 1000, preemptionPolicy: "Never" });
  await c.settle();
  expect(c.pod("low")).toBeDefined();
  expect(c.messages("FailedScheduling")[0]).toContain("preemption: not eligible due to preemptionPolicy=Never.");
});

it("starts a pod that wants company once its company is placed", async () => {
  const c = await start();
  c.addNode("n1");
  c.addNode("n2");
  const near = { labelSelector: { matchLabels: { app: "db" } }, topologyKey: "kubernetes.io/hostname" };
  c.addPod("web", { affinity: { podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [near] } } });
  await c.settle();
  expect(c.messages("FailedScheduling")[0]).toContain("2 node(s) didn't match pod affinity rules");
  c.addPod("db", {}, { labels: { app: "db" } });
  await c.settle();
  expect(c.nodeOf("web")).toBe(c.nodeOf("db"));
  expect(c.nodeOf("web")).toBeDefined();
});

const waitingClass = { metadata: { name: "local" }, provisioner: "rancher.io/local-path", volumeBindingMode: "WaitForFirstConsumer" };
const claimNamed = (name: string, spec: object = {}) => ({
  metadata: { name, namespace: "default" },
  spec: { storageClassName: "local", accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, ...spec },
});
const mounting = (claim: string) => ({ volumes: [{ name: "data", persistentVolumeClaim: { claimName: claim } }] });

it("hands a waiting claim to its provisioner and binds the pod when the claim is bound", async () => {
  const c = await start();
  c.addNode("n1");
  c.kube.put(storageClasses, waitingClass);
  c.kube.put(persistentVolumeClaims, claimNamed("data"));
  c.addPod("db", mounting("data"));
  await c.settle();
  const claim = c.kube.read(persistentVolumeClaims, "data")!;
  expect(claim.metadata.annotations).toMatchObject({ "volume.kubernetes.io/selected-node": "n1" });
  expect(c.nodeOf("db")).toBeUndefined();
  c.kube.put(persistentVolumes, { metadata: { name: "pv" }, spec: {} });
  c.kube.put(persistentVolumeClaims, { ...claim, spec: { ...claim.spec, volumeName: "pv" }, status: { phase: "Bound" } });
  await c.settle();
  expect(c.nodeOf("db")).toBe("n1");
});

it("takes the smallest free volume that the node can reach", async () => {
  const c = await start();
  c.addNode("n1");
  c.addNode("n2");
  const volume = (name: string, size: string, node: string) => ({
    metadata: { name }, status: { phase: "Available" },
    spec: {
      storageClassName: "local", capacity: { storage: size }, accessModes: ["ReadWriteOnce"],
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: [node] }] }] } },
    },
  });
  c.kube.put(storageClasses, { ...waitingClass, provisioner: "kubernetes.io/no-provisioner" });
  c.kube.put(persistentVolumes, volume("large", "10Gi", "n2"));
  c.kube.put(persistentVolumes, volume("fitting", "2Gi", "n2"));
  c.kube.put(persistentVolumeClaims, claimNamed("data"));
  c.addPod("db", mounting("data"));
  await c.settle();
  expect(c.kube.read(persistentVolumes, "fitting")?.spec?.claimRef).toMatchObject({ name: "data", namespace: "default" });
  expect(c.kube.read(persistentVolumes, "large")?.spec?.claimRef).toBeUndefined();
});

it("waits for a claim that is missing, then goes on", async () => {
  const c = await start();
  c.addNode("n1");
  c.addPod("db", mounting("data"));
  await c.settle();
  expect(c.messages("FailedScheduling")[0]).toContain(
    '0/1 nodes are available: persistentvolumeclaim "data" not found. preemption: 0/1 nodes are available: 1 Preemption is not helpful',
  );
  c.kube.put(persistentVolumes, { metadata: { name: "pv" }, spec: {} });
  c.kube.put(persistentVolumeClaims, claimNamed("data", { volumeName: "pv" }));
  await c.settle();
  expect(c.nodeOf("db")).toBe("n1");
});

it("gives a claim back to the queue when its pod is deleted while it waits", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { pods: "1" } });
  c.kube.put(storageClasses, waitingClass);
  c.kube.put(persistentVolumeClaims, claimNamed("data"));
  c.addPod("db", mounting("data"));
  await c.settle();
  c.addPod("next");
  await c.settle();
  expect(c.nodeOf("next")).toBeUndefined();
  c.kube.drop(pods, "db", "default");
  await c.settle();
  expect(c.nodeOf("next")).toBe("n1");
});

it("looks only at the node that a daemon's pod names", async () => {
  const c = await start();
  for (const name of ["n1", "n2", "n3"]) c.addNode(name, name === "n2" ? { allocatable: { cpu: "1" } } : {});
  const terms = [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["n2"] }] }];
  const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } } };
  c.addPod("daemon", { affinity });
  c.addPod("daemon-big", { affinity, ...requesting({ cpu: "2" }) });
  await c.settle();
  expect(c.nodeOf("daemon")).toBe("n2");
  expect(c.messages("FailedScheduling")[0]).toContain(
    "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].",
  );
});

it("counts pods that were bound before it started", async () => {
  const c = await start();
  c.kube.put(nodes, nodeObject("n1", { allocatable: { cpu: "1" } }));
  c.kube.put(pods, podObject("old", { ...requesting({ cpu: "1" }), nodeName: "n1" }));
  c.addPod("new", requesting({ cpu: "100m" }));
  await c.settle();
  expect(c.nodeOf("new")).toBeUndefined();
});

it("spreads the pods of one controller over the nodes", async () => {
  const c = await start();
  for (const name of ["n1", "n2", "n3"]) c.addNode(name);
  for (let i = 0; i < 6; i++) c.addPod(`web-${i}`, {}, { labels: { app: "web" } });
  await c.settle();
  const counts = Map.groupBy(["0", "1", "2", "3", "4", "5"], (i) => c.nodeOf(`web-${i}`));
  expect([...counts.values()].map((list) => list.length)).toEqual([2, 2, 2]);
});

it("asks once for many pods that cannot be placed for the same reason", async () => {
  const c = await start();
  c.addNode("n1", { allocatable: { cpu: "1" } });
  for (let i = 0; i < 50; i++) c.addPod(`p${i}`, requesting({ cpu: "2" }));
  await c.settle();
  expect(new Set(c.messages("FailedScheduling")).size).toBe(1);
  c.addNode("n2", { allocatable: { cpu: "4" } });
  await c.settle();
  expect(c.kube.all(pods).filter((pod) => (pod as { spec?: { nodeName?: string } }).spec?.nodeName === "n2")).toHaveLength(2);
});
