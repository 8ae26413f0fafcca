/** The promises of the `scheduler` slot: which pods it binds, to which nodes they may go, and what the others are told. */
import assert from "node:assert/strict";
import { nodes, pods } from "../kube/resources.ts";
import type { FakeKube } from "../kube/fake.ts";
import type { Scheduler } from "../slots/cluster.ts";
import { startSubject, type Subject } from "./subject.ts";
import { pause, test, within, type ConformanceContext, type ConformanceTest } from "./suite.ts";

interface Place {
  readonly kube: FakeKube;
  /** With 4 CPUs and room for 110 pods. */
  node(name: string, spec?: object, labels?: Readonly<Record<string, string>>): void;
  pod(name: string, spec?: object): void;
  nodeOf(name: string): string | undefined;
  /** Waits for the bindings; `undefined` for a pod that must be reported as unschedulable. */
  bound(wanted: Readonly<Record<string, string | undefined>>): Promise<void>;
}

/** Long enough for a binding that should not be. */
const QUIET = 200;
const LIMIT = 5_000;

export function schedulerSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (place: Place) => Promise<void>): ConformanceTest => test(name, [], async (ctx) => run(await begin(subject, ctx)));
  return [
    each("a pod is bound to a node once one is there, and says so in its condition until then", async ({ kube, pod, node, bound }) => {
      pod("early");
      await bound({ early: undefined });
      node("a");
      await bound({ early: "a" });
      assert.equal(kube.writes.filter(({ resource, name }) => resource === "pods/binding" && name === "early").length, 1, "one binding");
    }),
    each("pods of other schedulers, bound ones, and those behind a scheduling gate are left alone", async ({ kube, pod, node, nodeOf, bound }) => {
      node("a");
      pod("other", { schedulerName: "somebody-else" });
      pod("gated", { schedulingGates: [{ name: "example.com/wait" }] });
      pod("there", { nodeName: "b" });
      pod("own");
      await bound({ own: "a" });
      await pause(QUIET);
      assert.deepEqual([nodeOf("other"), nodeOf("gated"), nodeOf("there")], [undefined, undefined, "b"]);
      kube.edit(pods, "gated", "default", (draft) => void (draft.spec.schedulingGates = []));
      await bound({ gated: "a" });
    }),
    each("requests: a node never gets more than it can give, and an ended pod gives its share back", requests),
    each("nodeSelector and required node affinity choose the node", async ({ pod, node, bound }) => {
      node("a", {}, { disk: "hdd" });
      node("b", {}, { disk: "ssd" });
      const terms = [{ matchExpressions: [{ key: "disk", operator: "In", values: ["ssd", "nvme"] }] }];
      pod("selects", { nodeSelector: { disk: "ssd" } });
      pod("prefers", { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } } } });
      pod("nowhere", { nodeSelector: { disk: "tape" } });
      await bound({ selects: "b", prefers: "b", nowhere: undefined });
    }),
    each("taints keep pods off that do not tolerate them; so does unschedulable", async ({ pod, node, bound }) => {
      node("tainted", { taints: [{ key: "team", value: "ops", effect: "NoSchedule" }] });
      node("cordoned", { unschedulable: true });
      pod("plain");
      pod("tolerates", { tolerations: [{ key: "team", operator: "Equal", value: "ops", effect: "NoSchedule" }] });
      await bound({ tolerates: "tainted", plain: undefined });
    }),
    each("two pods with one host port do not share a node", async ({ pod, node, bound, nodeOf }) => {
      const ported = { containers: [{ name: "c", image: "x", ports: [{ containerPort: 80, hostPort: 8080 }] }] };
      node("a");
      pod("first", ported);
      await bound({ first: "a" });
      pod("second", ported);
      await bound({ second: undefined });
      node("b");
      await within(LIMIT, () => assert.equal(nodeOf("second"), "b"));
    }),
    each("required pod anti-affinity keeps pods apart", async ({ kube, pod, node, bound }) => {
      const apart = { labelSelector: { matchLabels: { app: "db" } }, topologyKey: "kubernetes.io/hostname" };
      const spec = { affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [apart] } } };
      node("a");
      pod("one", spec);
      await bound({ one: "a" });
      kube.edit(pods, "one", "default", (draft) => void (draft.metadata.labels = { app: "db" }));
      pod("two", spec);
      await bound({ two: undefined });
    }),
    each("a refused binding is tried again, and costs the other pods nothing", async ({ kube, pod, node, bound }) => {
      let refusals = 1;
      kube.onWrite = ({ resource, name }) => {
        if (resource === "pods/binding" && name === "unlucky" && refusals-- > 0) throw new Error("the API server is away");
      };
      node("a");
      pod("unlucky");
      pod("lucky");
      await bound({ lucky: "a", unlucky: "a" });
    }),
  ];
}

async function requests({ kube, pod, node, nodeOf }: Place): Promise<void> {
  const cpu = (amount: string) => ({ containers: [{ name: "c", image: "x", resources: { requests: { cpu: amount } } }] });
  const names = ["a", "b", "c", "d", "e", "f"].map((name) => `pod-${name}`);
  node("small");
  for (const name of names) pod(name, cpu("1"));
  const running = () => names.filter((name) => nodeOf(name));
  await within(LIMIT, () => assert.equal(running().length, 4, "4 CPUs are 4 pods of one CPU"));
  await pause(QUIET);
  assert.equal(running().length, 4);
  kube.edit(pods, running()[0]!, "default", (draft) => void (draft.status = { phase: "Succeeded" }));
  await within(LIMIT, () => assert.equal(running().length, 5));
}

async function begin(subject: Subject, ctx: ConformanceContext): Promise<Place> {
  const started = await startSubject<Scheduler>(subject, ctx);
  ctx.defer(() => started.stop());
  const { world: { kube, node: self }, impl: { schedulerName } } = started;
  // The world's own node would take everything.
  kube.drop(nodes, self.name);
  const nodeOf = (name: string) => kube.read(pods, name, "default")?.spec?.nodeName;
  return {
    kube, nodeOf,
    node: (name, spec = {}, labels = {}) => void kube.put(nodes, {
      metadata: { name, labels: { "kubernetes.io/hostname": name, ...labels } }, spec,
      status: { allocatable: { cpu: "4", memory: "8Gi", pods: "110" }, conditions: [{ type: "Ready", status: "True" }] },
    }),
    pod: (name, spec = {}) => void kube.put(pods, {
      metadata: { name, namespace: "default", creationTimestamp: new Date().toISOString() }, spec: { schedulerName, containers: [{ name: "c", image: "x" }], ...spec }, status: { phase: "Pending" },
    }),
    bound: (wanted) => within(LIMIT, () => {
      for (const [name, node] of Object.entries(wanted)) {
        assert.equal(nodeOf(name), node, name);
        if (node) continue;
        const condition = kube.read(pods, name, "default")?.status?.conditions?.find(({ type }) => type === "PodScheduled");
        assert.deepEqual([condition?.status, condition?.reason], ["False", "Unschedulable"], name);
        assert.ok(condition?.message, "the condition says why");
      }
    }),
  };
}
