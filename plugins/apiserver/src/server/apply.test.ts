import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./testing.ts";

const CM = "/api/v1/namespaces/default/configmaps";
let api: TestServer;
beforeEach(async () => void (api = await startTestServer()));
afterEach(() => api.close());

const apply = (name: string, data: object, manager: string, query = ""): Promise<any> =>
  api.http("PATCH", `${CM}/${name}?fieldManager=${manager}${query}`, { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data }, { "content-type": "application/apply-patch+yaml" });

describe("server-side apply", () => {
  test("creates, then changes, and removes what is no longer stated", async () => {
    const first = await apply("a", { x: "1", y: "2" }, "me");
    expect([first.status, first.body.data]).toEqual([201, { x: "1", y: "2" }]);
    expect(first.body.metadata.managedFields).toMatchObject([{ manager: "me", operation: "Apply", fieldsV1: { "f:data": { "f:x": {}, "f:y": {} } } }]);
    const second = await apply("a", { x: "3" }, "me");
    expect([second.status, second.body.data]).toEqual([200, { x: "3" }]);
    const again = await apply("a", { x: "3" }, "me");
    expect(again.body.metadata.resourceVersion).toBe(second.body.metadata.resourceVersion);
  });

  test("gives a conflict on another's field, and takes it with force", async () => {
    await apply("a", { x: "1" }, "one");
    const refused = await apply("a", { x: "2" }, "two");
    expect([refused.status, refused.body.message]).toEqual([409, 'Apply failed with 1 conflict: conflict with "one": .data.x']);
    const forced = await apply("a", { x: "2" }, "two", "&force=true");
    expect([forced.status, forced.body.data]).toEqual([200, { x: "2" }]);
  });

  test("knows what others wrote by other means", async () => {
    await api.http("POST", `${CM}?fieldManager=creator`, { metadata: { name: "a" }, data: { x: "1" } });
    const refused = await apply("a", { x: "2", y: "3" }, "me");
    expect(refused.body.message).toBe('Apply failed with 1 conflict: conflict with "creator" using v1: .data.x');
    const shared = await apply("a", { y: "3" }, "me");
    expect(shared.body.data).toEqual({ x: "1", y: "3" });
  });

  test("needs a field manager", async () => {
    const { status, body } = await apply("a", {}, "");
    expect([status, body.message]).toEqual([422, expect.stringContaining("fieldManager: Required value: is required for apply patch")]);
  });

  test("with dryRun stores nothing", async () => {
    expect((await apply("a", { x: "1" }, "me", "&dryRun=All")).status).toBe(201);
    expect((await api.http("GET", `${CM}/a`)).status).toBe(404);
  });

  const url = "/apis/apps/v1/namespaces/default/deployments/web?fieldManager=me";
  const deployment = (container: object, more: object = {}): object => ({
    apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "web", namespace: "default" },
    spec: { selector: { matchLabels: { a: "b" } }, template: { metadata: { labels: { a: "b" } }, spec: { containers: [{ name: "c", image: "x", ...container }] } } }, ...more,
  });
  const typed = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): ";
  const containers = '.spec.template.spec.containers';
  test.each<[string, object, number, string]>([
    ["a field that the kind does not have", deployment({ imag: "y" }), 500, `${typed}${containers}[name="c"].imag: field not declared in schema`],
    ["two of them", deployment({ ports: [{ containerPort: 1, host: 2 }] }, { spek: {} }), 500, `${typed}errors:\n  ${containers}[name="c"].ports[containerPort=1,protocol="TCP"].host: field not declared in schema\n  .spek: field not declared in schema`],
    ["items with the same key", deployment({ env: [{ name: "A", value: "1" }, { name: "A", value: "2" }] }), 500, `${typed}${containers}[name="c"].env: duplicate entries for key [name="A"]`],
    ["items that only defaults tell apart", deployment({ ports: [{ containerPort: 80 }, { containerPort: 80, protocol: "TCP" }] }), 500, `${typed}${containers}[name="c"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]`],
    ["an item without a key", deployment({ env: [{ value: "1" }] }), 500, `${typed}${containers}[name="c"].env: element 0: associative list with keys has an element that omits all key fields ["name"] (and doesn't have default values for any key fields)`],
    ["a value twice in a set", deployment({}, { metadata: { name: "web", namespace: "default", finalizers: ["a/b", "a/b"] } }), 500, `${typed}.metadata.finalizers: duplicate entries for key [="a/b"]`],
    ["a word for a number", deployment({ ports: [{ containerPort: "http" }] }), 500, `${typed}${containers}[name="c"].ports[containerPort="http",protocol="TCP"].containerPort: expected numeric (int or float), got string`],
    ["a number for a word", deployment({ env: [{ name: "A", value: 1 }] }), 500, `${typed}${containers}[name="c"].env[name="A"].value: expected string, got &value.valueUnstructured{Value:1}`],
    ["an object for a word", deployment({ image: { a: [true] } }), 500, `${typed}${containers}[name="c"].image: expected string, got &value.valueUnstructured{Value:map[string]interface {}{"a":[]interface {}{true}}}`],
    ["a word for a boolean", deployment({ tty: "yes" }), 500, `${typed}${containers}[name="c"].tty: expected boolean, got &{yes}`],
    ["an object for a list", deployment({ args: { a: 1 } }), 500, `${typed}${containers}[name="c"].args: expected list, got &{map[a:1]}`],
    ["a word for an object", deployment({ securityContext: "x" }), 500, `${typed}${containers}[name="c"].securityContext: expected map, got &{x}`],
    ["a word for an object with labels", deployment({}, { metadata: { name: "web", namespace: "default", labels: "x" } }), 500, `${typed}.metadata.labels: expected map, got &{x}`],
    ["a quantity that is none", deployment({ resources: { limits: { cpu: "x" } } }), 400, `Deployment in version "v1" cannot be handled as a Deployment: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`],
    ["another version", { ...deployment({}), apiVersion: "apps/v1beta1" }, 400, "Incorrect version specified in apply patch. Specified patch version: apps/v1beta1, expected: apps/v1"],
    ["no version", { ...deployment({}), apiVersion: undefined }, 400, "Incorrect version specified in apply patch. Specified patch version: , expected: apps/v1"],
    ["another kind", { ...deployment({}), kind: "StatefulSet" }, 400, 'StatefulSet in version "v1" cannot be handled as a Deployment: converting (apps/v1.StatefulSet) to (apps/v1.Deployment): unknown conversion'],
  ])("refuses %s, whatever the field validation", async (_, body, code, message) => {
    for (const mode of ["", "&fieldValidation=Ignore"]) {
      const answer = await api.http("PATCH", url + mode, body, { "content-type": "application/apply-patch+yaml" });
      expect([answer.status, answer.body.message]).toEqual([code, message]);
    }
  });
});

describe("a patch", () => {
  test.each([
    ["application/merge-patch+json", { kind: "Pod" }, 'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (v1.ConfigMap): unknown conversion'],
    ["application/merge-patch+json", { apiVersion: "v2" }, "the API version in the data (v2) does not match the expected API version (v1)"],
    ["application/strategic-merge-patch+json", { kind: "Pod" }, 'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (v1.ConfigMap): unknown conversion'],
    ["application/json-patch+json", [{ op: "replace", path: "/apiVersion", value: "apps/v1" }], "the API version in the data (apps/v1) does not match the expected API version (v1)"],
    ["application/apply-patch+yaml", { apiVersion: "v1", kind: "Pod" }, 'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (v1.ConfigMap): unknown conversion'],
  ])("never makes an object one of another kind: %s %j", async (type, body, message) => {
    await api.http("POST", CM, { metadata: { name: "kind" } });
    const answer = await api.http("PATCH", `${CM}/kind?fieldManager=me`, body, { "content-type": type });
    expect([answer.status, answer.body.message]).toEqual([400, message]);
    expect((await api.http("GET", `${CM}/kind`)).body).toMatchObject({ apiVersion: "v1", kind: "ConfigMap" });
  });
});

describe("field validation", () => {
  const post = (mode: string): Promise<any> => api.http("POST", `${CM}?fieldValidation=${mode}`, { metadata: { name: "v" }, data: { a: "b" }, extra: 1 });

  test("warns by default, refuses when strict, is silent when told so, and never keeps the field", async () => {
    const strict = await post("Strict");
    expect([strict.status, strict.body.message]).toEqual([400, 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "extra"']);
    const warned = await post("Warn");
    expect([warned.status, warned.headers["warning"], warned.body.extra]).toEqual([201, ['299 - "unknown field \\"extra\\""'], undefined]);
    await api.http("DELETE", `${CM}/v`);
    const ignored = await post("Ignore");
    expect([ignored.status, ignored.headers["warning"], ignored.body.extra]).toEqual([201, undefined, undefined]);
    expect((await post("Maybe")).status).toBe(422);
  });

  test("covers the results of patches", async () => {
    await api.http("POST", CM, { metadata: { name: "p" } });
    const patch = (mode: string): Promise<any> => api.http("PATCH", `${CM}/p?fieldValidation=${mode}`, { extra: 1 }, { "content-type": "application/merge-patch+json" });
    const strict = await patch("Strict");
    expect([strict.status, strict.body.message]).toEqual([422, expect.stringMatching(/^ "" is invalid: patch: Invalid value: "\{.*\}": strict decoding error: unknown field "extra"$/)]);
    const warned = await patch("Warn");
    expect([warned.status, warned.body.extra, warned.headers["warning"]]).toEqual([200, undefined, ['299 - "unknown field \\"extra\\""']]);
  });

  const deployments = "/apis/apps/v1/namespaces/default/deployments";
  const fromJson = (field: string, kind: string, type: string): string => `json: cannot unmarshal ${kind} into Go struct field ${field} of type ${type}`;
  test.each([
    ["merge", { spec: { replicas: "two" } }, /^\{.*"replicas":"two".*\}$/, fromJson("DeploymentSpec.spec.replicas", "string", "int32")],
    ["merge", { metadata: "x" }, /"metadata":"x"/, fromJson("Deployment.metadata", "string", "v1.ObjectMeta")],
    ["json", [{ op: "replace", path: "/spec/template", value: [] }], /"template":\[\]/, fromJson("DeploymentSpec.spec.template", "array", "v1.PodTemplateSpec")],
    ["strategic", { spec: { replicas: "two", paused: null } }, /^map\[spec:map\[paused:<nil> replicas:two\]\]$/, "unrecognized type: int32"],
    ["strategic", { metadata: { labels: { a: 1 } } }, /^map\[metadata:map\[labels:map\[a:1\]\]\]$/, "unrecognized type: string"],
    ["strategic", { spec: { strategy: "x" } }, /^map/, "cannot restore struct from: string"],
    ["strategic", { metadata: { labels: "x" } }, /^map/, "cannot restore map from string"],
  ])("refuses a %s patch that leaves a value of a wrong type: %j", async (type, body, value, why) => {
    await api.http("POST", deployments, {
      metadata: { name: "wrong" },
      spec: { selector: { matchLabels: { a: "b" } }, template: { metadata: { labels: { a: "b" } }, spec: { containers: [{ name: "c", image: "i" }] } } },
    });
    const contentType = type === "strategic" ? "application/strategic-merge-patch+json" : `application/${type === "json" ? "json-patch" : "merge-patch"}+json`;
    const { status, body: answer } = await api.http("PATCH", `${deployments}/wrong`, body as object, { "content-type": contentType });
    const [, shown, reason] = /^ "" is invalid: patch: Invalid value: ("(?:[^"\\]|\\.)*"): (.*)$/s.exec(answer.message) ?? [];
    expect([status, answer.reason, JSON.parse(shown ?? '""'), reason]).toEqual([422, "Invalid", expect.stringMatching(value), why]);
    expect(answer.details).toEqual({ causes: [{ reason: "FieldValueInvalid", field: "patch", message: answer.message.slice(' "" is invalid: patch: '.length) }] });
  });

  test("refuses values of a wrong type", async () => {
    const { status, body } = await api.http("POST", CM, { metadata: { name: "t" }, data: { a: 1 } });
    expect([status, body.reason]).toEqual([400, "BadRequest"]);
  });
});
