/** A thousand requests that no honest client sends: each gets an answer that says what is wrong with it, and nothing is left behind. */
import fc from "fast-check";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requestInMemory } from "../client/memory.ts";
import { encodeProtobuf } from "../protobuf/index.ts";
import { adminUser, startTestServer, type TestServer } from "./testing.ts";

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 200);
let api: TestServer;
const bugs: unknown[] = [];
beforeAll(async () => {
  api = await startTestServer({ onError: (error) => bugs.push(error) });
  await api.http("POST", "/api/v1/namespaces/default/configmaps", { metadata: { name: "there" }, data: { a: "1" } });
  await api.http("POST", "/apis/apps/v1/namespaces/default/deployments", {
    metadata: { name: "there" }, spec: { selector: { matchLabels: { a: "b" } }, template: { metadata: { labels: { a: "b" } }, spec: { containers: [{ name: "c", image: "i" }] } } },
  });
});
afterAll(() => api.close());

interface Sent {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Upstream, too, has no better code than 500 for these. */
const WITHOUT_CODE = /does not contain declared merge key: |resourceVersion should not be set on objects to be created|failed to create typed patch object /;

/** What is said on purpose. */
const isDeliberate = (status: number, text: string): boolean => status < 500 || status === 503 || status === 504 || WITHOUT_CODE.test(text);

async function check({ method, url, headers, body }: Sent): Promise<void> {
  const before = bugs.length;
  const handler = { ...api.handler, handle: (incoming: Parameters<TestServer["handler"]["handle"]>[0], res: Parameters<TestServer["handler"]["handle"]>[1]) =>
    api.handler.handle({ ...incoming, headers: { accept: "application/json", ...headers }, stream: Readable.from(body.length > 0 ? [body] : []) }, res) };
  const answer = await requestInMemory(handler, adminUser, method, url);
  expect(bugs.slice(before), `${method} ${url}`).toEqual([]);
  if (answer.status < 400) return;
  expect(isDeliberate(answer.status, answer.text), `${answer.status} ${answer.text}`).toBe(true);
  if (method !== "HEAD" && String(answer.headers["content-type"]).startsWith("application/json")) {
    expect(JSON.parse(answer.text)).toMatchObject({ kind: "Status", status: "Failure", code: answer.status });
  }
}

const run = (arbitrary: fc.Arbitrary<Sent>): Promise<void> => fc.assert(fc.asyncProperty(arbitrary, check), { numRuns: RUNS });

const methods = fc.constantFrom("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FOO");
const plurals = fc.constantFrom("pods", "configmaps", "services", "nodes", "namespaces", "deployments", "leases", "events", "bindings", "nothing", "customresourcedefinitions");
const names = fc.oneof(fc.constantFrom("there", "default", ".", "..", "", "%00", "%2F", "%zz", "a%20b", "x".repeat(300), "ümlaut", "%e2%82", "status"), fc.string({ maxLength: 8 }).map(encodeURIComponent));
const subresources = fc.constantFrom("", "", "/status", "/scale", "/log", "/exec", "/proxy", "/proxy/a/../b", "/eviction", "/binding", "/finalize", "/token", "/nothing", "/resize");
const roots = fc.constantFrom("/api/v1", "/apis/apps/v1", "/apis/coordination.k8s.io/v1", "/apis/apiextensions.k8s.io/v1", "/api/v9", "/apis", "/api", "//api/v1", "/api/v1/watch", "/apis/nope.example.com/v1", "/openapi/v3", "/healthz", "/version");
const paths = fc.oneof(
  fc.tuple(roots, plurals, names, subresources).map(([root, plural, name, sub]) => `${root}/${plural}/${name}${sub}`),
  fc.tuple(roots, names, plurals, names, subresources).map(([root, namespace, plural, name, sub]) => `${root}/namespaces/${namespace}/${plural}/${name}${sub}`),
  fc.array(fc.oneof(names, plurals), { maxLength: 6 }).map((parts) => `/${parts.join("/")}`),
);
const values = fc.oneof(
  fc.constantFrom("1", "-1", "true", "0", "", "All", "abc", "99999999999999999999", "1e9", "Strict", "a=b", "a in (b", "!", "metadata.name=there", "Orphan", "Exact", "NotOlderThan", "%", "Foreground", "1s"),
  fc.string({ maxLength: 12 }).map(encodeURIComponent),
);
const options = fc.constantFrom(
  "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "timeoutSeconds", "dryRun", "fieldManager", "fieldValidation", "pretty",
  "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "force", "timeout", "includeObject", "tailLines", "command", "container", "sendInitialEvents", "allowWatchBookmarks",
);
const queries = fc.array(fc.tuple(options, values), { maxLength: 4 }).map((pairs) => (pairs.length > 0 ? `?${pairs.map(([key, value]) => `${key}=${value}`).join("&")}` : ""));
const accepts = fc.constantFrom("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "*/*", "text/html", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", ";;;", "application/json;q=x");

/** Objects that have the outline of the kind, and nonsense inside. */
const nonsense: fc.Arbitrary<unknown> = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom(null, -1, 1e300, "", "x".repeat(70_000), [], {}, [[]], { "": "" }, { __proto__: null, constructor: 1 }));
const metadata = fc.record({ name: fc.oneof(fc.constant("there"), nonsense), labels: nonsense, annotations: nonsense, ownerReferences: nonsense, finalizers: nonsense, managedFields: nonsense, generateName: nonsense, namespace: nonsense, resourceVersion: nonsense, uid: nonsense, deletionTimestamp: nonsense }, { requiredKeys: [] });
const template = fc.record({ metadata: nonsense, spec: fc.oneof(nonsense, fc.record({ containers: fc.oneof(nonsense, fc.array(fc.record({ name: nonsense, image: nonsense, ports: nonsense, env: nonsense, resources: nonsense }, { requiredKeys: [] }), { maxLength: 2 })), volumes: nonsense, affinity: nonsense, tolerations: nonsense }, { requiredKeys: [] })) }, { requiredKeys: [] });
const bodies = fc.oneof(
  nonsense,
  fc.record({
    apiVersion: fc.constantFrom("v1", "apps/v1", "", 1), kind: fc.constantFrom("ConfigMap", "Deployment", "Pod", "", 7), metadata: fc.oneof(metadata, nonsense), data: nonsense,
    spec: fc.oneof(nonsense, fc.record({ replicas: nonsense, selector: nonsense, template: fc.oneof(template, nonsense), strategy: nonsense, containers: nonsense, ports: nonsense, type: nonsense, clusterIP: nonsense }, { requiredKeys: [] })),
    status: nonsense,
  }, { requiredKeys: [] }),
);
const COLLECTIONS = ["/api/v1/namespaces/default/configmaps", "/apis/apps/v1/namespaces/default/deployments", "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/services", "/api/v1/nodes", "/apis/batch/v1/namespaces/default/cronjobs",
  "/apis/networking.k8s.io/v1/namespaces/default/ingresses", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
  "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "/api/v1/namespaces/default/serviceaccounts/default/token", "/api/v1/namespaces/default/pods/there/eviction", "/api/v1/persistentvolumes"];
const collections = fc.constantFrom(...COLLECTIONS);
const THERE = ["/api/v1/namespaces/default/configmaps/there", "/apis/apps/v1/namespaces/default/deployments/there", "/apis/apps/v1/namespaces/default/deployments/there/scale", "/apis/apps/v1/namespaces/default/deployments/there/status", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/global-default"];
/** Nothing of this is to stay: it may well be valid. */
const dry = (url: string): string => `${url}?dryRun=All&fieldManager=fuzz&force=true`;
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value) ?? "");

describe("the server answers what is wrong with", () => {
  test("paths, queries and headers", () => run(fc.tuple(methods, paths, queries, accepts).map(([method, path, query, accept]) =>
    // A watch would last.
    ({ method: method === "DELETE" ? "GET" : method, url: path.replace("/watch", "") + query, headers: { accept, "content-type": "application/json" }, body: Buffer.alloc(0) }))));

  test("objects in JSON", () => run(fc.tuple(collections, bodies, fc.constantFrom("POST", "DELETE")).map(([url, body, method]) =>
    ({ method, url: method === "DELETE" ? dry(`${url}/there`) : dry(url), headers: { "content-type": "application/json" }, body: json(body) }))));

  test("text that is cut, twisted or not JSON at all", () => run(fc.tuple(collections, fc.oneof(fc.string(), fc.tuple(bodies, fc.nat(200)).map(([body, at]) => json(body).subarray(0, at).toString())), fc.constantFrom("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "application/json; charset=latin1", ""))
    .map(([url, text, type]) => ({ method: "POST", url: dry(url), headers: { "content-type": type }, body: Buffer.from(text) }))));

  test("objects in YAML", () => run(fc.tuple(collections, fc.oneof(fc.string(), bodies.map((body) => JSON.stringify(body)), fc.constantFrom("a: &a [*a]", "- - - -", "? {a: b}\n: c", "!!js/function x", "a: b: c", "%YAML 9\n---\n", "---\na: 1\n---\nb: 2\n", "<<: {a: 1}", "\t", "1: 2", "a: !!binary x", "a: 2001-01-01", ".inf", "{a: .nan}")))
    .map(([url, text]) => ({ method: "POST", url: dry(url), headers: { "content-type": "application/yaml" }, body: Buffer.from(text ?? "") }))));

  test("objects in protobuf", () => {
    const whole = encodeProtobuf({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "there", labels: { a: "b" } }, data: { a: "1" } });
    return run(fc.tuple(collections, fc.oneof(
      fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.concat([Buffer.from("k8s\0"), bytes])),
      fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, byte]) => Buffer.from(whole).fill(byte, at, at + 1)),
      fc.nat(whole.length).map((at) => whole.subarray(0, at)),
    )).map(([url, body]) => ({ method: "POST", url: dry(url), headers: { "content-type": "application/vnd.kubernetes.protobuf" }, body })));
  });

  const patchTypes = fc.constantFrom("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/apply-patch+json", "application/nonsense");
  const operations = fc.array(fc.record({ op: fc.constantFrom("add", "remove", "replace", "move", "copy", "test", "nope", 1), path: fc.oneof(fc.constantFrom("", "/", "/spec", "/data/a", "/metadata/labels", "/spec/template/spec/containers/0", "/spec/template/spec/containers/-", "/a~2", "~", "/__proto__/x", "/metadata/name"), fc.string()), from: fc.constantFrom("", "/data", "/spec", 7), value: nonsense }, { requiredKeys: [] }), { maxLength: 3 });
  const directives = fc.constantFrom<object>({ $patch: "replace" }, { $patch: "delete" }, { $patch: 1 }, { "$setElementOrder/spec": 1 }, { spec: { template: { spec: { "$setElementOrder/containers": [{ name: "x" }, 1], containers: [{ $patch: "delete" }] } } } }, { spec: { $retainKeys: 1 } }, { metadata: { "$deleteFromPrimitiveList/finalizers": "x" } }, { spec: { template: { spec: { containers: [{ name: "c", $patch: "merge" }, null] } } } });
  test("patches", () => run(fc.tuple(fc.constantFrom(...THERE), patchTypes, fc.oneof(operations, bodies, directives)).map(([url, type, patch]) =>
    ({ method: "PATCH", url: dry(url), headers: { "content-type": type }, body: json(patch) }))));

  test("and is as it was before", async () => {
    expect((await api.http("GET", "/api/v1/namespaces/default/configmaps/there")).body.data).toEqual({ a: "1" });
    expect((await api.http("GET", "/apis/apps/v1/namespaces/default/deployments/there")).body.spec.replicas).toBe(1);
    expect((await api.http("GET", "/metrics")).text).toContain('apiserver_flowcontrol_current_executing_requests{priority_level="exempt"} 1\n');
    expect(bugs).toEqual([]);
  });
});
