import { describe, expect, it } from "vitest";
import { created, NOW, rowOf, statusUpdated, updated } from "../testing.ts";
import type { Obj } from "../types.ts";

const hpas = rowOf("autoscaling", "horizontalpodautoscalers", "v2");
const budgets = rowOf("policy", "poddisruptionbudgets");
const ref = { apiVersion: "apps/v1", kind: "Deployment", name: "d" };
const hpa = (spec: Obj = {}): Obj => ({ apiVersion: "autoscaling/v2", metadata: { name: "h" }, spec: { scaleTargetRef: ref, maxReplicas: 3, ...spec } });
const metrics = (...list: Obj[]): Obj => ({ metrics: list });
const cpu = { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } };
const scaleUp = (rules: Obj): Obj => ({ behavior: { scaleUp: rules } });
const types = 'supported values: "ContainerResource", "External", "Object", "Pods", "Resource"';

describe("a HorizontalPodAutoscaler", () => {
  it.each<[Obj, ...string[]]>([
    [{ maxReplicas: -1 }, "spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1", "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`"],
    [{ minReplicas: 5 }, "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
    [
      { minReplicas: 0 }, "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
      "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
    ],
    [{ scaleTargetRef: {} }, "spec.scaleTargetRef.kind: Required value", "spec.scaleTargetRef.name: Required value", 'spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group'],
    [{ scaleTargetRef: { ...ref, apiVersion: "v1" } }, 'spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group'],
    [{ scaleTargetRef: { ...ref, apiVersion: "a/b/c" } }, 'spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'],
    [{ scaleTargetRef: { kind: "ReplicationController", name: "r", apiVersion: "v1" } }],
    [{ scaleTargetRef: { ...ref, name: "a/b" } }, `spec.scaleTargetRef.name: Invalid value: "a/b": may not contain '/'`],
    [metrics({}), "spec.metrics[0].type: Required value: must specify a metric source type", `spec.metrics[0].type: Unsupported value: "": ${types}`],
    [metrics({ type: "x" }), `spec.metrics[0].type: Unsupported value: "x": ${types}`],
    [metrics({ type: "Resource" }), "spec.metrics[0].resource: Required value: must populate information for the given metric source"],
    [
      metrics({ type: "Resource", resource: cpu, pods: { metric: { name: "m" }, target: { type: "AverageValue", averageValue: "1" } } }),
      "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
    ],
    [
      metrics({ type: "Resource", resource: { target: {} } }), "spec.metrics[0].resource.name: Required value: must specify a resource name",
      "spec.metrics[0].resource.target.type: Required value: must specify a metric target type",
      'spec.metrics[0].resource.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue',
      "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
    ],
    [
      metrics({ type: "Pods", pods: { metric: { name: "a/b" }, target: { type: "AverageValue", averageValue: "0" } } }),
      `spec.metrics[0].pods.metric.name: Invalid value: "a/b": may not contain '/'`, 'spec.metrics[0].pods.target.averageValue: Invalid value: "0": must be positive',
    ],
    [
      metrics({ type: "External", external: { metric: { name: "m" }, target: { type: "Value", value: "1", averageValue: "1" } } }),
      "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
    ],
    [metrics({ type: "ContainerResource", containerResource: cpu }), "spec.metrics[0].containerResource.container: Required value: must specify a container"],
    [scaleUp({ stabilizationWindowSeconds: 3601 }), "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"],
    [scaleUp({ policies: [] }), "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"],
    [scaleUp({ policies: [{ type: "x", value: 1, periodSeconds: 1 }] }), 'spec.behavior.scaleUp.policies[0].type: Unsupported value: "x": supported values: "Percent", "Pods"'],
    [scaleUp({ tolerance: "-1" }), 'spec.behavior.scaleUp.tolerance: Invalid value: "-1": must be greater than or equal to 0'],
  ])("with %j is judged", (spec, ...errors) => expect(created(hpas, hpa(spec)).errors).toEqual(errors));

  it("keeps a target of old and a minimum of none", () => {
    const old = created(hpas, hpa({ minReplicas: 0, scaleTargetRef: { kind: "Deployment", name: "d" }, ...metrics({ type: "External", external: { metric: { name: "m" }, target: { type: "Value", value: "1" } } }) })).object;
    expect(updated(hpas, old, (o) => (o.spec.maxReplicas = 5)).errors).toEqual([]);
    expect(updated(hpas, old, (o) => (o.spec.scaleTargetRef.kind = "StatefulSet")).errors).toEqual(['spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group']);
  });

  it("counts replicas that there can be", () => {
    expect(statusUpdated(hpas, hpa(), { currentReplicas: -1, desiredReplicas: 0 })).toEqual(["status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"]);
  });
});

describe("a PodDisruptionBudget", () => {
  const budget = (spec: Obj): Obj => ({ metadata: { name: "b" }, spec });
  it.each<[Obj, ...string[]]>([
    [{ minAvailable: "120%" }, 'spec.minAvailable: Invalid value: "120%": must not be greater than 100%'],
    [{ maxUnavailable: -1 }, "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"],
    [
      { selector: { matchLabels: { a: "_" } }, unhealthyPodEvictionPolicy: "x" },
      expect.stringMatching(/^spec.selector.matchLabels: Invalid value: "_"/),
      'spec.unhealthyPodEvictionPolicy: Unsupported value: "x": supported values: "AlwaysAllow", "IfHealthyBudget"',
    ],
  ])("with %j is judged", (spec, ...errors) => expect(created(budgets, budget(spec)).errors).toEqual(errors));

  const condition = { type: "DisruptionAllowed", status: "True", reason: "SufficientPods", lastTransitionTime: NOW };
  it.each<[Obj, ...string[]]>([
    [{ conditions: [condition], disruptionsAllowed: 1 }],
    [{ conditions: [{ ...condition, reason: "" }] }, "status.conditions[0].reason: Required value: must be set"],
    [{ conditions: [condition, condition] }, 'status.conditions[1].type: Duplicate value: "DisruptionAllowed"'],
    [{ conditions: [{ ...condition, status: "x", lastTransitionTime: undefined }] }, 'status.conditions[0].status: Unsupported value: "x": supported values: "False", "True", "Unknown"', "status.conditions[0].lastTransitionTime: Required value: must be set"],
    [{ expectedPods: -1 }, "status.expectedPods: Invalid value: -1: must be greater than or equal to 0"],
  ])("may get the status %j", (status, ...errors) => expect(statusUpdated(budgets, budget({}), status)).toEqual(errors));
});
