import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./testing.ts";

let api: TestServer;
beforeAll(async () => {
  api = await startTestServer({ now: () => new Date("2026-05-01T10:00:00Z") });
});
afterAll(() => api.close());

const CM = "/api/v1/namespaces/default/configmaps";
const DEPLOY = "/apis/apps/v1/namespaces/default/deployments";
const configMap = (name: string, rest: object = {}): object => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name }, ...rest });
const deployment = (name: string): any => ({
  apiVersion: "apps/v1", kind: "Deployment", metadata: { name },
  spec: {
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: "c", image: "busybox" }] } },
  },
});
const merge = { "content-type": "application/merge-patch+json" };

describe("create", () => {
  test("fills the system fields and answers 201 with the object", async () => {
    const { status, body } = await api.http("POST", CM, configMap("filled", { data: { a: "1" } }));
    expect(status).toBe(201);
    expect(body).toMatchObject({ apiVersion: "v1", kind: "ConfigMap", data: { a: "1" } });
    expect(body.metadata).toMatchObject({ name: "filled", namespace: "default", creationTimestamp: "2026-05-01T10:00:00Z" });
    expect(body.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
    expect(Number(body.metadata.resourceVersion)).toBeGreaterThan(1);
    expect(body.metadata.generation).toBeUndefined();
  });

  test("makes a name from generateName", async () => {
    const { body } = await api.http("POST", CM, { metadata: { generateName: "gen-" } });
    expect(body.metadata.name).toMatch(/^gen-[a-z0-9]{5}$/);
  });

  test("tries other generated names when one is taken", async () => {
    let calls = 0;
    const own = await startTestServer({ random: () => (calls++ < 10 ? 0 : 0.5) });
    await own.http("POST", CM, configMap("gen-bbbbb"));
    const { status, body } = await own.http("POST", CM, { metadata: { generateName: "gen-" } });
    expect([status, body.metadata.name === "gen-bbbbb"]).toEqual([201, false]);
    await own.close();
  });

  test("refuses a second object of the name", async () => {
    await api.http("POST", CM, configMap("twice"));
    const { status, body } = await api.http("POST", CM, configMap("twice"));
    expect(status).toBe(409);
    expect(body).toMatchObject({ kind: "Status", reason: "AlreadyExists", message: 'configmaps "twice" already exists' });
  });

  test("starts the generation at 1 and drops a status that a client may not set", async () => {
    const { body } = await api.http("POST", DEPLOY, { ...deployment("fresh"), status: { replicas: 9 } });
    expect(body.metadata.generation).toBe(1);
    expect(body.status.replicas).toBeUndefined();
  });

  test("with dryRun=All answers as if, and stores nothing", async () => {
    const { status } = await api.http("POST", `${CM}?dryRun=All`, configMap("dry"));
    expect(status).toBe(201);
    expect((await api.http("GET", `${CM}/dry`)).status).toBe(404);
  });

  const refusals: readonly [string, string, object | undefined, number, string][] = [
    ["another namespace than the path's", CM, { metadata: { name: "x", namespace: "other" } }, 400, "the namespace of the provided object does not match the namespace sent on the request"],
    ["another kind", CM, { apiVersion: "v1", kind: "Secret", metadata: { name: "x" } }, 400, "cannot be handled as a ConfigMap"],
    ["another version", CM, { apiVersion: "v2", kind: "ConfigMap", metadata: { name: "x" } }, 400, "the API version in the data (v2) does not match the expected API version (v1)"],
    ["no name", CM, { metadata: {} }, 422, "metadata.name: Required value: name or generateName is required"],
    ["a bad name", CM, { metadata: { name: "Bad_Name" } }, 422, 'ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of'],
    ["a bad label", CM, { metadata: { name: "x", labels: { "a/b/c": "d" } } }, 422, "metadata.labels: Invalid value"],
    ["a bad label value", CM, { metadata: { name: "x", labels: { a: "-" } } }, 422, 'metadata.labels: Invalid value: "-": a valid label must be an empty string or consist of'],
    ["a bad owner", CM, { metadata: { name: "x", ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: "" }] } }, 422, "metadata.ownerReferences.name"],
    ["a resourceVersion", CM, { metadata: { name: "x", resourceVersion: "5" } }, 500, "resourceVersion should not be set on objects to be created"],
    ["an unknown namespace", "/api/v1/namespaces/nowhere/configmaps", configMap("x"), 404, 'namespaces "nowhere" not found'],
    ["no body", CM, undefined, 400, "unexpected EOF"],
    ["a list for a body", CM, [], 400, "cannot unmarshal array"],
    ["a bad dryRun", `${CM}?dryRun=Some`, configMap("x"), 422, "dryRun: Unsupported value"],
  ];
  test.each(refusals)("refuses %s", async (_, url, body, code, message) => {
    const answer = await api.http("POST", url, body);
    expect(answer.status).toBe(code);
    expect(answer.body).toMatchObject({ kind: "Status", apiVersion: "v1", status: "Failure", code });
    expect(answer.body.message).toContain(message);
  });

  test("lists every finding as a cause", async () => {
    const { body } = await api.http("POST", CM, { metadata: { name: "A", labels: { "": "x" } } });
    expect(body.details).toMatchObject({ name: "A", kind: "ConfigMap" });
    expect(body.details.causes.length).toBeGreaterThan(1);
    expect(body.message).toMatch(/is invalid: \[/);
  });

  test("reads YAML", async () => {
    const server = api;
    const { requestInMemory } = await import("../client/memory.ts");
    const { adminUser } = await import("./testing.ts");
    const answer = await requestInMemory(server.handler, adminUser, "POST", CM, configMap("yaml"), { "content-type": "application/yaml", accept: "application/yaml" });
    expect(answer.status).toBe(201);
    expect(answer.text).toContain("kind: ConfigMap");
  });

  test("writes YAML that older readers take for the same", async () => {
    const { requestInMemory } = await import("../client/memory.ts");
    const { adminUser } = await import("./testing.ts");
    await api.http("POST", CM, { metadata: { name: "text" }, data: { b: "no", a: "2026-11-23T14:00:11Z", d: "012", c: "60:30", long: "x ".repeat(60) } });
    const { text } = await requestInMemory(api.handler, adminUser, "GET", `${CM}/text`, undefined, { accept: "application/yaml" });
    expect(text).toMatch(/^apiVersion: v1\ndata:\n {2}a: "2026-11-23T14:00:11Z"\n {2}b: "no"\n {2}c: "60:30"\n {2}d: "012"\n {2}long: "(x ){60}"\nkind: ConfigMap\nmetadata:\n {2}creationTimestamp: "/);
    expect(text).toMatch(/\n {2}managedFields:\n {2}- apiVersion: v1\n/);
  });

  test("refuses an unknown media type with 415", async () => {
    const { status, body } = await api.http("POST", CM, configMap("x"), { "content-type": "text/plain" });
    expect([status, body.reason]).toEqual([415, "UnsupportedMediaType"]);
  });

  test("refuses a body beyond 3 MiB with 413", async () => {
    const { status, body } = await api.http("POST", CM, configMap("big", { data: { a: "x".repeat(3 << 20) } }));
    expect([status, body.reason]).toEqual([413, "RequestEntityTooLarge"]);
  });
});

describe("update", () => {
  test("replaces the object and moves the resourceVersion", async () => {
    const { body: before } = await api.http("POST", CM, configMap("put", { data: { a: "1" } }));
    const { status, body } = await api.http("PUT", `${CM}/put`, configMap("put", { data: { b: "2" } }));
    expect(status).toBe(200);
    expect(body.data).toEqual({ b: "2" });
    expect(body.metadata.uid).toBe(before.metadata.uid);
    expect(Number(body.metadata.resourceVersion)).toBeGreaterThan(Number(before.metadata.resourceVersion));
  });

  test("that changes nothing keeps the resourceVersion", async () => {
    const { body } = await api.http("POST", CM, configMap("same", { data: { a: "1" } }));
    const again = await api.http("PUT", `${CM}/same`, body);
    expect(again.body.metadata.resourceVersion).toBe(body.metadata.resourceVersion);
  });

  test("with a stale resourceVersion is a 409", async () => {
    const { body } = await api.http("POST", CM, configMap("stale"));
    await api.http("PUT", `${CM}/stale`, { ...body, data: { a: "1" } });
    const { status, body: answer } = await api.http("PUT", `${CM}/stale`, { ...body, data: { a: "2" } });
    expect(status).toBe(409);
    expect(answer.message).toBe('Operation cannot be fulfilled on configmaps "stale": the object has been modified; please apply your changes to the latest version and try again');
  });

  test("races of pinned writers let one win, and of unpinned ones all", async () => {
    const { body } = await api.http("POST", CM, configMap("race"));
    const pinned = await Promise.all(Array.from({ length: 8 }, (_, i) => api.http("PUT", `${CM}/race`, { ...body, data: { i: `${i}` } })));
    expect(pinned.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409, 409, 409, 409]);
    const free = await Promise.all(Array.from({ length: 20 }, (_, i) => api.http("PATCH", `${CM}/race`, { data: { [`k${i}`]: "v" } }, merge)));
    expect(free.every(({ status }) => status === 200)).toBe(true);
    expect(Object.keys((await api.http("GET", `${CM}/race`)).body.data)).toHaveLength(21);
  });

  const refusals: readonly [string, string, object, number, string][] = [
    ["a missing object", `${CM}/missing`, configMap("missing"), 404, 'configmaps "missing" not found'],
    ["another name than the path's", `${CM}/put`, configMap("other"), 400, "the name of the object (other) does not match the name on the URL (put)"],
    ["another namespace", `${CM}/put`, { metadata: { name: "put", namespace: "x" } }, 400, "the namespace of the object (x) does not match the namespace on the request (default)"],
    ["another uid", `${CM}/put`, { metadata: { name: "put", uid: "u" } }, 409, "Precondition failed: UID in precondition: u, UID in object meta: "],
  ];
  test.each(refusals)("refuses %s", async (_, url, body, code, message) => {
    const answer = await api.http("PUT", url, body);
    expect(answer.status).toBe(code);
    expect(answer.body.message).toContain(message);
  });

  test("creates what may be created by PUT", async () => {
    const url = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name: "l" }, spec: { holderIdentity: "a" } };
    const made = await api.http("PUT", url, lease);
    expect(made.status).toBe(201);
    expect((await api.http("PUT", url, made.body)).status).toBe(200);
  });

  test("names the version that it replaces, where one may not replace whatever there is", async () => {
    const url = "/apis/coordination.k8s.io/v1/namespaces/default/leases/pinned";
    const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name: "pinned" }, spec: { holderIdentity: "a" } };
    await api.http("PUT", url, lease);
    for (const metadata of [lease.metadata, { ...lease.metadata, resourceVersion: "0" }]) {
      const { status, body } = await api.http("PUT", url, { ...lease, metadata });
      expect([status, body.message]).toEqual([422, 'leases.coordination.k8s.io "pinned" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update']);
    }
    expect((await api.http("PATCH", url, { spec: { holderIdentity: "b" } }, merge)).status).toBe(200);
  });

  test("of the spec bumps the generation, of labels and status not", async () => {
    await api.http("POST", DEPLOY, deployment("gen"));
    const generation = async (): Promise<number> => (await api.http("GET", `${DEPLOY}/gen`)).body.metadata.generation;
    await api.http("PATCH", `${DEPLOY}/gen`, { metadata: { labels: { a: "b" } } }, merge);
    expect(await generation()).toBe(1);
    await api.http("PATCH", `${DEPLOY}/gen/status`, { status: { replicas: 1 } }, merge);
    expect(await generation()).toBe(1);
    await api.http("PATCH", `${DEPLOY}/gen`, { spec: { replicas: 3 } }, merge);
    expect(await generation()).toBe(2);
  });

  test("of the status leaves the spec alone, and of the spec the status", async () => {
    await api.http("POST", DEPLOY, deployment("split"));
    await api.http("PATCH", `${DEPLOY}/split/status`, { spec: { replicas: 9 }, status: { replicas: 2 } }, merge);
    await api.http("PATCH", `${DEPLOY}/split`, { spec: { replicas: 4 }, status: { replicas: 7 } }, merge);
    const { body } = await api.http("GET", `${DEPLOY}/split`);
    expect([body.spec.replicas, body.status.replicas]).toEqual([4, 2]);
  });
});

describe("patch", () => {
  test("takes the three patch types", async () => {
    await api.http("POST", DEPLOY, deployment("patched"));
    const json = await api.http("PATCH", `${DEPLOY}/patched`, [{ op: "replace", path: "/spec/replicas", value: 5 }], { "content-type": "application/json-patch+json" });
    expect(json.body.spec.replicas).toBe(5);
    const strategic = await api.http("PATCH", `${DEPLOY}/patched`,
      { spec: { template: { spec: { containers: [{ name: "d", image: "x" }] } } } }, { "content-type": "application/strategic-merge-patch+json" });
    expect(strategic.body.spec.template.spec.containers.map((c: any) => c.name).sort()).toEqual(["c", "d"]);
    const merged = await api.http("PATCH", `${DEPLOY}/patched`, { metadata: { annotations: { a: "b" } } }, merge);
    expect(merged.body.metadata.annotations).toEqual({ a: "b" });
  });

  const refusals: readonly [string, string, string, object, number, string][] = [
    ["a missing object", `${CM}/missing`, "application/merge-patch+json", {}, 404, 'configmaps "missing" not found'],
    ["an unknown patch type", `${CM}/put`, "application/json", {}, 415, "application/strategic-merge-patch+json"],
    ["a rename", `${CM}/put`, "application/merge-patch+json", { metadata: { name: "b" } }, 400, "does not match the name on the URL"],
    ["a stale resourceVersion", `${CM}/put`, "application/merge-patch+json", { metadata: { resourceVersion: "1" } }, 409, "the object has been modified"],
    ["a failed test", `${CM}/put`, "application/json-patch+json", [{ op: "test", path: "/data/b", value: "9" }], 422, ""],
    ["a list as merge patch", `${CM}/put`, "application/merge-patch+json", [], 400, ""],
  ];
  test.each(refusals)("refuses %s", async (_, url, type, body, code, message) => {
    const answer = await api.http("PATCH", url, body, { "content-type": type });
    expect(answer.status).toBe(code);
    expect(answer.body.message).toContain(message);
  });
});

describe("scale", () => {
  test("is read, replaced and patched", async () => {
    await api.http("POST", DEPLOY, deployment("scaled"));
    const { body } = await api.http("GET", `${DEPLOY}/scaled/scale`);
    expect(body).toMatchObject({ kind: "Scale", apiVersion: "autoscaling/v1", spec: { replicas: 1 }, status: { selector: "app=scaled" } });
    const put = await api.http("PUT", `${DEPLOY}/scaled/scale`, { ...body, spec: { replicas: 4 } });
    expect([put.status, put.body.spec.replicas]).toEqual([200, 4]);
    expect((await api.http("PUT", `${DEPLOY}/scaled/scale`, { ...body, spec: { replicas: 5 } })).status).toBe(409);
    const patched = await api.http("PATCH", `${DEPLOY}/scaled/scale`, { spec: { replicas: 2 } }, merge);
    expect(patched.body.spec.replicas).toBe(2);
    expect((await api.http("GET", `${DEPLOY}/scaled`)).body.spec.replicas).toBe(2);
    expect((await api.http("PATCH", `${DEPLOY}/scaled/scale`, { spec: { replicas: -1 } }, merge)).status).toBe(422);
    expect((await api.http("PUT", `${DEPLOY}/scaled/scale`, { metadata: { name: "scaled" }, spec: { replicas: 0 } })).body.spec.replicas).toBe(0);
  });

  test.each<[string, object, string]>([
    ["of another object", { metadata: { name: "other" } }, "the name of the object (other) does not match the name on the URL (unscaled)"],
    ["of another kind", { kind: "Deployment" }, 'Deployment in version "v1" cannot be handled as a Scale: converting (autoscaling/v1.Deployment) to (autoscaling/v1.Scale): unknown conversion'],
    ["of another version", { apiVersion: "apps/v1" }, "the API version in the data (apps/v1) does not match the expected API version (autoscaling/v1)"],
  ])("%s is refused", async (_, body, message) => {
    await api.http("POST", DEPLOY, deployment("unscaled"));
    for (const [method, headers] of [["PUT", {}], ["PATCH", merge]] as const) {
      const answer = await api.http(method, `${DEPLOY}/unscaled/scale`, body, headers);
      expect([answer.status, answer.body.message]).toEqual([400, message]);
    }
    expect((await api.http("GET", `${DEPLOY}/unscaled`)).body.spec.replicas).toBe(1);
  });

  test("in words is refused, with 400 as a body and 422 as a patch", async () => {
    await api.http("POST", DEPLOY, deployment("unscaled"));
    const why = "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32";
    const put = await api.http("PUT", `${DEPLOY}/unscaled/scale`, { spec: { replicas: "a" } });
    expect([put.status, put.body.message]).toEqual([400, `Scale in version "v1" cannot be handled as a Scale: ${why}`]);
    const patch = await api.http("PATCH", `${DEPLOY}/unscaled/scale`, { spec: { replicas: "a" } }, merge);
    expect([patch.status, patch.body.message]).toEqual([422, expect.stringMatching(/^ "" is invalid: patch: Invalid value: .*: json: cannot unmarshal string into/)]);
  });
});

describe("a part of a pod's spec", () => {
  const strategic = { "content-type": "application/strategic-merge-patch+json" };
  const pods = "/api/v1/namespaces/default/pods";
  const url = `${pods}/sized`;
  beforeAll(() => api.http("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata: { name: "default" } }));
  afterEach(() => api.http("DELETE", `${url}?gracePeriodSeconds=0`));
  const container = (name: string, resources: object) => ({ name, image: "i", resources });
  const guaranteed = { requests: { cpu: "1", memory: "1Gi" }, limits: { cpu: "1", memory: "1Gi" } };
  const make = (...containers: object[]) => api.http("POST", pods, { metadata: { name: "sized" }, spec: { containers } });
  const resize = (containers: object[], more: object = {}) => api.http("PATCH", `${url}/resize`, { spec: { containers, ...more } }, strategic);

  test("is resized, and nothing else with it", async () => {
    await make(container("a", guaranteed));
    const { status, body } = await resize([{ name: "a", image: "other", resources: { requests: { cpu: "2" }, limits: { cpu: "2" } } }], { priority: 7 });
    expect([status, body.message]).toEqual([200, undefined]);
    expect([status, body.spec.containers[0].resources.limits, body.spec.containers[0].image, body.spec.priority, body.metadata.generation])
      .toEqual([200, { cpu: "2", memory: "1Gi" }, "i", 0, 2]);
    const read = await api.http("GET", `${url}/resize`);
    expect(read.body).toEqual((await api.http("GET", url)).body);
  });

  test("is resized as a whole, when it has a size as a whole", async () => {
    await api.http("POST", pods, { metadata: { name: "sized" }, spec: { resources: guaranteed, containers: [container("a", {})] } });
    const patch = (resources: object) => api.http("PATCH", `${url}/resize`, { spec: { resources } }, merge);
    const { status, body } = await patch({ limits: { cpu: "3" }, requests: { cpu: "3" } });
    expect([status, body.spec?.resources?.limits]).toEqual([200, { cpu: "3", memory: "1Gi" }]);
    expect((await patch({ limits: { memory: null } })).body.message).toContain("spec.resources.limits: Forbidden: resource limits cannot be removed");
  });

  test.each([
    ["another class", [{ name: "a", resources: { limits: { cpu: "3" } } }], 'spec: Invalid value: "Guaranteed": Pod QOS Class may not change as a result of resizing'],
    ["no limit any more", [{ name: "a", resources: { limits: { memory: null } } }], "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"],
    ["no request any more", [{ name: "a", resources: { limits: { cpu: null }, requests: { cpu: null } } }], "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
    ["other storage", [{ name: "a", resources: { requests: { "ephemeral-storage": "1Gi" } } }], "spec.containers[0].resources.requests: Forbidden: only cpu and memory resources are mutable"],
    ["another order", [{ name: "b" }, { name: "a" }], "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize, spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize"],
    ["one more container", [{ name: "x", image: "i" }], "spec.containers: Forbidden: containers may not be added or removed on resize"],
  ] as const)("is not resized to %s", async (what, containers, message) => {
    await make(container("a", guaranteed), container("b", guaranteed));
    const order = what === "another order" ? { "$setElementOrder/containers": [{ name: "b" }, { name: "a" }] } : {};
    const { status, body } = await resize([...containers], order);
    expect([status, body.message]).toEqual([422, expect.stringContaining(message)]);
  });

  test("takes debuggers that are complete, and keeps those that are there", async () => {
    await make(container("a", {}));
    const debug = (ephemeralContainers: object[]) => api.http("PATCH", `${url}/ephemeralcontainers`, { spec: { ephemeralContainers } }, merge);
    expect((await debug([{ name: "d", image: "i" }])).status).toBe(200);
    expect((await debug([{ name: "a", image: "i" }])).body.message).toContain('spec.ephemeralContainers[0].name: Duplicate value: "a"');
    expect((await debug([])).body.message).toContain('existing ephemeral containers "d" may not be removed');
  });
});

describe("what is not there", () => {
  const cases: readonly [string, string, number, string][] = [
    ["GET", "/api/v1/namespaces/default/nothings", 404, "the server could not find the requested resource"],
    ["POST", "/api/v1/configmaps", 405, "the server does not allow this method on the requested resource"],
    ["PUT", "/api/v1/namespaces/default/configmaps", 405, "the server does not allow this method on the requested resource"],
    ["GET", `${CM}/put/status`, 404, "the server could not find the requested resource"],
    ["TRACE", CM, 405, "the server does not allow this method on the requested resource"],
  ];
  test.each(cases)("%s %s", async (method, url, code, message) => {
    const { status, body } = await api.http(method, url);
    expect([status, body.kind, body.message]).toEqual([code, "Status", message]);
  });
});
