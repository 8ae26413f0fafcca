/** What the built-in admission adds to a create, in computing time; and a quota that many writers share. */
import { expect, test } from "vitest";
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import { adminUser, startTestServer } from "../../plugins/apiserver/src/server/testing.ts";

const perRun = async (count: number, run: (i: number) => unknown): Promise<number> => {
  const begin = process.cpuUsage();
  for (let i = 0; i < count; i++) await run(i);
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / count;
};

const makers = {
  configmaps: (name: string) => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default" }, data: { a: "b" } }),
  pods: (name: string) => ({ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "default" }, spec: { containers: [{ name: "c", image: "i" }] } }),
} as const;

test.each(["configmaps", "pods"] as const)("the chain takes less than 15 percent of a create of %s", async (resource) => {
  const make = makers[resource];
  await using api = await startTestServer();
  await api.http("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata: { name: "default" } });
  let n = 0;
  const create = async (): Promise<void> => void expect((await api.http("POST", `/api/v1/namespaces/default/${resource}`, make(`x${n++}`))).status).toBe(201);
  const admit = async (): Promise<void> => {
    const request: AdmissionRequest = {
      operation: "CREATE", user: adminUser, group: "", version: "v1", resource, subresource: "", namespace: "default", name: "x", object: make("x"), oldObject: undefined, dryRun: false,
    };
    const object = await api.engine.admission.mutate(request);
    await api.engine.admission.validate({ ...request, object });
  };
  await perRun(500, create);
  await perRun(2000, admit);
  const [whole, chain] = [await perRun(1000, create), await perRun(5000, admit)];
  expect(chain / whole).toBeLessThan(0.15);
});

test("32 writers at once get exactly what a quota allows, of every resource it counts", async () => {
  await using api = await startTestServer();
  const BASE = "/api/v1/namespaces/default";
  await api.http("POST", `${BASE}/serviceaccounts`, { metadata: { name: "default" } });
  const hard = { pods: "10", "requests.cpu": "1", "count/configmaps": "7", "count/widgets.example.com": "3" };
  await api.http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", { metadata: { name: "widgets.example.com" }, spec: {
    group: "example.com", scope: "Namespaced", names: { plural: "widgets", singular: "widget", kind: "Widget", listKind: "WidgetList" },
    versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } } }],
  } });
  const quota = (await api.http("POST", `${BASE}/resourcequotas`, { metadata: { name: "q" }, spec: { hard } })).body;
  const used = Object.fromEntries(Object.keys(hard).map((key) => [key, "0"]));
  expect((await api.http("PUT", `${BASE}/resourcequotas/q/status`, { ...quota, status: { hard, used } })).status).toBe(200);
  const pod = (name: string) => api.http("POST", `${BASE}/pods`, { metadata: { name }, spec: { containers: [{ name: "c", image: "i", resources: { requests: { cpu: "125m" } } }] } });
  const map = (name: string) => api.http("POST", `${BASE}/configmaps`, { metadata: { name } });
  const widget = (name: string) => api.http("POST", "/apis/example.com/v1/namespaces/default/widgets", { apiVersion: "example.com/v1", kind: "Widget", metadata: { name } });
  const made = async (create: (name: string) => Promise<{ status: number }>): Promise<number> =>
    (await Promise.all(Array.from({ length: 32 }, (_, i) => create(`x${i}`)))).filter(({ status }) => status === 201).length;
  expect(await Promise.all([made(pod), made(map), made(widget)])).toEqual([8, 7, 3]);
  expect((await api.http("GET", `${BASE}/resourcequotas/q`)).body.status.used).toEqual({ pods: "8", "requests.cpu": "1", "count/configmaps": "7", "count/widgets.example.com": "3" });
});

test.each<[string, object, (name: string) => [string, object], object]>([
  ["a priority class", { scopeSelector: { matchExpressions: [{ scopeName: "PriorityClass", operator: "In", values: ["high"] }] }, hard: { pods: "1" } }, (name) => ["pods", { metadata: { name }, spec: { priorityClassName: "high", containers: [{ name: "c", image: "i" }] } }], { pods: "1" }],
  ["pods that reach other namespaces", { scopes: ["CrossNamespacePodAffinity"], hard: { pods: "1" } }, (name) => ["pods", { metadata: { name }, spec: { affinity: { podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector: {}, namespaces: ["x"], topologyKey: "k" }] } }, containers: [{ name: "c", image: "i" }] } }], { pods: "1" }],
  ["the class of a volume's attributes", { scopeSelector: { matchExpressions: [{ scopeName: "VolumeAttributesClass", operator: "In", values: ["gold"] }] }, hard: { persistentvolumeclaims: "1" } }, (name) => ["persistentvolumeclaims", { metadata: { name }, spec: { accessModes: ["ReadWriteOnce"], volumeAttributesClassName: "gold", resources: { requests: { storage: "1Gi" } } } }], { persistentvolumeclaims: "1" }],
  ["services on nodes", { hard: { "services.nodeports": "1" } }, (name) => ["services", { metadata: { name }, spec: { type: "NodePort", ports: [{ port: 80 }] } }], { "services.nodeports": "1" }],
  ["balanced services", { hard: { "services.loadbalancers": "1" } }, (name) => ["services", { metadata: { name }, spec: { type: "LoadBalancer", ports: [{ port: 80 }] } }], { "services.loadbalancers": "1" }],
  ["claims of a class", { hard: { "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1" } }, (name) => ["persistentvolumeclaims", { metadata: { name }, spec: { accessModes: ["ReadWriteOnce"], storageClassName: "fast", resources: { requests: { storage: "1Gi" } } } }], { "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1" }],
  ["quotas themselves", { hard: { resourcequotas: "2" } }, (name) => ["resourcequotas", { metadata: { name }, spec: { hard: { secrets: "5" } } }], { resourcequotas: "2" }],
])("a quota for %s counts, and refuses the next", async (_, spec, make, used) => {
  await using api = await startTestServer();
  const BASE = "/api/v1/namespaces/default";
  await api.http("POST", `${BASE}/serviceaccounts`, { metadata: { name: "default" } });
  await api.http("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", { metadata: { name: "high" }, value: 1000 });
  const quota = (await api.http("POST", `${BASE}/resourcequotas`, { metadata: { name: "q" }, spec })).body;
  const hard = quota.spec.hard;
  const before = Object.fromEntries(Object.keys(hard).map((key) => [key, key === "resourcequotas" ? "1" : "0"]));
  await api.http("PUT", `${BASE}/resourcequotas/q/status`, { ...quota, status: { hard, used: before } });
  const create = async (name: string) => {
    const [plural, object] = make(name);
    return api.http("POST", `${BASE}/${plural}`, object);
  };
  const first = await create("a");
  expect(first.status, first.text).toBe(201);
  const second = await create("b");
  const [key] = Object.keys(hard);
  expect([second.status, second.body.message]).toEqual([403, expect.stringContaining(`exceeded quota: q, requested: ${key}=1, used: ${key}=${hard[key!]}, limited: ${key}=${hard[key!]}`)]);
  expect((await api.http("GET", `${BASE}/resourcequotas/q`)).body.status.used).toEqual(used);
});
