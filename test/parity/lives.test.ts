/** Objects of the core group through their lives, with the controllers at work. */
import { expect, vi } from "vitest";
import { type Body, usable, useCluster } from "./api.ts";
import { behaviour } from "./behaviours.ts";

const api = useCluster({ controllers: true });
const ns = "/api/v1/namespaces/default";
const names = (list: Body): string[] => list.items.map((item: Body) => item.metadata.name);
const podSpec = { containers: [{ name: "main", image: "example.com/main" }] };
const labelled = (name: string, label: string): object => ({ name, labels: { parity: label } });

const eventForms = {
  core: {
    path: `${ns}/events`, everywhere: "/api/v1/events", selector: "reason=Tested",
    event: { reason: "Tested", type: "Normal", involvedObject: { kind: "Pod", namespace: "default", name: "p" }, message: "first", source: { component: "test" } },
    patch: { message: "second" }, update: { message: "third" },
  },
  v1: {
    path: "/apis/events.k8s.io/v1/namespaces/default/events", everywhere: "/apis/events.k8s.io/v1/events", selector: "reportingController=test",
    event: {
      reason: "Tested", type: "Normal", regarding: { kind: "Pod", namespace: "default", name: "p" }, note: "first", action: "Do",
      reportingController: "test", reportingInstance: "test-1", eventTime: "2026-01-01T00:00:00.000000Z",
    },
    patch: { series: { count: 2, lastObservedTime: "2026-01-01T00:00:09.000001Z" } }, update: { series: { count: 3, lastObservedTime: "2026-01-01T00:00:10.000000Z" } },
  },
} as const;

async function eventLife({ path, everywhere, selector, event, patch, update }: (typeof eventForms)[keyof typeof eventForms]): Promise<void> {
  expect(await api.post(path, { metadata: labelled("one", "event"), ...event })).toMatchObject(event);
  expect(names(await api.get(`${everywhere}?labelSelector=parity=event`))).toEqual(["one"]);
  expect(names(await api.get(`${path}?fieldSelector=${selector}`))).toContain("one");
  expect(await api.patch(`${path}/one`, patch)).toMatchObject(patch);
  const read = await api.get(`${path}/one`);
  expect(read).toMatchObject({ ...event, ...patch });
  expect(await api.put(`${path}/one`, { ...read, ...update })).toMatchObject(update);
  expect(await api.del(`${path}/one`)).toMatchObject({ kind: "Status", status: "Success", details: { name: "one", kind: "events" } });
  expect(names(await api.get(`${everywhere}?labelSelector=parity=event`))).toEqual([]);
}

async function collection(path: string, make: (name: string) => object): Promise<void> {
  for (const name of ["a", "b", "c"]) await api.post(path, make(name));
  await api.post(path, { ...make("d"), metadata: { name: "d", labels: { parity: "stays" } } });
  const resource = path.slice(path.lastIndexOf("/") + 1);
  await api.del(`${path}?labelSelector=parity=${resource}`, { gracePeriodSeconds: 0 });
  expect(names(await api.get(`${path}?labelSelector=parity%20in%20(stays,${resource})`))).toEqual(["d"]);
  await api.del(`${path}/d`, { gracePeriodSeconds: 0 });
}

behaviour("events-lifecycle", () => eventLife(eventForms.core));
behaviour("events-v1-lifecycle", () => eventLife(eventForms.v1));
behaviour("events-collection", () => collection(eventForms.core.path, (name) => ({ metadata: labelled(name, "events"), ...eventForms.core.event })));
behaviour("events-v1-collection", () => collection(eventForms.v1.path, (name) => ({ metadata: labelled(name, "events"), ...eventForms.v1.event })));
behaviour("pods-collection", () => collection(`${ns}/pods`, (name) => ({ metadata: labelled(name, "pods"), spec: podSpec })));
behaviour("podtemplate-collection", () => collection(`${ns}/podtemplates`, (name) => ({ metadata: labelled(name, "podtemplates"), template: { spec: podSpec } })));

behaviour("podtemplate-lifecycle", async () => {
  await api.post(`${ns}/podtemplates`, { metadata: labelled("t", "template"), template: { metadata: { labels: { a: "b" } }, spec: podSpec } });
  expect(names(await api.get("/api/v1/podtemplates?labelSelector=parity=template"))).toEqual(["t"]);
  const patched = await api.patch(`${ns}/podtemplates/t`, { metadata: { labels: { patched: "yes" } } });
  expect(patched.metadata.labels).toEqual({ parity: "template", patched: "yes" });
  expect((await api.get(`${ns}/podtemplates/t`)).template.spec.containers[0]).toMatchObject({ name: "main", terminationMessagePath: "/dev/termination-log" });
  await api.del(`${ns}/podtemplates/t`);
  expect(names(await api.get("/api/v1/podtemplates?labelSelector=parity=template"))).toEqual([]);
});

behaviour("pod-qos", async () => {
  const resources = { limits: { cpu: "100m", memory: "100Mi" }, requests: { cpu: "100m", memory: "100Mi" } };
  const pod = await api.post(`${ns}/pods`, { metadata: { name: "qos" }, spec: { containers: [{ name: "main", image: "example.com/main", resources }] } });
  expect(pod.status.qosClass).toBe("Guaranteed");
});

async function refusesEmptyKey(plural: string, kind: string): Promise<void> {
  const { status, body } = await api.call("POST", `${ns}/${plural}`, { metadata: { name: "empty" }, data: { "": "dGV4dA==" } });
  expect([status, body.reason]).toEqual([422, "Invalid"]);
  expect(body.message).toContain(`${kind} "empty" is invalid: data[]: Invalid value: "": a valid config key must consist of alphanumeric characters, '-', '_' or '.'`);
}

behaviour("secret-empty-key", () => refusesEmptyKey("secrets", "Secret"));
behaviour("configmap-empty-key", () => refusesEmptyKey("configmaps", "ConfigMap"));

behaviour("secret-patch", async () => {
  await api.post(`${ns}/secrets`, { metadata: labelled("s", "secret"), data: { key: "dmFsdWU=" } });
  expect(names(await api.get("/api/v1/secrets?labelSelector=parity=secret"))).toEqual(["s"]);
  await api.patch(`${ns}/secrets/s`, { metadata: { labels: { parity: "patched" } }, data: { key: "dmFsdWUx" } });
  expect(await api.get(`${ns}/secrets/s`)).toMatchObject({ type: "Opaque", data: { key: "dmFsdWUx" }, metadata: { labels: { parity: "patched" } } });
  await api.del(`${ns}/secrets?labelSelector=parity=patched`);
  expect(names(await api.get("/api/v1/secrets?labelSelector=parity=patched"))).toEqual([]);
});

behaviour("configmap-lifecycle", async () => {
  const watch = await api.watch(`${ns}/configmaps?labelSelector=parity=config`);
  await api.post(`${ns}/configmaps`, { metadata: labelled("c", "config"), data: { valueName: "value" } });
  expect(await watch.next()).toMatchObject({ type: "ADDED" });
  await api.patch(`${ns}/configmaps/c`, { metadata: { labels: { also: "patched" } }, data: { valueName: "value1" } });
  expect(await watch.next()).toMatchObject({ type: "MODIFIED", object: { data: { valueName: "value1" } } });
  expect(names(await api.get("/api/v1/configmaps?labelSelector=parity=config,also=patched"))).toEqual(["c"]);
  await api.del(`${ns}/configmaps?labelSelector=parity=config`);
  expect(await watch.next()).toMatchObject({ type: "DELETED", object: { metadata: { name: "c" } } });
  watch.close();
});

behaviour("endpoint-lifecycle", async () => {
  const watch = await api.watch(`${ns}/endpoints?labelSelector=parity=endpoint`);
  const subsets = [{ addresses: [{ ip: "10.0.0.24" }], ports: [{ name: "http", port: 80, protocol: "TCP" }] }];
  await api.post(`${ns}/endpoints`, { metadata: labelled("e", "endpoint"), subsets });
  expect(await watch.next()).toMatchObject({ type: "ADDED", object: { subsets } });
  expect(names(await api.get("/api/v1/endpoints?labelSelector=parity=endpoint"))).toEqual(["e"]);
  const updated = await api.get(`${ns}/endpoints/e`);
  await api.put(`${ns}/endpoints/e`, { ...updated, metadata: { ...updated.metadata, labels: { ...updated.metadata.labels, updated: "yes" } } });
  expect(await watch.next()).toMatchObject({ type: "MODIFIED", object: { metadata: { labels: { updated: "yes" } } } });
  const patch = { subsets: [{ addresses: [{ ip: "10.0.0.25" }], ports: [{ name: "http-test", port: 8080, protocol: "TCP" }] }] };
  expect((await api.patch(`${ns}/endpoints/e`, patch)).subsets).toEqual(patch.subsets);
  await api.del(`${ns}/endpoints?labelSelector=parity=endpoint`);
  await watch.until(({ type }) => type === "DELETED");
  watch.close();
  expect((await api.call("GET", `${ns}/endpoints/e`)).status).toBe(404);
});

behaviour("service-all-namespaces", async () => {
  await api.post(`${ns}/services`, { metadata: { name: "found" }, spec: { ports: [{ port: 80 }] } });
  expect(names(await api.get("/api/v1/services"))).toContain("found");
});

behaviour("service-master", async () => {
  const { spec } = await api.get(`${ns}/services/kubernetes`);
  expect(spec.ports).toMatchObject([{ name: "https", port: 443, protocol: "TCP" }]);
});

behaviour("sa-lifecycle", async () => {
  const path = `${ns}/serviceaccounts`;
  const watch = await api.watch(`${path}?labelSelector=parity=account`);
  await api.post(path, { metadata: labelled("a", "account") });
  expect(await watch.next()).toMatchObject({ type: "ADDED" });
  await api.patch(`${path}/a`, { automountServiceAccountToken: false });
  expect(await watch.next()).toMatchObject({ type: "MODIFIED", object: { automountServiceAccountToken: false } });
  expect(names(await api.get("/api/v1/serviceaccounts?labelSelector=parity=account"))).toEqual(["a"]);
  await api.del(`${path}?labelSelector=parity=account`);
  expect(await watch.next()).toMatchObject({ type: "DELETED" });
  watch.close();
});

behaviour("sa-automount", async () => {
  const wishes = [undefined, true, false];
  const path = `${ns}/serviceaccounts`;
  for (const [i, automount] of wishes.entries()) await api.post(path, { metadata: { name: `mount-${i}` }, ...(automount !== undefined && { automountServiceAccountToken: automount }) });
  for (const [i, account] of wishes.entries()) {
    for (const [j, own] of wishes.entries()) {
      const spec = { ...podSpec, serviceAccountName: `mount-${i}`, ...(own !== undefined && { automountServiceAccountToken: own }) };
      const pod = await api.post(`${ns}/pods`, { metadata: { name: `mount-${i}-${j}` }, spec });
      const mounts = pod.spec.containers[0].volumeMounts?.map((m: Body) => m.mountPath) ?? [];
      expect(mounts).toEqual((own ?? account ?? true) ? ["/var/run/secrets/kubernetes.io/serviceaccount"] : []);
    }
  }
});

behaviour("rc-release", async () => {
  const path = `${ns}/replicationcontrollers`;
  await api.post(path, { metadata: { name: "r" }, spec: { replicas: 1, selector: { name: "r" }, template: { metadata: { labels: { name: "r" } }, spec: podSpec } } });
  const controlled = async (selector: string): Promise<Body[]> => (await api.get(`${ns}/pods?labelSelector=${selector}`)).items;
  const pod = await vi.waitFor(async () => { const [first] = await controlled("name=r"); expect(first).toBeDefined(); return first!; }, 5_000);
  await api.patch(`${ns}/pods/${pod.metadata.name}`, { metadata: { labels: { name: "not-r" } } });
  await vi.waitFor(async () => {
    expect((await api.get(`${ns}/pods/${pod.metadata.name}`)).metadata.ownerReferences).toBeUndefined();
    expect((await controlled("name=r")).map((p) => p.metadata.ownerReferences[0].name)).toEqual(["r"]);
  }, 5_000);
});

behaviour("rc-failure", async () => {
  await api.post("/api/v1/namespaces", { metadata: { name: "tight" } });
  await usable(api, "tight");
  const tight = "/api/v1/namespaces/tight";
  await api.post(`${tight}/resourcequotas`, { metadata: { name: "two" }, spec: { hard: { pods: "2" } } });
  await vi.waitFor(async () => expect((await api.get(`${tight}/resourcequotas/two`)).status.hard).toEqual({ pods: "2" }), 5_000);
  await api.post(`${tight}/replicationcontrollers`, { metadata: { name: "r" }, spec: { replicas: 3, selector: { name: "r" }, template: { metadata: { labels: { name: "r" } }, spec: podSpec } } });
  const conditions = async () => (await api.get(`${tight}/replicationcontrollers/r`)).status.conditions;
  await vi.waitFor(async () => expect(await conditions()).toMatchObject([{ type: "ReplicaFailure", status: "True", reason: "FailedCreate", message: expect.stringContaining("exceeded quota: two") }]), 5_000);
  await api.patch(`${tight}/replicationcontrollers/r/scale`, { spec: { replicas: 2 } }, "merge");
  await vi.waitFor(async () => expect(await conditions()).toBeUndefined(), 5_000);
});
