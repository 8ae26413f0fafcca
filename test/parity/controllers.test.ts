/** What the garbage collector, the namespace and quota controllers and the admission of limits do to objects. */
import { expect, vi } from "vitest";
import { type Body, usable, useCluster } from "./api.ts";
import { behaviour } from "./behaviours.ts";

const api = useCluster({ controllers: true });
const podSpec = { containers: [{ name: "main", image: "example.com/main" }] };
const template = (name: string, spec: object = podSpec) => ({ metadata: { labels: { name } }, spec });
const names = (list: Body): string[] => list.items.map((item: Body) => item.metadata.name);

/** A namespace of its own for one test. */
async function space(name: string): Promise<{ readonly core: string; readonly apps: string }> {
  await api.post("/api/v1/namespaces", { metadata: { name } });
  await usable(api, name);
  return { core: `/api/v1/namespaces/${name}`, apps: `/apis/apps/v1/namespaces/${name}` };
}

const soon = (check: () => Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 10_000, interval: 20 });
const becomes = (path: string, read: (body: Body) => unknown, value: unknown) => soon(async () => expect(read(await api.get(path))).toEqual(value));
const count = (path: string, wanted: number) => becomes(path, (list) => list.items.length, wanted);

async function deployment(apps: string): Promise<void> {
  await api.post(`${apps}/deployments`, { metadata: { name: "d" }, spec: { replicas: 2, selector: { matchLabels: { name: "d" } }, template: template("d") } });
  await count(`${apps}/replicasets`, 1);
}

behaviour("gc-replicasets", async () => {
  const { apps } = await space("gc-deployment");
  await deployment(apps);
  await api.del(`${apps}/deployments/d`, { propagationPolicy: "Background" });
  await count(`${apps}/replicasets`, 0);
});

behaviour("gc-orphan", async () => {
  const { apps } = await space("gc-orphan");
  await deployment(apps);
  await api.del(`${apps}/deployments/d`, { propagationPolicy: "Orphan" });
  await soon(async () => {
    expect((await api.call("GET", `${apps}/deployments/d`)).status).toBe(404);
    expect((await api.get(`${apps}/replicasets`)).items).toMatchObject([{ metadata: { labels: { name: "d" } } }]);
    expect((await api.get(`${apps}/replicasets`)).items[0].metadata.ownerReferences).toBeUndefined();
  });
});

behaviour("gc-pods", async () => {
  const { core } = await space("gc-pods");
  await api.post(`${core}/replicationcontrollers`, { metadata: { name: "r" }, spec: { replicas: 3, selector: { name: "r" }, template: template("r") } });
  await count(`${core}/pods`, 3);
  await api.del(`${core}/replicationcontrollers/r`, { propagationPolicy: "Background" });
  await count(`${core}/pods`, 0);
});

behaviour("gc-circle", async () => {
  const { core } = await space("gc-circle");
  const pods = [];
  for (const name of ["p1", "p2", "p3"]) pods.push(await api.post(`${core}/pods`, { metadata: { name }, spec: podSpec }));
  for (const [i, pod] of pods.entries()) {
    const owner = pods[(i + 2) % 3];
    const reference = { apiVersion: "v1", kind: "Pod", name: owner.metadata.name, uid: owner.metadata.uid, controller: true, blockOwnerDeletion: true };
    await api.patch(`${core}/pods/${pod.metadata.name}`, { metadata: { ownerReferences: [reference] } });
  }
  await api.del(`${core}/pods/p1`, { propagationPolicy: "Foreground", gracePeriodSeconds: 0 });
  await count(`${core}/pods`, 0);
});

behaviour("namespace-services", async () => {
  const { core } = await space("going");
  await api.post(`${core}/services`, { metadata: { name: "s" }, spec: { ports: [{ port: 80 }] } });
  expect((await api.del(core)).status.phase).toBe("Terminating");
  await soon(async () => expect((await api.call("GET", core)).status).toBe(404));
  await space("going");
  expect(names(await api.get(`${core}/services`))).toEqual([]);
});

behaviour("namespace-patch", async () => {
  const { core } = await space("patched");
  await api.patch(core, { metadata: { labels: { testLabel: "testValue" } } });
  expect((await api.get(core)).metadata.labels).toEqual({ "kubernetes.io/metadata.name": "patched", testLabel: "testValue" });
});

async function quota(core: string, hard: Record<string, string>, spec: object = {}): Promise<(used: Record<string, string>) => Promise<void>> {
  await api.post(`${core}/resourcequotas`, { metadata: { name: "q" }, spec: { hard, ...spec } });
  await becomes(`${core}/resourcequotas/q`, (q) => q.status.hard, hard);
  return (used) => soon(async () => expect((await api.get(`${core}/resourcequotas/q`)).status.used).toMatchObject(used));
}

behaviour("quota-status", async () => {
  const { core } = await space("q-status");
  const used = await quota(core, { cpu: "1", memory: "500Mi", pods: "5", services: "3" });
  await used({ cpu: "0", memory: "0", pods: "0", services: "0" });
});

behaviour("quota-update", async () => {
  const { core } = await space("q-update");
  await quota(core, { cpu: "1", memory: "500Mi" });
  const object = await api.get(`${core}/resourcequotas/q`);
  const updated = await api.put(`${core}/resourcequotas/q`, { ...object, spec: { hard: { cpu: "2", memory: "1Gi" } } });
  expect(updated.spec.hard).toEqual({ cpu: "2", memory: "1Gi" });
  await becomes(`${core}/resourcequotas/q`, (q) => q.status.hard, { cpu: "2", memory: "1Gi" });
  await api.del(`${core}/resourcequotas/q`);
  expect((await api.call("GET", `${core}/resourcequotas/q`)).status).toBe(404);
});

/** One object more and one less, as the quota counts it. */
async function counted(name: string, resource: string, collection: (paths: { core: string; apps: string }) => string, object: object): Promise<void> {
  const paths = await space(name);
  const used = await quota(paths.core, { [resource]: "10" });
  const before = Number((await api.get(`${paths.core}/resourcequotas/q`)).status.used[resource]);
  await api.post(collection(paths), { metadata: { name: "one" }, ...object });
  await used({ [resource]: String(before + 1) });
  await api.del(`${collection(paths)}/one`);
  await used({ [resource]: String(before) });
}

const noReplicas = { spec: { replicas: 0, selector: { name: "x" }, template: template("x") } };
behaviour("quota-configmap", () => counted("q-configmap", "configmaps", ({ core }) => `${core}/configmaps`, { data: { a: "b" } }));
behaviour("quota-secret", () => counted("q-secret", "secrets", ({ core }) => `${core}/secrets`, { data: { a: "Yg==" } }));
behaviour("quota-rc", () => counted("q-rc", "replicationcontrollers", ({ core }) => `${core}/replicationcontrollers`, noReplicas));
behaviour("quota-replicaset", () => counted("q-rs", "count/replicasets.apps", ({ apps }) => `${apps}/replicasets`, { spec: { ...noReplicas.spec, selector: { matchLabels: { name: "x" } } } }));

behaviour("quota-service", async () => {
  const { core } = await space("q-service");
  const used = await quota(core, { services: "2", "services.nodeports": "1", "services.loadbalancers": "0" });
  await api.post(`${core}/services`, { metadata: { name: "plain" }, spec: { ports: [{ port: 80 }] } });
  await api.post(`${core}/services`, { metadata: { name: "node" }, spec: { type: "NodePort", ports: [{ port: 80 }] } });
  await used({ services: "2", "services.nodeports": "1", "services.loadbalancers": "0" });
  const refused = await api.call("POST", `${core}/services`, { metadata: { name: "balancer" }, spec: { type: "LoadBalancer", ports: [{ port: 80 }] } });
  expect([refused.status, refused.body.message]).toEqual([403, expect.stringContaining('services "balancer" is forbidden: exceeded quota: q')]);
  await api.del(`${core}/services/plain`);
  await api.del(`${core}/services/node`);
  await used({ services: "0", "services.nodeports": "0" });
});

const podWith = (name: string, requests?: object, more: object = {}) =>
  ({ metadata: { name }, spec: { containers: [{ name: "main", image: "example.com/main", ...(requests && { resources: { requests } }) }], ...more } });

behaviour("quota-pod", async () => {
  const { core } = await space("q-pod");
  const used = await quota(core, { cpu: "1", memory: "500Mi", pods: "5", "requests.example.com/dongle": "3" });
  const dongles = (pod: Body) => ({ ...pod, spec: { ...pod.spec, containers: pod.spec.containers.map((c: Body) => ({ ...c, resources: { ...c.resources, limits: { "example.com/dongle": "2" } } })) } });
  await api.post(`${core}/pods`, dongles(podWith("fits", { cpu: "500m", memory: "252Mi" })));
  await used({ cpu: "500m", memory: "252Mi", pods: "1", "requests.example.com/dongle": "2" });
  for (const pod of [podWith("much-cpu", { cpu: "600m", memory: "100Mi" }), dongles(podWith("many-dongles", { cpu: "100m", memory: "100Mi" }))]) {
    const { status, body } = await api.call("POST", `${core}/pods`, pod);
    expect([status, body.message]).toEqual([403, expect.stringContaining("exceeded quota: q, requested: ")]);
  }
  const missing = await api.call("POST", `${core}/pods`, podWith("no-requests"));
  expect(missing.body.message).toBe('pods "no-requests" is forbidden: failed quota: q: must specify cpu for: main; memory for: main');
  const change = await api.call("PATCH", `${core}/pods/fits`, { spec: { containers: [{ name: "main", resources: { requests: { cpu: "100m" } } }] } }, { "content-type": "application/strategic-merge-patch+json" });
  expect(change.status).toBe(422);
  await used({ cpu: "500m" });
  await api.del(`${core}/pods/fits`, { gracePeriodSeconds: 0 });
  await used({ cpu: "0", memory: "0", pods: "0", "requests.example.com/dongle": "0" });
});

/** Each of two scoped quotas counts the pod that is its own, and not the other's. */
async function scoped(name: string, scopes: readonly [string, string], pods: readonly [object, object]): Promise<void> {
  const { core } = await space(name);
  for (const scope of scopes) await api.post(`${core}/resourcequotas`, { metadata: { name: scope.toLowerCase() }, spec: { hard: { pods: "5" }, scopes: [scope] } });
  for (const scope of scopes) await becomes(`${core}/resourcequotas/${scope.toLowerCase()}`, (q) => q.status.used, { pods: "0" });
  for (const [i, pod] of pods.entries()) {
    const made = await api.post(`${core}/pods`, pod);
    for (const [j, scope] of scopes.entries()) await becomes(`${core}/resourcequotas/${scope.toLowerCase()}`, (q) => q.status.used, { pods: i === j ? "1" : "0" });
    await api.del(`${core}/pods/${made.metadata.name}`, { gracePeriodSeconds: 0 });
    await becomes(`${core}/resourcequotas/${scopes[i]!.toLowerCase()}`, (q) => q.status.used, { pods: "0" });
  }
}

behaviour("quota-best-effort", () => scoped("q-effort", ["BestEffort", "NotBestEffort"], [podWith("none"), podWith("some", { cpu: "100m" })]));
behaviour("quota-terminating", () => scoped("q-terminating", ["Terminating", "NotTerminating"], [podWith("short", undefined, { activeDeadlineSeconds: 3600 }), podWith("long")]));

behaviour("limit-range", async () => {
  const { core } = await space("limits");
  const limit = {
    type: "Container", min: { cpu: "50m", memory: "100Mi" }, max: { cpu: "500m", memory: "500Mi" },
    default: { cpu: "200m", memory: "300Mi" }, defaultRequest: { cpu: "100m", memory: "200Mi" },
  };
  const watch = await api.watch(`${core}/limitranges`);
  await api.post(`${core}/limitranges`, { metadata: { name: "l" }, spec: { limits: [limit] } });
  expect(await watch.next()).toMatchObject({ type: "ADDED", object: { spec: { limits: [limit] } } });
  watch.close();
  const resources = async (pod: object) => (await api.post(`${core}/pods`, pod)).spec.containers[0].resources;
  expect(await resources(podWith("none"))).toEqual({ requests: limit.defaultRequest, limits: limit.default });
  expect(await resources(podWith("part", { cpu: "150m" }))).toEqual({ requests: { cpu: "150m", memory: "200Mi" }, limits: limit.default });
  const outside = [
    [{ cpu: "10m", memory: "200Mi" }, "minimum cpu usage per Container is 50m, but request is 10m"],
    [{ cpu: "150m", memory: "900Mi" }, "memory"],
  ] as const;
  for (const [requests, message] of outside) {
    const { status, body } = await api.call("POST", `${core}/pods`, podWith("outside", requests));
    expect([status >= 400, body.message]).toEqual([true, expect.stringContaining(message)]);
  }
  await api.patch(`${core}/limitranges/l`, { spec: { limits: [{ ...limit, min: { cpu: "9m", memory: "49Mi" } }] } });
  expect(await resources(podWith("small", { cpu: "10m", memory: "50Mi" }))).toMatchObject({ requests: { cpu: "10m", memory: "50Mi" } });
  await api.del(`${core}/limitranges/l`);
  expect(await resources(podWith("free"))).toEqual({});
});
