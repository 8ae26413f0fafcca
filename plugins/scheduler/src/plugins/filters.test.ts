import { describe, expect, it } from "vitest";
import { createCluster } from "../cluster.ts";
import { compile, type SchedulingPlugin } from "../framework.ts";
import { podInfo } from "../pod-info.ts";
import { nodeObject, podObject, requesting, type NodeOptions } from "../test-cluster.ts";
import { interPodAffinity } from "./inter-pod-affinity.ts";
import { nodeAffinity } from "./node-affinity.ts";
import { nodePorts } from "./node-ports.ts";
import { nodeResourcesFit } from "./node-resources-fit.ts";
import { nodeUnschedulable } from "./node-unschedulable.ts";
import { podTopologySpread } from "./pod-topology-spread.ts";
import { taintToleration } from "./taint-toleration.ts";

interface Existing {
  readonly on: string;
  readonly spec?: object;
  readonly labels?: Readonly<Record<string, string>>;
  readonly namespace?: string;
}

interface World {
  readonly nodes: Readonly<Record<string, NodeOptions>>;
  readonly existing?: readonly Existing[];
  readonly pod: object;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Node -> reasons, or "fits". */
function verdicts(plugin: SchedulingPlugin<any>, world: World): Record<string, string> {
  const cluster = createCluster((name) => ({ "kubernetes.io/metadata.name": name }));
  for (const [name, options] of Object.entries(world.nodes)) cluster.setNode(nodeObject(name, options));
  world.existing?.forEach(({ on, spec, labels, namespace = "default" }, i) =>
    cluster.setPod(podObject(`existing-${i}`, spec, { labels, namespace }), on),
  );
  const framework = compile([plugin]);
  const cycle = framework.begin(podInfo(podObject("incoming", world.pod, { labels: world.labels })), cluster);
  const result = (name: string) => framework.check(cycle, cluster.node(name)!)?.rejection.reasons.join("; ") ?? "fits";
  return Object.fromEntries(Object.keys(world.nodes).map((name) => [name, result(name)]));
}

const port = (hostPort: number, hostIP?: string, protocol = "TCP") => ({
  containers: [{ name: "c", ports: [{ containerPort: 80, hostPort, protocol, ...(hostIP && { hostIP }) }] }],
});

describe("NodePorts", () => {
  const taken = "node(s) didn't have free ports for the requested pod ports";
  const cases: [string, object, object, string][] = [
    ["same port", port(80), port(80), taken],
    ["the wildcard clashes with an address", port(54322, "127.0.0.1"), port(54322, "0.0.0.0"), taken],
    ["an address clashes with the wildcard", port(54322), port(54322, "127.0.0.1"), taken],
    ["other address", port(54321, "127.0.0.1"), port(54321, "10.0.0.1"), "fits"],
    ["other protocol", port(54321, "10.0.0.1"), port(54321, "10.0.0.1", "UDP"), "fits"],
  ];
  it.each(cases)("%s", (_name, there, pod, expected) => {
    expect(verdicts(nodePorts, { nodes: { n1: {} }, existing: [{ on: "n1", spec: there }], pod })).toEqual({ n1: expected });
  });
});

describe("NodeResourcesFit", () => {
  const fits = (pod: object, allocatable: Record<string, string>) =>
    verdicts(nodeResourcesFit, { nodes: { n1: { allocatable } }, pod })["n1"];

  it("takes the larger of init containers and containers plus sidecars", () => {
    const container = (name: string, cpu: string, more = {}) => ({ name, resources: { requests: { cpu } }, ...more });
    const pod = {
      containers: [container("a", "1")],
      initContainers: [container("sidecar", "1", { restartPolicy: "Always" }), container("init", "2")],
      overhead: { cpu: "250m" },
    };
    expect(fits(pod, { cpu: "3250m" })).toBe("fits");
    expect(fits(pod, { cpu: "3249m" })).toBe("Insufficient cpu");
  });

  it("names each resource that is short", () => {
    expect(fits(requesting({ cpu: "9", memory: "9Gi", "example.com/gpu": "1" }), {})).toBe(
      "Insufficient cpu; Insufficient memory; Insufficient example.com/gpu",
    );
  });

  it("counts pods", () => {
    expect(verdicts(nodeResourcesFit, { nodes: { n1: { allocatable: { pods: "1" } } }, existing: [{ on: "n1" }], pod: {} })).toEqual({
      n1: "Too many pods",
    });
  });
});

describe("taints and cordons", () => {
  const taint = { key: "dedicated", value: "db", effect: "NoSchedule" };
  const refused = "node(s) had untolerated taint(s)";
  const cases: [string, object[] | undefined, string][] = [
    ["without a toleration", undefined, refused],
    ["with an equal toleration", [{ key: "dedicated", operator: "Equal", value: "db", effect: "NoSchedule" }], "fits"],
    ["with another value", [{ key: "dedicated", value: "web" }], refused],
    ["with Exists", [{ key: "dedicated", operator: "Exists" }], "fits"],
    ["with a toleration of everything", [{ operator: "Exists" }], "fits"],
    ["with another effect", [{ key: "dedicated", operator: "Exists", effect: "NoExecute" }], refused],
  ];
  it.each(cases)("%s", (_name, tolerations, expected) => {
    expect(verdicts(taintToleration, { nodes: { n1: { spec: { taints: [taint] } } }, pod: { tolerations } })).toEqual({ n1: expected });
  });

  it("ignores PreferNoSchedule as a filter", () => {
    const soft = { ...taint, effect: "PreferNoSchedule" };
    expect(verdicts(taintToleration, { nodes: { n1: { spec: { taints: [soft] } } }, pod: {} })).toEqual({ n1: "fits" });
  });

  it("refuses a cordoned node", () => {
    expect(verdicts(nodeUnschedulable, { nodes: { n1: { spec: { unschedulable: true } } }, pod: {} })).toEqual({
      n1: "node(s) were unschedulable",
    });
  });
});

describe("NodeAffinity", () => {
  const no = "node(s) didn't match Pod's node affinity/selector";
  const required = (...nodeSelectorTerms: object[]) => ({
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
  });
  const expression = (key: string, operator: string, ...values: string[]) => ({ matchExpressions: [{ key, operator, values }] });
  const nodes = { ssd: { labels: { disk: "ssd", cores: "8" } }, hdd: { labels: { disk: "hdd" } } };
  const cases: [string, object, Record<string, string>][] = [
    ["nodeSelector", { nodeSelector: { disk: "ssd" } }, { ssd: "fits", hdd: no }],
    ["In", required(expression("disk", "In", "hdd")), { ssd: no, hdd: "fits" }],
    ["Gt", required(expression("cores", "Gt", "4")), { ssd: "fits", hdd: no }],
    ["terms are alternatives", required(expression("disk", "In", "hdd"), expression("cores", "Exists")), { ssd: "fits", hdd: "fits" }],
    ["an empty term matches nothing", required({}), { ssd: no, hdd: no }],
    ["matchFields", required({ matchFields: [{ key: "metadata.name", operator: "In", values: ["hdd"] }] }), { ssd: no, hdd: "fits" }],
  ];
  it.each(cases)("%s", (_name, pod, expected) => {
    expect(verdicts(nodeAffinity, { nodes, pod })).toEqual(expected);
  });
});

describe("InterPodAffinity", () => {
  const zones = { a1: { labels: { zone: "a" } }, a2: { labels: { zone: "a" } }, b1: { labels: { zone: "b" } }, none: {} };
  const term = (app: string, topologyKey = "zone", more = {}) => ({ labelSelector: { matchLabels: { app } }, topologyKey, ...more });
  const near = (...terms: object[]) => ({ affinity: { podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: terms } } });
  const far = (...terms: object[]) => ({ affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: terms } } });
  const db = { on: "a1", labels: { app: "db" } };
  const noAffinity = "node(s) didn't match pod affinity rules";
  const noAnti = "node(s) didn't match pod anti-affinity rules";
  const noExisting = "node(s) didn't satisfy existing pods anti-affinity rules";

  it("allows the topology where the wanted pod is", () => {
    const expected = { a1: "fits", a2: "fits", b1: noAffinity, none: noAffinity };
    expect(verdicts(interPodAffinity, { nodes: zones, existing: [db], pod: near(term("db")) })).toEqual(expected);
  });

  it("lets the first of a group that wants its own kind start anywhere with the topology", () => {
    const world = { nodes: zones, pod: near(term("web")), labels: { app: "web" } };
    expect(verdicts(interPodAffinity, world)).toEqual({ a1: "fits", a2: "fits", b1: "fits", none: noAffinity });
  });

  it("keeps away from pods it shuns", () => {
    const expected = { a1: noAnti, a2: noAnti, b1: "fits", none: "fits" };
    expect(verdicts(interPodAffinity, { nodes: zones, existing: [db], pod: far(term("db")) })).toEqual(expected);
  });

  it("keeps away from pods that shun it", () => {
    const existing = [{ on: "b1", spec: far(term("web")) }];
    const expected = { a1: "fits", a2: "fits", b1: noExisting, none: "fits" };
    expect(verdicts(interPodAffinity, { nodes: zones, existing, pod: {}, labels: { app: "web" } })).toEqual(expected);
  });

  it("looks into its own namespace unless told otherwise", () => {
    const other = { ...db, namespace: "other" };
    const own = verdicts(interPodAffinity, { nodes: zones, existing: [other], pod: near(term("db")) });
    const named = verdicts(interPodAffinity, { nodes: zones, existing: [other], pod: near(term("db", "zone", { namespaces: ["other"] })) });
    const all = verdicts(interPodAffinity, { nodes: zones, existing: [other], pod: near(term("db", "zone", { namespaceSelector: {} })) });
    expect([own["a1"], named["a1"], all["a1"]]).toEqual([noAffinity, "fits", "fits"]);
  });
});

describe("PodTopologySpread", () => {
  const plugin = podTopologySpread(() => undefined);
  const uneven = "node(s) didn't match pod topology spread constraints";
  const nodes = { a: { labels: { zone: "a" } }, b: { labels: { zone: "b" } }, none: {} };
  const spread = (more = {}) => ({
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: "zone", whenUnsatisfiable: "DoNotSchedule", labelSelector: { matchLabels: { app: "web" } }, ...more },
    ],
  });
  const web = (on: string) => ({ on, labels: { app: "web" } });

  it("keeps the difference within maxSkew", () => {
    const world = { nodes, existing: [web("a")], pod: spread(), labels: { app: "web" } };
    expect(verdicts(plugin, world)).toEqual({ a: uneven, b: "fits", none: `${uneven} (missing required label)` });
  });

  it("counts missing domains as empty below minDomains", () => {
    const world = { nodes, existing: [web("a"), web("b")], pod: spread({ minDomains: 3 }), labels: { app: "web" } };
    expect(verdicts(plugin, world)).toMatchObject({ a: uneven, b: uneven });
  });

  it("leaves out nodes that the pod's own affinity excludes", () => {
    const world = { nodes, existing: [web("a")], pod: { ...spread(), nodeSelector: { zone: "a" } }, labels: { app: "web" } };
    expect(verdicts(plugin, world)).toMatchObject({ a: "fits" });
  });

  it("does not count terminating pods", () => {
    const cluster = createCluster(() => undefined);
    for (const [name, options] of Object.entries(nodes)) cluster.setNode(nodeObject(name, options));
    cluster.setPod(podObject("old", {}, { labels: { app: "web" }, deletionTimestamp: "2026-01-01T00:00:00Z" }), "a");
    const framework = compile([plugin]);
    const cycle = framework.begin(podInfo(podObject("new", spread(), { labels: { app: "web" } })), cluster);
    expect(framework.check(cycle, cluster.node("a")!)).toBeUndefined();
  });
});
