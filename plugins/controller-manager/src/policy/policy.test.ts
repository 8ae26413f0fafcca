import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  clusterRoles,
  configMaps,
  deployments,
  horizontalPodAutoscalers,
  persistentVolumeClaims,
  podDisruptionBudgets,
  pods,
  replicaSets,
  resourceQuotas,
  services,
} from "@k3s-p/plugin-api/kube";
import { start as startAggregation } from "../cluster/clusterrole-aggregation.ts";
import { createHarness, type Harness } from "../testing/harness.ts";
import { start as startDisruption } from "./disruption.ts";
import { start as startHpa } from "./hpa.ts";
import { start as startQuota } from "./resourcequota.ts";

let h: Harness;
beforeEach(() => void (h = createHarness()));
afterEach(() => h.stop());

const pod = (name: string, extra: any = {}) =>
  h.client.put(pods, {
    metadata: { name, namespace: "ns", labels: { app: "web" }, ...extra.metadata },
    spec: { nodeName: "n1", containers: [{ name: "c", resources: extra.resources ?? {} }], ...extra.spec },
    status: {
      phase: "Running",
      startTime: "2025-12-01T00:00:00Z",
      conditions: [
        { type: "Ready", status: extra.ready === false ? "False" : "True", lastTransitionTime: "2025-12-01T00:01:00Z" },
      ],
      ...extra.status,
    },
  });

describe("resourcequota", () => {
  const quota = (hard: object, extra: object = {}) =>
    h.client.put(resourceQuotas, { metadata: { name: "q", namespace: "ns" }, spec: { hard, ...extra } });
  const used = () => h.client.all(resourceQuotas)[0].status.used;

  it("counts pods, requests, services, storage and any object, and follows their end", async () => {
    quota({
      pods: "5",
      "requests.cpu": "1",
      memory: "1Gi",
      "limits.memory": "2Gi",
      services: "3",
      "services.nodeports": "2",
      "requests.storage": "10Gi",
      "fast.storageclass.storage.k8s.io/requests.storage": "9Gi",
      configmaps: "4",
      "count/deployments.apps": "2",
      resourcequotas: "1",
      secrets: "9",
    });
    await h.start(startQuota);
    pod("a", { resources: { requests: { cpu: "250m", memory: "128Mi" }, limits: { memory: "256Mi" } } });
    pod("b", {
      resources: { requests: { cpu: "250m" } },
      spec: {
        initContainers: [{ name: "i", resources: { requests: { cpu: "400m" } } }],
        containers: [{ name: "c", resources: { requests: { cpu: "250m" } } }],
      },
    });
    h.client.put(services, {
      metadata: { name: "s", namespace: "ns" },
      spec: { type: "NodePort", ports: [{ port: 1 }] },
    });
    h.client.put(persistentVolumeClaims, {
      metadata: { name: "p", namespace: "ns" },
      spec: { storageClassName: "fast", resources: { requests: { storage: "3Gi" } } },
    });
    h.client.put(configMaps, { metadata: { name: "c", namespace: "ns" } });
    h.client.put(configMaps, { metadata: { name: "c", namespace: "other" } });
    h.client.put(deployments, { metadata: { name: "d", namespace: "ns" }, spec: {} });
    await h.settle();
    expect(used()).toEqual({
      pods: "2",
      "requests.cpu": "650m",
      memory: "128Mi",
      "limits.memory": "256Mi",
      services: "1",
      "services.nodeports": "1",
      "requests.storage": "3Gi",
      "fast.storageclass.storage.k8s.io/requests.storage": "3Gi",
      configmaps: "1",
      "count/deployments.apps": "1",
      resourcequotas: "1",
      secrets: "0",
    });
    expect(h.client.all(resourceQuotas)[0].status.hard.pods).toBe("5");
    h.client.edit(pods, "a", "ns", (p) => void (p.status.phase = "Succeeded"));
    h.client.drop(configMaps, "c", "ns");
    await h.settle();
    expect(used()).toMatchObject({ pods: "1", "requests.cpu": "400m", memory: "0", configmaps: "0" });
  });

  it("counts only pods in its scopes", async () => {
    quota({ pods: "5" }, { scopes: ["BestEffort", "NotTerminating"] });
    pod("best");
    pod("not", { resources: { requests: { cpu: "1" } } });
    pod("ending", { spec: { activeDeadlineSeconds: 5, containers: [] } });
    await h.start(startQuota);
    expect(used()).toEqual({ pods: "1" });
  });

  it("corrects a count that admission made for an object that never came", async () => {
    quota({ configmaps: "5" });
    await h.start(startQuota);
    h.client.edit(resourceQuotas, "q", "ns", (q) => void (q.status.used.configmaps = "1"));
    await h.advance(11);
    expect(used()).toEqual({ configmaps: "0" });
  });
});

describe("disruption", () => {
  const budget = (spec: object) =>
    h.client.put(podDisruptionBudgets, {
      metadata: { name: "b", namespace: "ns" },
      spec: { selector: { matchLabels: { app: "web" } }, ...spec },
    });
  const status = () => h.client.all(podDisruptionBudgets)[0].status;

  it("allows what minAvailable leaves, and follows readiness", async () => {
    budget({ minAvailable: 2 });
    for (const name of ["a", "b", "c"]) pod(name);
    await h.start(startDisruption);
    expect(status()).toMatchObject({
      expectedPods: 3,
      currentHealthy: 3,
      desiredHealthy: 2,
      disruptionsAllowed: 1,
      observedGeneration: 1,
    });
    expect(status().conditions[0]).toMatchObject({
      type: "DisruptionAllowed",
      status: "True",
      reason: "SufficientPods",
    });
    h.client.edit(pods, "a", "ns", (p) => void (p.status.conditions[0].status = "False"));
    await h.settle();
    expect(status()).toMatchObject({ currentHealthy: 2, disruptionsAllowed: 0 });
    expect(status().conditions[0]).toMatchObject({ status: "False", reason: "InsufficientPods" });
  });

  it("takes percentages of what the pods' controller is scaled to", async () => {
    const d = h.client.put(deployments, { metadata: { name: "d", namespace: "ns" }, spec: { replicas: 4 } }) as any;
    const ref = (o: any) => [
      { apiVersion: o.apiVersion, kind: o.kind, name: o.metadata.name, uid: o.metadata.uid, controller: true },
    ];
    const rs = h.client.put(replicaSets, {
      metadata: { name: "d-1", namespace: "ns", ownerReferences: ref(d) },
      spec: { replicas: 4 },
    }) as any;
    h.client.onRequest = (_, path) =>
      path === "/apis/apps/v1/namespaces/ns/deployments/d/scale"
        ? { status: 200, body: { spec: { replicas: 4 } } }
        : undefined;
    for (const name of ["a", "b", "c"]) pod(name, { metadata: { ownerReferences: ref(rs) } });
    budget({ maxUnavailable: "50%" });
    await h.start(startDisruption);
    expect(status()).toMatchObject({ expectedPods: 4, desiredHealthy: 2, currentHealthy: 3, disruptionsAllowed: 1 });
  });

  it("counts a granted eviction until the pod is gone, for two minutes at most", async () => {
    budget({ minAvailable: 1 });
    pod("a");
    pod("b");
    await h.start(startDisruption);
    h.client.edit(podDisruptionBudgets, "b", "ns", (b) => void (b.status.disruptedPods = { a: "2026-01-01T00:00:00Z" }));
    await h.settle();
    expect(status()).toMatchObject({ currentHealthy: 1, disruptionsAllowed: 0 });
    await h.advance(121);
    expect(status()).toMatchObject({ currentHealthy: 2, disruptionsAllowed: 1 });
    expect(status().disruptedPods ?? {}).toEqual({});
  });
});

describe("horizontal-pod-autoscaler", () => {
  let usage: Record<string, string>;
  let replicas: number;
  beforeEach(() => {
    usage = {};
    replicas = 2;
    h.client.put(deployments, { metadata: { name: "web", namespace: "ns" }, spec: { replicas } });
    h.client.onRequest = (method, path, body: any) => {
      if (path.endsWith("/deployments/web/scale")) {
        if (method === "PUT") replicas = body.spec.replicas;
        return { status: 200, body: { spec: { replicas }, status: { replicas, selector: "app=web" } } };
      }
      if (!path.startsWith("/apis/metrics.k8s.io")) return undefined;
      const items = Object.entries(usage).map(([name, cpu]) => ({
        metadata: { name },
        timestamp: new Date().toISOString(),
        window: "15s",
        containers: [{ name: "c", usage: { cpu, memory: "64Mi" } }],
      }));
      return { status: 200, body: { items } };
    };
  });
  const run = async (spec: object = {}) => {
    for (const name of ["a", "b"]) pod(name, { resources: { requests: { cpu: "100m" } } });
    h.client.put(horizontalPodAutoscalers, {
      metadata: { name: "hpa", namespace: "ns" },
      spec: {
        minReplicas: 1,
        maxReplicas: 10,
        scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "web" },
        metrics: [
          { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } } },
        ],
        ...spec,
      },
    });
    await h.start(startHpa);
  };
  const status = () => h.client.all(horizontalPodAutoscalers)[0].status;
  const condition = (type: string) => status().conditions.find((c: any) => c.type === type);

  it("scales up by utilization, with status, conditions and event", async () => {
    usage = { a: "100m", b: "100m" };
    await run();
    expect(replicas).toBe(4);
    expect(status()).toMatchObject({
      currentReplicas: 2,
      desiredReplicas: 4,
      currentMetrics: [
        { type: "Resource", resource: { name: "cpu", current: { averageUtilization: 100, averageValue: "100m" } } },
      ],
    });
    expect(condition("AbleToScale")).toMatchObject({ status: "True", reason: "SucceededRescale" });
    expect(condition("ScalingActive")).toMatchObject({ status: "True", reason: "ValidMetricFound" });
    expect(h.events()).toContain(
      "SuccessfulRescale New size: 4; reason: cpu resource utilization (percentage of request) above target",
    );
  });

  it("does nothing within the tolerance, and obeys the maximum", async () => {
    usage = { a: "52m", b: "52m" };
    await run({ maxReplicas: 3 });
    expect(replicas).toBe(2);
    usage = { a: "400m", b: "400m" };
    await h.advance(15);
    expect(replicas).toBe(3);
    expect(condition("ScalingLimited")).toMatchObject({ status: "True", reason: "TooManyReplicas" });
  });

  it("takes tolerances of its own, one for each direction", async () => {
    usage = { a: "56m", b: "56m" };
    await run({ behavior: { scaleUp: { tolerance: "0.2" }, scaleDown: { tolerance: "10m", stabilizationWindowSeconds: 0 } } });
    expect(replicas).toBe(2);
    usage = { a: "61m", b: "61m" };
    await h.advance(15);
    expect(replicas).toBe(3);
    pod("c", { resources: { requests: { cpu: "100m" } } });
    usage = { a: "32m", b: "32m", c: "32m" };
    await h.advance(15);
    expect(replicas).toBe(2);
  });

  it("scales down only after five minutes of lower recommendations", async () => {
    usage = { a: "10m", b: "10m" };
    await run();
    expect(replicas).toBe(2);
    expect(condition("AbleToScale").reason).toBe("ScaleDownStabilized");
    await h.advance(290);
    expect(replicas).toBe(2);
    await h.advance(30);
    expect(replicas).toBe(1);
  });

  it("measures one that it knows from before not until the first period has passed: metrics may have just started, too", async () => {
    h.client.put(horizontalPodAutoscalers, { metadata: { name: "hpa", namespace: "ns" }, spec: { maxReplicas: 10, scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "web" }, metrics: [{ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } } }] }, status: { desiredReplicas: 2, conditions: [{ type: "ScalingActive", status: "True" }] } });
    for (const name of ["a", "b"]) pod(name, { resources: { requests: { cpu: "100m" } } });
    await h.start(startHpa);
    await h.advance(14);
    expect(h.events()).toEqual([]);
    usage = { a: "100m", b: "100m" };
    await h.advance(1);
    expect([replicas, h.events().length]).toEqual([4, 1]);
  });

  it("says why it cannot compute", async () => {
    await run();
    expect(replicas).toBe(2);
    const why = "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API";
    expect(condition("ScalingActive")).toMatchObject({
      status: "False", reason: "FailedGetResourceMetric", message: `the HPA was unable to compute the replica count: ${why}`,
    });
    expect(h.events()).toEqual([
      `FailedGetResourceMetric ${why}`,
      `FailedComputeMetricsReplicas invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: ${why}`,
    ]);
  });

  describe("with metrics of adapters", () => {
    let asked: string[];
    const served = (answers: Record<string, unknown>) => {
      asked = [];
      const before = h.client.onRequest!;
      h.client.onRequest = (method, path, body) => {
        const group = /^\/apis\/((?:custom|external)\.metrics\.k8s\.io)(\/?.*)$/.exec(path);
        if (!group) return before(method, path, body);
        asked.push(decodeURIComponent(path));
        const answer = answers[group[2] ? path.split("?")[0]! : group[1]!];
        return answer ? { status: 200, body: answer } : { status: 404, body: { message: "the server could not find the requested resource" } };
      };
    };
    const value = (amount: string, name = "") => ({ describedObject: { name }, timestamp: new Date().toISOString(), value: amount });
    const pods = { type: "Pods", pods: { metric: { name: "rps", selector: { matchLabels: { verb: "GET" } } }, target: { type: "AverageValue", averageValue: "500m" } } };
    const custom = { preferredVersion: { version: "v1beta2" } };

    it("Pods: the average over the target's pods", async () => {
      served({ "custom.metrics.k8s.io": custom, "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/pods/*/rps": { items: [value("1", "a"), value("500m", "b")] } });
      await run({ metrics: [pods] });
      expect(replicas).toBe(3);
      expect(asked[1]).toBe("/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/pods/*/rps?labelSelector=app=web&metricLabelSelector=verb=GET");
      expect(status().currentMetrics).toEqual([{ type: "Pods", pods: { metric: pods.pods.metric, current: { averageValue: "750m" } } }]);
      expect(h.events()).toContain("SuccessfulRescale New size: 3; reason: pods metric rps above target");
    });

    it("Object: a value of one object, for all replicas or for each", async () => {
      h.client.serve(deployments, services);
      const object = (target: object) => ({ type: "Object", object: { describedObject: { apiVersion: "v1", kind: "Service", name: "front" }, metric: { name: "hits" }, target } });
      served({ "custom.metrics.k8s.io": custom, "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/services/front/hits": { items: [value("100")] } });
      await run({ metrics: [object({ type: "Value", value: "40" })] });
      expect(replicas).toBe(5);
      expect(status().currentMetrics[0].object.current).toEqual({ value: "100" });
      h.client.edit(horizontalPodAutoscalers, "hpa", "ns", (draft) => void (draft.spec.metrics = [object({ type: "AverageValue", averageValue: "10" })]));
      await h.advance(15);
      expect(replicas).toBe(10);
    });

    it("External: the sum of what the selector finds", async () => {
      served({ "external.metrics.k8s.io": { preferredVersion: { version: "v1beta1" } }, "/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue": { items: [value("30"), value("45")] } });
      await run({ metrics: [{ type: "External", external: { metric: { name: "queue" }, target: { type: "AverageValue", averageValue: "15" } } }] });
      expect(replicas).toBe(5);
      expect(status().currentMetrics[0].external.current).toEqual({ averageValue: "37500m" });
    });

    it.each([
      [pods, "FailedGetPodsMetric", "unable to get metric rps: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"],
      [{ type: "External", external: { metric: { name: "queue" }, target: { type: "Value", value: "1" } } }, "FailedGetExternalMetric",
        "unable to get external metric ns/queue/nil: unable to fetch metrics from external metrics API: the server could not find the requested resource (get queue.external.metrics.k8s.io)"],
    ])("says which API is not there", async (metric, reason, message) => {
      served({});
      await run({ metrics: [metric] });
      expect(replicas).toBe(2);
      expect(condition("ScalingActive")).toMatchObject({ status: "False", reason, message: `the HPA was unable to compute the replica count: ${message}` });
    });
  });

  it("takes missing figures for the cautious side", async () => {
    usage = { a: "120m" };
    await run();
    expect(replicas).toBe(3);
  });
});

it("clusterrole aggregation joins the rules of selected roles and follows them", async () => {
  const role = (name: string, labels: object, rules: object[]) =>
    h.client.put(clusterRoles, { metadata: { name, labels }, rules });
  role("a", { agg: "true" }, [{ verbs: ["get"], resources: ["x"] }]);
  h.client.put(clusterRoles, {
    metadata: { name: "admin" },
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: { agg: "true" } }] },
    rules: [],
  });
  await h.start(startAggregation);
  role("b", { agg: "true" }, [{ verbs: ["get"], resources: ["x"] }, { verbs: ["list"], resources: ["y"] }]);
  await h.settle();
  expect(h.client.all(clusterRoles).find((r) => r.metadata.name === "admin").rules).toEqual([
    { verbs: ["get"], resources: ["x"] },
    { verbs: ["list"], resources: ["y"] },
  ]);
});
