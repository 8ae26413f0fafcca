import { describe, expect, it } from "vitest";
import { createCluster } from "../cluster.ts";
import type { SchedulingPlugin } from "../framework.ts";
import { podInfo } from "../pod-info.ts";
import { nodeObject, podObject, requesting, type NodeOptions } from "../test-cluster.ts";
import { balancedAllocation } from "./balanced-allocation.ts";
import { imageLocality } from "./image-locality.ts";
import { interPodAffinity } from "./inter-pod-affinity.ts";
import { nodeAffinity } from "./node-affinity.ts";
import { nodeResourcesFit } from "./node-resources-fit.ts";
import { podTopologySpread } from "./pod-topology-spread.ts";
import { taintToleration } from "./taint-toleration.ts";

interface World {
  readonly nodes: Readonly<Record<string, NodeOptions>>;
  readonly existing?: Readonly<Record<string, object>>;
  readonly pod?: object;
}

function scores(plugin: SchedulingPlugin<any>, { nodes, existing = {}, pod = {} }: World): Record<string, number> | "skipped" {
  const cluster = createCluster(() => undefined);
  for (const [name, options] of Object.entries(nodes)) cluster.setNode(nodeObject(name, options));
  for (const [node, spec] of Object.entries(existing)) cluster.setPod(podObject(`on-${node}`, spec, { labels: { app: "web" } }), node);
  const list = cluster.nodes();
  const out = new Float64Array(list.length);
  if (!plugin.score!(list, podInfo(podObject("p", pod, { labels: { app: "web" } })), cluster, out)) return "skipped";
  return Object.fromEntries(list.map((node, i) => [node.name, out[i]!]));
}

const two = { a: {}, b: {} };

it("NodeResourcesFit prefers the emptier node", () => {
  const world = { nodes: { a: { allocatable: { cpu: "4", memory: "4Gi" } }, b: { allocatable: { cpu: "4", memory: "4Gi" } } }, existing: { a: requesting({ cpu: "2", memory: "2Gi" }) }, pod: requesting({ cpu: "1", memory: "1Gi" }) };
  expect(scores(nodeResourcesFit, world)).toEqual({ a: 25, b: 75 });
});

it("NodeResourcesBalancedAllocation prefers like shares of CPU and memory, and skips pods without requests", () => {
  const nodes = { a: { allocatable: { cpu: "4", memory: "4Gi" } }, b: { allocatable: { cpu: "4", memory: "8Gi" } } };
  expect(scores(balancedAllocation, { nodes, pod: requesting({ cpu: "2", memory: "2Gi" }) })).toEqual({ a: 100, b: 87 });
  expect(scores(balancedAllocation, { nodes })).toBe("skipped");
});

it("TaintToleration prefers nodes with fewer untolerated soft taints", () => {
  const soft = { spec: { taints: [{ key: "slow", effect: "PreferNoSchedule" }] } };
  expect(scores(taintToleration, { nodes: { a: soft, b: {} } })).toEqual({ a: 0, b: 100 });
});

it("NodeAffinity adds the weights of preferred terms", () => {
  const preferred = (key: string, weight: number) => ({ weight, preference: { matchExpressions: [{ key, operator: "Exists" }] } });
  const pod = { affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [preferred("x", 20), preferred("y", 60)] } } };
  expect(scores(nodeAffinity, { nodes: { a: { labels: { x: "" } }, b: { labels: { x: "", y: "" } } }, pod })).toEqual({ a: 25, b: 100 });
});

describe("InterPodAffinity", () => {
  const term = { labelSelector: { matchLabels: { app: "web" } }, topologyKey: "kubernetes.io/hostname" };
  const preferred = [{ weight: 10, podAffinityTerm: term }];
  it("prefers the node where the liked pods are", () => {
    const pod = { affinity: { podAffinity: { preferredDuringSchedulingIgnoredDuringExecution: preferred } } };
    expect(scores(interPodAffinity, { nodes: two, existing: { a: {} }, pod })).toEqual({ a: 100, b: 0 });
  });
  it("avoids the node of a pod that would rather be alone", () => {
    const loner = { affinity: { podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: preferred } } };
    expect(scores(interPodAffinity, { nodes: two, existing: { a: loner } })).toEqual({ a: 0, b: 100 });
  });
});

it("PodTopologySpread prefers the node with fewer pods of the group, by wish and by default", () => {
  const wish = { maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "ScheduleAnyway", labelSelector: { matchLabels: { app: "web" } } };
  const explicit = scores(podTopologySpread(() => undefined), { nodes: two, existing: { a: {} }, pod: { topologySpreadConstraints: [wish] } });
  const byDefault = scores(podTopologySpread(() => [{ key: "app", operator: "In", values: ["web"] }]), { nodes: two, existing: { a: {} } });
  for (const result of [explicit, byDefault] as Record<string, number>[]) expect(result["b"]).toBeGreaterThan(result["a"]!);
});

it("ImageLocality prefers the node that holds a large image", () => {
  const images = [{ names: ["docker.io/library/big:1"], sizeBytes: 2_000 * 1024 * 1024 }];
  const pod = { containers: [{ name: "c", image: "docker.io/library/big:1" }] };
  expect(scores(imageLocality, { nodes: { a: { images }, b: {} }, pod })).toEqual({ a: 100, b: 0 });
});
