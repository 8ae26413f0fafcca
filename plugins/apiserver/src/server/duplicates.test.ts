import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requestInMemory } from "../client/memory.ts";
import { countKeys, measureJson } from "./duplicates.ts";
import { adminUser, startTestServer, type TestServer } from "./testing.ts";

let api: TestServer;
beforeAll(async () => { api = await startTestServer(); });
afterAll(() => api.close());

/** A Deployment with unknown fields and with keys that are there twice, at the top and in a list. */
const deployment = (name: string): string => `{
  "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "${name}", "labels": { "app": "a", "app": "b" } },
  "spec": {
    "unknown1": "x", "unknownDupe": "x", "unknownDupe": "y", "paused": true, "paused": false, "replicas": 1,
    "selector": { "matchLabels": { "app": "b" } },
    "template": {
      "metadata": { "labels": { "app": "b" } },
      "spec": { "containers": [{ "name": "c", "image": "i", "unknownNested": "x", "imagePullPolicy": "Always", "imagePullPolicy": "Never" }] }
    }
  }
}`;
const findings = [
  'duplicate field "metadata.labels.app"', 'unknown field "spec.unknown1"', 'unknown field "spec.unknownDupe"', 'duplicate field "spec.paused"',
  'unknown field "spec.template.spec.containers[0].unknownNested"', 'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
];

const yaml = `apiVersion: v1
kind: ConfigMap
metadata:
  name: NAME
data:
  a: "1"
  a: "2"
extra: true
data:
  b: "3"
`;

/** Sends text as it is. */
async function send(method: string, url: string, text: string, contentType: string) {
  const answer = await requestInMemory({ ...api.handler, handle: (incoming, res) => api.handler.handle({ ...incoming, stream: Readable.from([Buffer.from(text)]) }, res) }, adminUser, method, url, undefined, { "content-type": contentType });
  const warnings = ((answer.headers["warning"] as string[] | undefined) ?? []).map((line) => JSON.parse(line.slice("299 - ".length)) as string);
  return { status: answer.status, body: JSON.parse(answer.text), warnings };
}
const DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments";
const CONFIGMAPS = "/api/v1/namespaces/default/configmaps";

describe("keys that a JSON body has twice", () => {
  test("are an error under Strict, among unknown fields, in the order of the text", async () => {
    const { status, body } = await send("POST", `${DEPLOYMENTS}?fieldValidation=Strict`, deployment("strict"), "application/json");
    expect([status, body.message]).toEqual([400, `Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: ${findings.join(", ")}`]);
  });
  test.each([["by default", ""], ["under Warn", "?fieldValidation=Warn"]])("are warned of %s, and the last counts", async (_, query) => {
    const { status, body, warnings } = await send("POST", DEPLOYMENTS + query, deployment(`warn${query.length}`), "application/json");
    expect([status, warnings]).toEqual([201, findings]);
    expect([body.metadata.labels, body.spec.template.spec.containers[0].imagePullPolicy]).toEqual([{ app: "b" }, "Never"]);
  });
  test("pass under Ignore", async () => {
    const { status, warnings } = await send("POST", `${DEPLOYMENTS}?fieldValidation=Ignore`, deployment("ignore"), "application/json");
    expect([status, warnings]).toEqual([201, []]);
  });
  test.each([["merge-patch+json"], ["strategic-merge-patch+json"]])("are found in a %s", async (type) => {
    await api.http("POST", CONFIGMAPS, { metadata: { name: type.replace("+", "-") } });
    const url = `${CONFIGMAPS}/${type.replace("+", "-")}`;
    const patch = '{"data":{"a":"1","a":"2"}}';
    expect((await send("PATCH", `${url}?fieldValidation=Strict`, patch, `application/${type}`)).body.message).toContain('strict decoding error: duplicate field "data.a"');
    expect((await send("PATCH", url, patch, `application/${type}`)).warnings).toEqual(['duplicate field "data.a"']);
  });
});

describe("keys that a custom object has twice", () => {
  const things = "/apis/example.com/v1/namespaces/default/things";
  const thing = '{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"t"},"spec":{"a":"1","odd":1,"odd":2,"list":[{"b":1},{"b":2,"b":3}],"a":"2"}}';
  test("come before its unknown fields, which are among them", async () => {
    const spec = { type: "object", properties: { a: { type: "string" }, list: { type: "array", items: { type: "object", properties: { b: { type: "integer" } } } } } };
    await api.http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
      metadata: { name: "things.example.com" },
      spec: { group: "example.com", scope: "Namespaced", names: { plural: "things", kind: "Thing" }, versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object", properties: { spec } } } }] },
    });
    for (let i = 0; i < 200 && (await api.http("GET", things)).status !== 200; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    const all = ['duplicate field "spec.odd"', 'duplicate field "spec.list[1].b"', 'duplicate field "spec.a"', 'unknown field "spec.odd"'];
    expect((await send("POST", `${things}?fieldValidation=Strict`, thing, "application/json")).body.message).toContain(`strict decoding error: ${all.join(", ")}`);
    const { status, body, warnings } = await send("POST", things, thing, "application/json");
    expect([status, warnings, body.spec]).toEqual([201, all, { a: "2", list: [{ b: 1 }, { b: 3 }] }]);
  });
});

describe("keys that a YAML body has twice", () => {
  test("are told by line", async () => {
    const strict = await send("POST", `${CONFIGMAPS}?fieldValidation=Strict`, yaml.replace("NAME", "strict"), "application/yaml");
    expect([strict.status, strict.body.message]).toEqual([400,
      'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  line 7: key "a" already set in map\n  line 9: key "data" already set in map, unknown field "extra"']);
    const warned = await send("POST", CONFIGMAPS, yaml.replace("NAME", "warned"), "application/yaml");
    expect([warned.status, warned.body.data, warned.warnings]).toEqual([201, { b: "3" },
      ['line 7: key "a" already set in map', 'line 9: key "data" already set in map', 'unknown field "extra"']]);
    expect(await send("POST", `${CONFIGMAPS}?fieldValidation=Ignore`, yaml.replace("NAME", "ignored"), "application/yaml")).toMatchObject({ status: 201, warnings: [] });
  });
  test("are found in what is applied", async () => {
    const url = `${CONFIGMAPS}/applied?fieldManager=test`;
    expect((await send("PATCH", `${url}&fieldValidation=Strict`, yaml.replace("NAME", "applied").replace("extra: true\n", ""), "application/apply-patch+yaml")).body.message)
      .toBe('error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key "a" already set in map\n  line 8: key "data" already set in map');
    const json = '{"apiVersion":"v1","kind":"ConfigMap",\n"data":{"a":"1",\n"a":"2"}}';
    expect(await send("PATCH", `${url}&fieldValidation=Strict`, json, "application/apply-patch+yaml"))
      .toMatchObject({ status: 400, body: { message: 'error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 3: key "a" already set in map' } });
    expect((await send("PATCH", `${url}&dryRun=All`, json, "application/apply-patch+yaml")).warnings).toEqual(['line 3: key "a" already set in map']);
    expect((await send("PATCH", url, yaml.replace("NAME", "applied").replace("extra: true\n", ""), "application/apply-patch+yaml")).status).toBe(201);
  });
});

describe("depth", () => {
  const nested = (depth: number): string => `{"metadata":{"name":"deep"},"x":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  test.each([["application/json", "exceeded max depth"], ["application/yaml", "error converting YAML to JSON"]])("of %s is bounded", async (type, message) => {
    const { status, body } = await send("POST", CONFIGMAPS, nested(1500), type);
    expect([status, body.message]).toEqual([400, expect.stringContaining(message)]);
    expect((await send("POST", `${CONFIGMAPS}?dryRun=All`, nested(300), type)).status).toBe(201);
  });
  test("of millions is refused as quickly", async () => {
    expect((await send("POST", CONFIGMAPS, nested(1_500_000), "application/json")).body.message).toContain("exceeded max depth");
  });
});

test.each([
  ["{}", 0, 1], ['{"a":{"b":[1,{"c":":"}]},"d":"{\\"e\\":1}"}', 4, 4], ['[{"a":1},{"a":2}]', 2, 2], ['{"a\\\\":1,"b":"\\\\"}', 2, 1],
])("counts keys and depth of %s", (text, keys, depth) => {
  expect(measureJson(Buffer.from(text))).toEqual({ keys, depth });
  expect(countKeys(JSON.parse(text))).toBe(keys);
});
