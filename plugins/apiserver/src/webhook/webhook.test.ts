import { request } from "node:https";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Obj } from "../resources/types.ts";
import { testCertificate, testPrivateKey } from "../subresources/testing.ts";
import { canonicalize } from "../store/entry.ts";
import { startTestServer, type TestAnswer, type TestServer } from "../server/testing.ts";
import { type Behaviour, caBundle, configuration, jsonPatch, startTestWebhook, type TestWebhook } from "./testing.ts";

let api: TestServer;
let hook: TestWebhook;
const ADMISSION = "/apis/admissionregistration.k8s.io/v1";
const MAPS = "/api/v1/namespaces/default/configmaps";

beforeEach(async () => {
  [api, hook] = await Promise.all([startTestServer(), startTestWebhook()]);
});
afterEach(async () => {
  await api.close();
  await hook[Symbol.asyncDispose]();
});

async function register(kind: "Mutating" | "Validating", name: string, change: object = {}, port = hook.port): Promise<void> {
  const answer = await api.http("POST", `${ADMISSION}/${kind.toLowerCase()}webhookconfigurations`, configuration(kind, name, port, change));
  expect(answer.status, answer.text).toBe(201);
}

const configMap = (name: string, data: object = {}, labels: object = {}): object => ({ metadata: { name, labels }, data });
const create = (name: string, data: object = {}, labels: object = {}, query = ""): Promise<TestAnswer> => api.http("POST", MAPS + query, configMap(name, data, labels));
const outcome = ({ status, body }: TestAnswer): [number, string] => [status, status < 400 ? "" : body.message];

describe("a validating webhook", () => {
  test("is asked with the whole request, and lets it pass", async () => {
    await register("Validating", "all");
    expect((await create("a", { x: "1" }, {}, "?dryRun=All&fieldManager=me")).status).toBe(201);
    const { request, apiVersion, path } = hook.seen[0]!;
    expect([apiVersion, path]).toEqual(["admission.k8s.io/v1", "/all?timeout=10s"]);
    expect(request).toMatchObject({
      kind: { group: "", version: "v1", kind: "ConfigMap" }, resource: { group: "", version: "v1", resource: "configmaps" },
      requestKind: { group: "", version: "v1", kind: "ConfigMap" }, requestResource: { group: "", version: "v1", resource: "configmaps" },
      name: "a", namespace: "default", operation: "CREATE", dryRun: true, oldObject: null,
      userInfo: { username: "system:admin", groups: ["system:masters", "system:authenticated"] },
      object: { kind: "ConfigMap", apiVersion: "v1", metadata: { name: "a" }, data: { x: "1" } },
      options: { kind: "CreateOptions", apiVersion: "meta.k8s.io/v1", fieldManager: "me", dryRun: ["All"] },
    });
    expect(request["uid"]).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("is asked about every operation", async () => {
    await register("Validating", "all");
    await create("a");
    await api.http("PATCH", `${MAPS}/a`, { data: { x: "2" } });
    await api.http("PUT", `${MAPS}/a`, configMap("a"));
    await api.http("DELETE", `${MAPS}/a?gracePeriodSeconds=1`);
    await create("b");
    await api.http("DELETE", MAPS);
    const asked = hook.seen.map(({ request: { operation, name, options, object, oldObject } }) => [operation, name, options.kind, object?.data?.x, oldObject !== null]);
    expect(asked).toEqual([
      ["CREATE", "a", "CreateOptions", undefined, false], ["UPDATE", "a", "PatchOptions", "2", true], ["UPDATE", "a", "UpdateOptions", undefined, true],
      ["DELETE", "a", "DeleteOptions", undefined, true], ["CREATE", "b", "CreateOptions", undefined, false],
      ...["b", "kube-root-ca.crt"].filter((name) => name === "b" || hook.seen.some(({ request }) => request["name"] === name)).map((name) => ["DELETE", name, "DeleteOptions", undefined, true]),
    ]);
    expect(hook.seen[3]!.request["options"]).toMatchObject({ gracePeriodSeconds: 1 });
    expect(hook.connections).toBe(1);
  });

  test.each<[string, object, number, string]>([
    ["with a message", { allowed: false, status: { message: "no", code: 403, reason: "Forbidden" } }, 403, 'admission webhook "guard.example.com" denied the request: no'],
    ["with a reason alone", { allowed: false, status: { reason: "Nope" } }, 400, 'admission webhook "guard.example.com" denied the request: Nope'],
    ["without explanation", { allowed: false }, 400, 'admission webhook "guard.example.com" denied the request without explanation'],
    ["with a code of success", { allowed: false, status: { code: 200, message: "odd" } }, 400, 'admission webhook "guard.example.com" denied the request: odd'],
  ])("refuses %s", async (_, response, status, message) => {
    hook.behave = () => response;
    await register("Validating", "guard");
    expect(outcome(await create("a"))).toEqual([status, message]);
    expect((await api.http("GET", `${MAPS}/a`)).status).toBe(404);
  });

  test("refuses the deletion, also one by one in a collection", async () => {
    await create("a");
    hook.behave = ({ request }) => ({ allowed: request["operation"] !== "DELETE", status: { message: "stays" } });
    await register("Validating", "guard");
    const message = 'admission webhook "guard.example.com" denied the request: stays';
    expect(outcome(await api.http("DELETE", `${MAPS}/a`))).toEqual([400, message]);
    expect(outcome(await api.http("DELETE", MAPS))).toEqual([400, message]);
    expect((await api.http("GET", `${MAPS}/a`)).status).toBe(200);
  });

  test("warns the client, whether it allows or not", async () => {
    hook.behave = ({ request }) => ({ allowed: request["name"] === "a", warnings: ["careful", "naïve \"ünïcode\" ✓"] });
    await register("Validating", "guard");
    for (const name of ["a", "b"]) {
      const { headers } = await create(name);
      const texts = (headers["warning"] as string[]).map((text) => Buffer.from(text, "latin1").toString("utf8"));
      expect(texts).toEqual(['299 - "careful"', '299 - "naïve \\"ünïcode\\" ✓"']);
    }
  });
});

const silence: Behaviour = () => undefined;
const raw = (status: number, body: string): Behaviour => (_review, res) => void res.writeHead(status, { "content-type": "application/json" }).end(body);
const reviewOf = (response: object, rest: object = {}): Behaviour => (review, res) =>
  void res.end(JSON.stringify({ kind: "AdmissionReview", apiVersion: "admission.k8s.io/v1", response: { uid: review.request["uid"], allowed: true, ...response }, ...rest }));

const failures: readonly [string, Behaviour, object, RegExp][] = [
  ["slow", silence, { timeoutSeconds: 1 }, /failed to call webhook: Post "https:\/\/127\.0\.0\.1:\d+\/h\?timeout=1s": context deadline exceeded$/],
  ["in error", raw(500, "boom"), {}, /failed to call webhook: an error on the server \("boom"\) has prevented the request from succeeding$/],
  ["nowhere", raw(404, ""), {}, /failed to call webhook: the server could not find the requested resource$/],
  ["not speaking JSON", raw(200, "hello"), {}, /failed to call webhook: couldn't get version\/kind; json parse error: /],
  ["without an answer", raw(200, "{}"), {}, /received invalid webhook response: expected webhook response of admission.k8s.io\/v1, Kind=AdmissionReview, got \/, Kind=$/],
  ["answering another question", reviewOf({ uid: "x" }), {}, /received invalid webhook response: expected response.uid="[0-9a-f-]+", got "x"$/],
  ["without a response", reviewOf({}, { response: undefined }), {}, /received invalid webhook response: webhook response was absent$/],
  ["breaking the connection", (_review, res) => void res.destroy(), {}, /failed to call webhook: Post ".*": (EOF|socket hang up)$/],
  ["of an unknown authority", () => ({ allowed: true }), { clientConfig: { url: "HERE" } }, /x509: certificate signed by unknown authority$/],
  ["of another name", () => ({ allowed: true }), { clientConfig: { service: { name: "other", namespace: "default", port: 8443 }, caBundle } }, /x509: certificate is not valid for other\.default\.svc: /],
  ["of a missing service", () => ({ allowed: true }), { clientConfig: { service: { name: "gone", namespace: "default" }, caBundle } }, /Post "https:\/\/gone\.default\.svc:443\/\?timeout=10s": services "gone" not found$/],
];

describe.each(["Validating", "Mutating"] as const)("a failing %s webhook", (kind) => {
  test.each(failures)("%s refuses, and is passed over when its failures are ignored", async (_, behave, change, message) => {
    await serve("default", "other", hook.port);
    hook.behave = behave;
    const here = JSON.parse(JSON.stringify(change).replace("HERE", `https://127.0.0.1:${hook.port}/h`)) as object;
    await register(kind, "h", here);
    const refused = await create("a");
    expect([refused.status, refused.body.reason]).toEqual([500, "InternalError"]);
    expect(refused.body.message).toMatch(message);
    expect(refused.body.message).toMatch(/^Internal error occurred: failed calling webhook "h\.example\.com": /);
    await api.http("DELETE", `${ADMISSION}/${kind.toLowerCase()}webhookconfigurations/h`);
    await register(kind, "h", { ...here, failurePolicy: "Ignore" });
    expect((await create("b")).status).toBe(201);
  });

  test("that is down refuses", async () => {
    await hook[Symbol.asyncDispose]();
    await register(kind, "h");
    expect(outcome(await create("a"))[1]).toMatch(/dial tcp 127\.0\.0\.1:\d+: connect: connection refused$/);
  });
});

/** A Service whose endpoint is on loopback, which the API does not take: the slice is put into the store. */
async function serve(namespace: string, name: string, port: number): Promise<void> {
  await api.http("POST", "/api/v1/namespaces", { metadata: { name: namespace } });
  const { status, text } = await api.http("POST", `/api/v1/namespaces/${namespace}/services`, { metadata: { name }, spec: { ports: [{ name: "https", port: 8443 }] } });
  expect(status, text).toBe(201);
  const slice: Obj = {
    apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", metadata: { name, namespace, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4", ports: [{ name: "https", port, protocol: "TCP" }], endpoints: [{ addresses: ["127.0.0.1"], conditions: { ready: true } }],
  };
  await api.engine.store.put(api.registry.get("discovery.k8s.io", "v1", "endpointslices")!, namespace, name, canonicalize(slice), undefined);
}

test("a webhook behind a service is asked at an endpoint, under the service's name", async () => {
  await serve("ns", "web", hook.port);
  await register("Validating", "h", { clientConfig: { service: { name: "web", namespace: "ns", path: "/check", port: 8443 }, caBundle } });
  expect(outcome(await create("a"))).toEqual([201, ""]);
  expect(hook.seen[0]!.path).toBe("/check?timeout=10s");
});

describe("which webhooks are asked", () => {
  const rule = (change: object): object => ({ rules: [{ operations: ["*"], apiGroups: ["*"], apiVersions: ["*"], resources: ["*"], ...change }] });
  test.each<[string, object, boolean]>([
    ["any resource", rule({}), true],
    ["any subresource", rule({ resources: ["*/*"] }), true],
    ["another operation", rule({ operations: ["UPDATE", "DELETE"] }), false],
    ["another group", rule({ apiGroups: ["apps"] }), false],
    ["another resource", rule({ resources: ["secrets"] }), false],
    ["a subresource", rule({ resources: ["configmaps/status"] }), false],
    ["namespaced", rule({ scope: "Namespaced" }), true],
    ["cluster-scoped", rule({ scope: "Cluster" }), false],
    ["this namespace", { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "default" } } }, true],
    ["another namespace", { namespaceSelector: { matchLabels: { team: "x" } } }, false],
    ["labelled objects", { objectSelector: { matchLabels: { a: "b" } } }, true],
    ["other objects", { objectSelector: { matchExpressions: [{ key: "a", operator: "DoesNotExist" }] } }, false],
    ["a condition", { matchConditions: [{ name: "c", expression: "object.data.x == '1' && request.operation == 'CREATE'" }] }, true],
    ["a false condition", { matchConditions: [{ name: "c", expression: "true" }, { name: "d", expression: "request.userInfo.username != 'system:admin'" }] }, false],
    ["a false condition beside a broken one", { matchConditions: [{ name: "c", expression: "object.none" }, { name: "d", expression: "false" }] }, false],
    ["the rights of the user", { matchConditions: [{ name: "c", expression: "authorizer.group('').resource('pods').namespace('x').check('create').allowed()" }] }, true],
    ["the right to the request", { matchConditions: [{ name: "c", expression: "!authorizer.requestResource.check('breakglass').allowed()" }] }, false],
  ])("%s", async (_, change, asked) => {
    await register("Validating", "h", change);
    expect(outcome(await create("a", { x: "1" }, { a: "b" }))).toEqual([201, ""]);
    expect(hook.seen.length).toBe(asked ? 1 : 0);
  });

  test("a condition that cannot be told refuses, or is passed over", async () => {
    const broken = { matchConditions: [{ name: "c", expression: "object.data.none == 'x'" }] };
    await register("Validating", "h", broken);
    expect(outcome(await create("a", { x: "1" }))).toEqual([403, "configmaps \"a\" is forbidden: expression 'object.data.none == 'x'' resulted in error: no such key: none"]);
    await api.http("DELETE", `${ADMISSION}/validatingwebhookconfigurations/h`);
    await register("Validating", "h", { ...broken, failurePolicy: "Ignore" });
    expect((await create("a", { x: "1" })).status).toBe(201);
    expect(hook.seen.length).toBe(0);
  });

  test("a namespace counts as lying in itself", async () => {
    await register("Validating", "h", { ...rule({ resources: ["namespaces"] }), namespaceSelector: { matchLabels: { team: "x" } } });
    await api.http("POST", "/api/v1/namespaces", { metadata: { name: "in", labels: { team: "x" } } });
    await api.http("POST", "/api/v1/namespaces", { metadata: { name: "out" } });
    expect(hook.seen.map(({ request }) => [request["name"], request["namespace"]])).toEqual([["in", "in"]]);
  });

  test("none for webhook configurations", async () => {
    hook.behave = () => ({ allowed: false });
    await register("Validating", "v", rule({ resources: ["*/*"] }));
    await register("Mutating", "m", rule({ resources: ["*/*"] }));
    expect((await api.http("DELETE", `${ADMISSION}/validatingwebhookconfigurations/v`)).status).toBe(200);
    expect((await api.http("PATCH", `${ADMISSION}/mutatingwebhookconfigurations/m`, { metadata: { labels: { a: "b" } } })).status).toBe(200);
    expect(hook.seen.length).toBe(0);
  });

  test("an equivalent version of the resource, converted to what the rule names", async () => {
    const spec = { scaleTargetRef: { kind: "Deployment", name: "d", apiVersion: "apps/v1" }, maxReplicas: 3, targetCPUUtilizationPercentage: 50 };
    const path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    await register("Validating", "h", rule({ apiGroups: ["autoscaling"], apiVersions: ["v2"], resources: ["horizontalpodautoscalers"] }));
    expect(outcome(await api.http("POST", path, { metadata: { name: "a" }, spec }))).toEqual([201, ""]);
    expect(hook.seen[0]!.request).toMatchObject({
      kind: { group: "autoscaling", version: "v2" }, requestKind: { group: "autoscaling", version: "v1" },
      object: { apiVersion: "autoscaling/v2", spec: { metrics: [{ type: "Resource", resource: { name: "cpu", target: { averageUtilization: 50 } } }] } },
    });
    await api.http("DELETE", `${ADMISSION}/validatingwebhookconfigurations/h`);
    await register("Validating", "h", { ...rule({ apiGroups: ["autoscaling"], apiVersions: ["v2"], resources: ["horizontalpodautoscalers"] }), matchPolicy: "Exact" });
    await api.http("POST", path, { metadata: { name: "b" }, spec });
    expect(hook.seen.length).toBe(1);
  });

  test("a scale is shown as a Scale", async () => {
    const labels = { a: "b" };
    const template = { metadata: { labels }, spec: { containers: [{ name: "c", image: "i" }] } };
    await api.http("POST", "/apis/apps/v1/namespaces/default/deployments", { metadata: { name: "d" }, spec: { replicas: 1, selector: { matchLabels: labels }, template } });
    hook.behave = ({ request }) => (request["object"].spec.replicas > 5 ? jsonPatch({ op: "replace", path: "/spec/replicas", value: 5 }) : { allowed: true });
    await register("Mutating", "h", rule({ resources: ["deployments/scale"] }));
    const { body } = await api.http("PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale", { spec: { replicas: 9 } });
    expect(body.spec.replicas).toBe(5);
    expect(hook.seen[0]!.request).toMatchObject({ subResource: "scale", kind: { group: "autoscaling", kind: "Scale" }, object: { kind: "Scale", spec: { replicas: 9 } }, oldObject: { spec: { replicas: 1 } } });
  });
});

describe("a write of the status", () => {
  const deployments = "/apis/apps/v1/namespaces/default/deployments";
  const writeStatus = (status: object): Promise<TestAnswer> => api.http("PATCH", `${deployments}/d/status`, { status });
  const rules = (...resources: string[]): object => ({ rules: [{ operations: ["UPDATE"], apiGroups: ["apps"], apiVersions: ["v1"], resources }] });
  beforeEach(async () => {
    const [spec, labels] = [{ containers: [{ name: "c", image: "i" }] }, { a: "b" }];
    await api.http("POST", deployments, { metadata: { name: "d" }, spec: { replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } } });
  });

  test("is shown to whoever asks for the subresource, and to nobody else", async () => {
    await register("Validating", "status", rules("deployments/status"));
    await register("Validating", "all", rules("*/*"));
    await register("Validating", "main", rules("deployments", "deployments/scale"));
    expect((await writeStatus({ replicas: 1 })).status).toBe(200);
    expect(hook.seen.map(({ path }) => path.split("?")[0]).sort()).toEqual(["/all", "/status"]);
    expect(hook.seen[0]!.request).toMatchObject({
      operation: "UPDATE", subResource: "status", requestSubResource: "status", resource: { resource: "deployments" },
      object: { kind: "Deployment", status: { replicas: 1 } }, oldObject: { status: {} }, options: { kind: "PatchOptions" },
    });
  });

  test("is refused, and leaves what was there", async () => {
    hook.behave = () => ({ allowed: false, status: { message: "no" } });
    await register("Validating", "guard", rules("deployments/status"));
    expect(outcome(await writeStatus({ replicas: 1 }))).toEqual([400, 'admission webhook "guard.example.com" denied the request: no']);
    expect((await api.http("GET", `${deployments}/d`)).body.status.replicas).toBeUndefined();
  });

  test("may be changed, but for what is no status", async () => {
    hook.behave = () => jsonPatch({ op: "add", path: "/status/readyReplicas", value: 1 }, { op: "replace", path: "/spec/replicas", value: 7 });
    await register("Mutating", "h", rules("deployments/status"));
    const { status, body } = await writeStatus({ replicas: 1 });
    expect([status, body.status, body.spec.replicas, body.metadata.generation]).toEqual([200, { replicas: 1, readyReplicas: 1 }, 1, 1]);
  });
});

describe("a mutating webhook", () => {
  const add = (key: string, value: string): object => jsonPatch({ op: "add", path: `/data/${key}`, value });

  test("changes the object, in the order of the configurations' names", async () => {
    hook.behave = ({ path, request }) => {
      const seen = Object.keys(request["object"].data).sort().join();
      return add(path.slice(1, 2), seen || "-");
    };
    for (const name of ["c", "a", "b"]) await register("Mutating", name);
    expect((await create("m", { x: "1" })).body.data).toEqual({ x: "1", a: "x", b: "a,x", c: "a,b,x" });
  });

  test("is asked again when a later one changed the object, if it wants", async () => {
    hook.behave = ({ path, request }) => add(path.slice(1, 2), String(Object.keys(request["object"].data).length));
    await register("Mutating", "a", { reinvocationPolicy: "IfNeeded" });
    await register("Mutating", "b", { reinvocationPolicy: "IfNeeded" });
    await register("Mutating", "c");
    expect((await create("m", { x: "1" })).body.data).toEqual({ x: "1", a: "4", b: "4", c: "3" });
    expect(hook.seen.map(({ path }) => path.slice(1, 2)).join("")).toBe("abcab");
  });

  test("has its work defaulted, seen by the server's own mutators, and validated", async () => {
    hook.behave = ({ request }) => (request["name"] === "bad"
      ? jsonPatch({ op: "replace", path: "/spec/containers/0/name", value: "Not A Name" })
      : jsonPatch({ op: "add", path: "/spec/initContainers", value: [{ name: "i", image: "busybox" }] }));
    await register("Mutating", "h", { rules: [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"] }] });
    await api.http("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata: { name: "default" } });
    const pod = (name: string): object => ({ metadata: { name }, spec: { containers: [{ name: "c", image: "i" }] } });
    const { body } = await api.http("POST", "/api/v1/namespaces/default/pods", pod("good"));
    expect(body.spec.initContainers[0]).toMatchObject({
      name: "i", imagePullPolicy: "Always", terminationMessagePath: "/dev/termination-log",
      volumeMounts: [{ mountPath: "/var/run/secrets/kubernetes.io/serviceaccount" }],
    });
    const refused = await api.http("POST", "/api/v1/namespaces/default/pods", pod("bad"));
    expect([refused.status, refused.body.reason]).toEqual([422, "Invalid"]);
  });

  test.each<[string, object, RegExp]>([
    ["that does not apply", jsonPatch({ op: "remove", path: "/data/none" }), /^Internal error occurred: the patch of webhook "h.example.com" cannot be applied: .*doc is missing path: \/data\/none/],
    ["that breaks a type", jsonPatch({ op: "replace", path: "/data", value: 5 }), /^Internal error occurred: the patch of webhook "h.example.com" cannot be applied: /],
    ["that changes the kind", jsonPatch({ op: "replace", path: "/kind", value: "Secret" }), /Kind=ConfigMap a v1, Kind=Secret$/],
    ["without a type", { allowed: true, patch: "W10=" }, /webhook returned response.patch but not response.patchType$/],
    ["of another type", { allowed: true, patch: "W10=", patchType: "Merge" }, /webhook returned invalid response.patchType of "Merge"$/],
    ["that is missing", { allowed: true, patchType: "JSONPatch" }, /webhook returned response.patchType but not response.patch$/],
    ["that is no JSON", { allowed: true, patchType: "JSONPatch", patch: "eA==" }, /response.patch is not a JSON patch: /],
  ])("refuses with a patch %s", async (_, response, message) => {
    hook.behave = () => response;
    await register("Mutating", "h");
    const refused = await create("a", { x: "1" });
    expect(refused.status).toBe(500);
    expect(refused.body.message).toMatch(message);
  });

  test("changes updates, and is asked about deletions", async () => {
    await create("a", { x: "1" });
    hook.behave = ({ request }) => (request["operation"] === "DELETE" ? { allowed: false, status: { message: "stays" } } : add("y", "2"));
    await register("Mutating", "h");
    expect((await api.http("PATCH", `${MAPS}/a`, { data: { z: "3" } })).body.data).toEqual({ x: "1", y: "2", z: "3" });
    expect(outcome(await api.http("DELETE", `${MAPS}/a`))).toEqual([400, 'admission webhook "h.example.com" denied the request: stays']);
  });

  test("that allows with nothing to change leaves the object as it is", async () => {
    hook.behave = () => jsonPatch({ op: "add", path: "/data/x", value: "1" });
    await register("Mutating", "h");
    expect((await create("a", { x: "1" })).body.data).toEqual({ x: "1" });
  });

  test("that is changed or deleted has its effect at once", async () => {
    hook.behave = () => add("y", "2");
    await register("Mutating", "h");
    expect((await create("a", { x: "1" })).body.data).toEqual({ x: "1", y: "2" });
    await api.http("PATCH", `${ADMISSION}/mutatingwebhookconfigurations/h`, [{ op: "replace", path: "/webhooks/0/rules/0/operations", value: ["UPDATE"] }], { "content-type": "application/json-patch+json" });
    expect((await create("b", { x: "1" })).body.data).toEqual({ x: "1" });
    await api.http("DELETE", `${ADMISSION}/mutatingwebhookconfigurations`);
    expect((await api.http("PATCH", `${MAPS}/b`, { data: { z: "3" } })).body.data).toEqual({ x: "1", z: "3" });
  });
});

test("what webhooks answer, and what is passed over, is counted", async () => {
  hook.behave = ({ path }) => (path.startsWith("/guard") ? { allowed: false, status: { code: 418, message: "no" } } : { allowed: true });
  await register("Validating", "guard", { rules: [{ operations: ["DELETE"], apiGroups: [""], apiVersions: ["v1"], resources: ["configmaps"] }] });
  await register("Mutating", "open", { failurePolicy: "Ignore", clientConfig: { url: "https://127.0.0.1:1/", caBundle } });
  expect((await create("a")).status).toBe(201);
  expect((await api.http("DELETE", `${MAPS}/a`)).status).toBe(418);
  const { body } = await api.http("GET", "/metrics");
  expect(body).toContain('apiserver_admission_webhook_rejection_count{error_type="no_error",name="guard.example.com",operation="DELETE",rejection_code="418",type="validating"} 1\n');
  expect(body).toMatch(/^apiserver_admission_webhook_fail_open_count\{name="open\.example\.com",type="admit"\} \d+$/m);
  expect(body).toContain('apiserver_admission_webhook_admission_duration_seconds_count{name="guard.example.com",operation="DELETE",rejected="true",type="validating"} 1\n');
});

describe("streams and proxies", () => {
  const rules = [{ operations: ["CONNECT"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods/attach", "pods/exec", "services/proxy"] }];

  test("are CONNECT, and may be refused", async () => {
    hook.behave = ({ request }) => ({ allowed: false, status: { message: `no ${request["object"].kind}` } });
    await register("Validating", "h", { rules });
    const answer = await api.http("GET", "/api/v1/namespaces/default/services/web/proxy/x/y");
    expect(outcome(answer)).toEqual([400, 'admission webhook "h.example.com" denied the request: no ServiceProxyOptions']);
    expect(hook.seen[0]!.request).toMatchObject({
      operation: "CONNECT", subResource: "proxy", name: "web", namespace: "default", object: { path: "/x/y" }, oldObject: null,
      kind: { group: "", version: "v1", kind: "ServiceProxyOptions" }, resource: { resource: "services" },
    });
  });
});

describe("an attach that asks to upgrade", () => {
  test("is refused before anything is joined", async () => {
    hook.behave = ({ request }) => ({ allowed: false, status: { message: `attaching to pod '${request["name"]}' is not allowed` } });
    await register("Validating", "h", { rules: [{ operations: ["CONNECT"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods/attach"] }] });
    await api.http("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
      metadata: { name: "t" }, roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" }, subjects: [{ kind: "User", name: "test", apiGroup: "rbac.authorization.k8s.io" }],
    });
    const identity = { cert: testCertificate, key: testPrivateKey };
    const { port } = await api.listen({ ...identity, clientCas: [testCertificate], address: "127.0.0.1", port: 0 });
    const text = await new Promise<string>((resolve, reject) => {
      const req = request({
        ...identity, ca: testCertificate, host: "127.0.0.1", port, method: "POST", agent: false,
        path: "/api/v1/namespaces/default/pods/p/attach?container=c&stdin=true&tty=true", headers: { connection: "Upgrade", upgrade: "SPDY/3.1" },
      }, (res) => {
        let body = "";
        res.on("data", (chunk: Buffer) => (body += chunk.toString())).on("end", () => resolve(body));
      });
      req.on("error", reject).end();
    });
    expect(JSON.parse(text).message).toBe("admission webhook \"h.example.com\" denied the request: attaching to pod 'p' is not allowed");
    expect(hook.seen[0]!.request).toMatchObject({ subResource: "attach", object: { kind: "PodAttachOptions", container: "c", stdin: true, tty: true } });
  });
});

describe("custom resources", () => {
  const version = (name: string, storage: boolean): object => ({
    name, served: true, storage, schema: { openAPIV3Schema: { type: "object", properties: {
      data: { type: "object", additionalProperties: { type: "string" } }, level: { type: "integer", default: 1 },
    } } },
  });
  const crd = {
    apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", metadata: { name: "gadgets.example.com" },
    spec: { group: "example.com", scope: "Namespaced", names: { plural: "gadgets", singular: "gadget", kind: "Gadget", listKind: "GadgetList" }, versions: [version("v1", false), version("v2", true)] },
  };
  const GADGETS = "/apis/example.com/v1/namespaces/default/gadgets";
  const rules = [{ operations: ["*"], apiGroups: ["example.com"], apiVersions: ["v2"], resources: ["gadgets"] }];

  test("are refused and changed like all others, pruned and defaulted, in the version of the rule", async () => {
    await api.http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd);
    hook.behave = ({ request }) => (request["operation"] === "DELETE" ? { allowed: false } : jsonPatch(
      { op: "add", path: "/data", value: { a: "b" } }, { op: "add", path: "/unknown", value: 1 }));
    await register("Mutating", "h", { rules });
    const { status, body, text } = await api.http("POST", GADGETS, { apiVersion: "example.com/v1", kind: "Gadget", metadata: { name: "g" } });
    expect(status, text).toBe(201);
    expect(body).toMatchObject({ apiVersion: "example.com/v1", data: { a: "b" }, level: 1 });
    expect(body.unknown).toBeUndefined();
    expect(hook.seen[0]!.request).toMatchObject({ kind: { version: "v2" }, requestKind: { version: "v1" }, object: { apiVersion: "example.com/v2" } });
    expect((await api.http("DELETE", `${GADGETS}/g`)).status).toBe(400);
  });

  test("their definitions too", async () => {
    hook.behave = () => ({ allowed: false, status: { message: "no such kinds" } });
    await register("Validating", "h", { rules: [{ operations: ["CREATE"], apiGroups: ["apiextensions.k8s.io"], apiVersions: ["*"], resources: ["customresourcedefinitions"] }] });
    expect(outcome(await api.http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd))).toEqual([400, 'admission webhook "h.example.com" denied the request: no such kinds']);
  });
});
