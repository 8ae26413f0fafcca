import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./testing.ts";

const NS = "/api/v1/namespaces";
const CM = `${NS}/default/configmaps`;
const PODS = `${NS}/default/pods`;
const merge = { "content-type": "application/merge-patch+json" };

let api: TestServer;
let now: number;
beforeEach(async () => {
  now = Date.parse("2026-05-01T10:00:00Z");
  api = await startTestServer({ now: () => new Date(now) });
  await api.http("POST", `${NS}/default/serviceaccounts`, { metadata: { name: "default" } });
});
afterEach(() => api.close());

const create = (name: string, metadata: object = {}): Promise<any> => api.http("POST", CM, { metadata: { name, ...metadata } });
const get = (url: string): Promise<any> => api.http("GET", url);

async function pod(name: string, labels: object = { app: "x" }): Promise<any> {
  const { status, body } = await api.http("POST", PODS, { metadata: { name, labels }, spec: { containers: [{ name: "c", image: "busybox" }] } });
  expect([status, body.message]).toEqual([201, undefined]);
  return body;
}
const bind = (name: string, node = "n1"): Promise<any> =>
  api.http("POST", `${PODS}/${name}/binding`, { metadata: { name }, target: { kind: "Node", name: node } });
const setStatus = (name: string, status: object): Promise<any> => api.http("PATCH", `${PODS}/${name}/status`, { status }, merge);

describe("delete", () => {
  test("answers with a Status that names what is gone", async () => {
    const { body: made } = await create("a");
    const { status, body } = await api.http("DELETE", `${CM}/a`);
    expect(status).toBe(200);
    expect(body).toEqual({
      kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details: { name: "a", kind: "configmaps", uid: made.metadata.uid },
    });
    expect((await get(`${CM}/a`)).status).toBe(404);
  });

  const preconditions: readonly [object, string][] = [
    [{ uid: "other" }, "the UID in the precondition (other) does not match the UID in record"],
    [{ resourceVersion: "1" }, "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record"],
  ];
  test.each(preconditions)("keeps the object when %o does not hold", async (condition, message) => {
    await create("a");
    const { status, body } = await api.http("DELETE", `${CM}/a`, { preconditions: condition });
    expect([status, body.reason, body.message]).toEqual([409, "Conflict", expect.stringContaining(message)]);
    expect((await get(`${CM}/a`)).status).toBe(200);
  });

  const refusals: readonly [object, string][] = [
    [{ propagationPolicy: "Sideways" }, "propagationPolicy: Unsupported value"],
    [{ propagationPolicy: "Orphan", orphanDependents: true }, "orphanDependents and deletionPropagation cannot be both set"],
  ];
  test.each(refusals)("refuses %o", async (options, message) => {
    await create("a");
    const { status, body } = await api.http("DELETE", `${CM}/a`, options);
    expect([status, body.message]).toEqual([422, expect.stringContaining(message)]);
  });

  test("with dryRun keeps the object", async () => {
    await create("a");
    expect((await api.http("DELETE", `${CM}/a`, { dryRun: ["All"] })).status).toBe(200);
    expect((await get(`${CM}/a`)).status).toBe(200);
  });

  test("waits for finalizers; the last one that goes takes the object with it", async () => {
    await create("a", { finalizers: ["example.com/hold"] });
    const { body } = await api.http("DELETE", `${CM}/a`);
    expect(body.metadata).toMatchObject({ deletionTimestamp: "2026-05-01T10:00:00Z", deletionGracePeriodSeconds: 0 });
    const added = await api.http("PATCH", `${CM}/a`, { metadata: { finalizers: ["example.com/hold", "example.com/new"] } }, merge);
    expect([added.status, added.body.message]).toEqual([422, expect.stringContaining('no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/new"}')]);
    const again = await api.http("DELETE", `${CM}/a`);
    expect(again.body.metadata.resourceVersion).toBe(body.metadata.resourceVersion);
    const freed = await api.http("PATCH", `${CM}/a`, { metadata: { finalizers: null } }, merge);
    expect(freed.status).toBe(200);
    expect((await get(`${CM}/a`)).status).toBe(404);
  });

  const policies: readonly [string, string[]][] = [["Foreground", ["foregroundDeletion"]], ["Orphan", ["orphan"]]];
  test.each(policies)("with policy %s leaves the rest to the garbage collector", async (propagationPolicy, finalizers) => {
    await create("a");
    const { body } = await api.http("DELETE", `${CM}/a`, { propagationPolicy });
    expect(body.metadata.finalizers).toEqual(finalizers);
    expect((await api.http("DELETE", `${CM}/a`, { propagationPolicy: "Background" })).status).toBe(200);
    expect((await get(`${CM}/a`)).status).toBe(404);
  });

  test("of a collection takes what matches", async () => {
    await create("a", { labels: { x: "1" } });
    await create("b", { labels: { x: "2" } });
    const { status, body } = await api.http("DELETE", `${CM}?labelSelector=x%3D1`);
    expect([status, body.kind, body.items.length]).toEqual([200, "ConfigMapList", 1]);
    expect((await get(CM)).body.items.map((i: any) => i.metadata.name)).toEqual(["b"]);
  });
});

describe("a pod", () => {
  test("that has no node goes at once, and the answer is the pod", async () => {
    await pod("p");
    const { status, body } = await api.http("DELETE", `${PODS}/p`);
    expect([status, body.kind]).toEqual([200, "Pod"]);
    expect((await get(`${PODS}/p`)).status).toBe(404);
  });

  test("that runs waits for its grace period and the kubelet", async () => {
    await pod("p");
    await bind("p");
    await setStatus("p", { phase: "Running" });
    const { body } = await api.http("DELETE", `${PODS}/p`);
    expect(body.metadata).toMatchObject({ deletionTimestamp: "2026-05-01T10:00:30Z", deletionGracePeriodSeconds: 30 });
    now += 5000;
    const longer = await api.http("DELETE", `${PODS}/p`, { gracePeriodSeconds: 60 });
    expect(longer.body.metadata.deletionGracePeriodSeconds).toBe(30);
    const shorter = await api.http("DELETE", `${PODS}/p`, { gracePeriodSeconds: 10 });
    expect(shorter.body.metadata).toMatchObject({ deletionTimestamp: "2026-05-01T10:00:10Z", deletionGracePeriodSeconds: 10 });
    expect((await api.http("DELETE", `${PODS}/p?gracePeriodSeconds=0`)).status).toBe(200);
    expect((await get(`${PODS}/p`)).status).toBe(404);
  });

  test("that has ended goes at once", async () => {
    await pod("p");
    await bind("p");
    await setStatus("p", { phase: "Succeeded" });
    await api.http("DELETE", `${PODS}/p`);
    expect((await get(`${PODS}/p`)).status).toBe(404);
  });

  test("is bound once", async () => {
    await pod("p");
    await setStatus("p", { nominatedNodeName: "n1" });
    const first = await bind("p");
    expect([first.status, first.body.status]).toEqual([201, "Success"]);
    const { body } = await get(`${PODS}/p`);
    expect(body.spec.nodeName).toBe("n1");
    expect([body.metadata.generation, body.status.nominatedNodeName]).toEqual([1, undefined]);
    expect(body.status.conditions).toContainEqual(expect.objectContaining({ type: "PodScheduled", status: "True" }));
    const second = await bind("p", "n2");
    expect([second.status, second.body.message]).toEqual([409, 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"']);
    expect((await bind("missing")).status).toBe(404);
  });

  test("takes an ephemeral container through its subresource only", async () => {
    await pod("p");
    const { status, body } = await api.http("PATCH", `${PODS}/p/ephemeralcontainers`,
      { spec: { ephemeralContainers: [{ name: "debug", image: "busybox" }] } }, { "content-type": "application/strategic-merge-patch+json" });
    expect([status, body.spec?.ephemeralContainers?.[0].name]).toEqual([200, "debug"]);
  });
});

describe("eviction", () => {
  const evict = (name: string, rest: object = {}): Promise<any> =>
    api.http("POST", `${PODS}/${name}/eviction`, { apiVersion: "policy/v1", kind: "Eviction", metadata: { name }, ...rest });
  const PDB = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

  async function running(name: string): Promise<void> {
    await pod(name);
    await bind(name);
    await setStatus(name, { phase: "Running", conditions: [{ type: "Ready", status: "True" }] });
  }
  async function budget(disruptionsAllowed: number): Promise<void> {
    await api.http("POST", PDB, { metadata: { name: "b" }, spec: { minAvailable: 1, selector: { matchLabels: { app: "x" } } } });
    await api.http("PATCH", `${PDB}/b/status`, { status: { observedGeneration: 1, disruptionsAllowed, currentHealthy: 2, desiredHealthy: 1, expectedPods: 2 } }, merge);
  }

  test.each([["eviction", "Eviction"], ["binding", "Binding"]])("of another pod than the path names: %s is refused, and neither changes", async (subresource, kind) => {
    await pod("p");
    for (const metadata of [{ name: "other" }, {}]) {
      const { status, body } = await api.http("POST", `${PODS}/p/${subresource}`, { metadata, target: { kind: "Node", name: "n1" } });
      expect([status, body.message]).toEqual([400, `name in URL does not match name in ${kind} object`]);
    }
    expect((await api.http("GET", `${PODS}/p`)).body.spec.nodeName).toBeUndefined();
  });

  test("deletes a pod that no budget covers", async () => {
    await running("p");
    const { status, body } = await evict("p");
    expect([status, body.status]).toEqual([201, "Success"]);
    const { metadata, status: after } = (await get(`${PODS}/p`)).body;
    expect(metadata.deletionTimestamp).toBeTruthy();
    expect(after.conditions).toContainEqual(expect.objectContaining({
      type: "DisruptionTarget", status: "True", reason: "EvictionByEvictionAPI", message: "Eviction API: evicting", observedGeneration: 1,
    }));
  });

  test("holds to its preconditions, and marks no pod that it then leaves alone", async () => {
    await running("p");
    const { resourceVersion, uid } = (await get(`${PODS}/p`)).body.metadata;
    for (const preconditions of [{ uid: "other" }, { resourceVersion: "1" }]) expect((await evict("p", { deleteOptions: { preconditions } })).status).toBe(409);
    const { metadata, status } = (await get(`${PODS}/p`)).body;
    expect([metadata.resourceVersion, status.conditions.map((c: { type: string }) => c.type)]).toEqual([resourceVersion, ["Ready"]]);
    expect((await evict("p", { deleteOptions: { preconditions: { uid, resourceVersion } } })).status).toBe(201);
  });

  test("spends the budget and then refuses with 429", async () => {
    await running("p");
    await running("q");
    await budget(1);
    expect((await evict("p")).status).toBe(201);
    const spent = await get(`${PDB}/b`);
    expect(spent.body.status.disruptionsAllowed).toBe(0);
    expect(Object.keys(spent.body.status.disruptedPods)).toEqual(["p"]);
    const { status, body } = await evict("q");
    expect(status).toBe(429);
    expect(body).toMatchObject({
      reason: "TooManyRequests", message: "Cannot evict pod as it would violate the pod's disruption budget.",
      details: { causes: [{ reason: "DisruptionBudget", message: "The disruption budget b needs 1 healthy pods and has 2 currently" }] },
    });
  });

  test("waits for a budget that is not yet observed", async () => {
    await running("p");
    await api.http("POST", PDB, { metadata: { name: "b" }, spec: { minAvailable: 1, selector: { matchLabels: { app: "x" } } } });
    const { status, body } = await evict("p");
    expect([status, body.details.retryAfterSeconds]).toEqual([429, 10]);
  });

  test("with dryRun spends nothing", async () => {
    await running("p");
    await budget(1);
    expect((await evict("p", { deleteOptions: { dryRun: ["All"] } })).status).toBe(201);
    expect((await get(`${PDB}/b`)).body.status.disruptionsAllowed).toBe(1);
    const { metadata, status } = (await get(`${PODS}/p`)).body;
    expect([metadata.deletionTimestamp, status.conditions.length]).toEqual([undefined, 1]);
  });
});

describe("a namespace", () => {
  test("ends in two steps: Terminating, then gone when it is finalized", async () => {
    const { body: made } = await api.http("POST", NS, { metadata: { name: "doomed" } });
    expect([made.status.phase, made.spec.finalizers]).toEqual(["Active", ["kubernetes"]]);
    const { status, body } = await api.http("DELETE", `${NS}/doomed`);
    expect([status, body.status.phase, Boolean(body.metadata.deletionTimestamp)]).toEqual([200, "Terminating", true]);
    const refused = await api.http("POST", `${NS}/doomed/configmaps`, { metadata: { name: "late" } });
    expect([refused.status, refused.body.message]).toEqual([403, expect.stringContaining("because it is being terminated")]);
    const finalized = await api.http("PUT", `${NS}/doomed/finalize`, { ...body, spec: { finalizers: [] } });
    expect(finalized.status).toBe(200);
    expect((await get(`${NS}/doomed`)).status).toBe(404);
  });
});
