/** What upstream's routers make of methods and paths, and of the parameters that all answers know. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./testing.ts";

const GROUP = "example.com";
let api: TestServer;
beforeAll(async () => {
  api = await startTestServer({ checks: () => [{ name: "odd", check: async () => ({ ok: oddIsWell, message: "it is odd" }) }] });
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  await api.http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
    metadata: { name: `things.${GROUP}` },
    spec: { group: GROUP, scope: "Namespaced", names: { plural: "things", kind: "Thing" }, versions: [{ name: "v1", served: true, storage: true, schema }] },
  });
  for (let i = 0; i < 200 && (await api.http("POST", `/apis/${GROUP}/v1/namespaces/default/things`, { apiVersion: `${GROUP}/v1`, kind: "Thing", metadata: { name: "t" } })).status !== 201; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});
afterAll(() => api.close());
let oddIsWell = true;

const STATUS = "Status";
const PLAIN = "404 page not found\n";
const cases: readonly [string, number, string?][] = [
  // The router of the API knows methods.
  ["GET /api/v1/namespaces/default", 200], ["GET /api/v1/namespaces/default/", 200], ["HEAD /api/v1/namespaces/default", 405], ["OPTIONS /api/v1/namespaces/default", 405],
  ["POST /api/v1/namespaces/default", 405, STATUS], ["PUT /api/v1/namespaces", 405, STATUS], ["PATCH /api/v1/pods", 405, STATUS], ["DELETE /api/v1/pods", 405, STATUS], ["TRACE /api/v1/pods", 405, STATUS],
  ["POST /version", 405, STATUS], ["HEAD /version", 405], ["POST /apis", 405, STATUS], ["HEAD /api", 405], ["DELETE /apis/apps/v1", 405, STATUS], ["POST /.well-known/openid-configuration", 405, STATUS],
  // What lies beside it does not.
  ["HEAD /healthz", 200], ["POST /livez", 200], ["OPTIONS /metrics", 200], ["GET /index.html", 200], ["HEAD /openapi/v2", 200],
  // Custom resources go by verb.
  [`GET /apis/${GROUP}/v1/namespaces/default/things/t`, 200], [`HEAD /apis/${GROUP}/v1/namespaces/default/things/t`, 200], [`OPTIONS /apis/${GROUP}/v1/namespaces/default/things/t`, 405, STATUS],
  // Paths that are not there.
  ["GET /foo", 404, PLAIN], ["GET /apis/nope.example.com", 404, PLAIN], ["GET /apis/nope.example.com/v1/x", 404, PLAIN], ["GET //api/v1/namespaces/default", 404, PLAIN], ["GET /livez/nope", 404, PLAIN],
  ["GET /api/v1/nothing", 404, STATUS], ["GET /api/v9/pods", 404, STATUS], ["GET /apis/apps/v9/deployments", 404, STATUS], ["GET /api/v1//pods", 404, STATUS], ["GET /api/v1/namespaces/default/pods/a/nothing", 404, STATUS],
  // Parts of a path may be encoded; a name never holds a slash.
  ["GET /api/v1/namespaces/%64efault", 200], ["GET /api/v1/namespaces/default%2Fpods", 404, STATUS], ["GET /api/v1/namespaces/%zz", 404, STATUS], ["GET /api/v1/namespaces/default/pods/..", 404, STATUS],
];

describe("methods and paths", () => {
  test.each(cases)("%s is %i", async (line, status, body) => {
    const [method = "", path = ""] = line.split(" ");
    const answer = await api.http(method, path);
    expect(answer.status, answer.text.slice(0, 300)).toBe(status);
    if (body === PLAIN) expect(answer.text).toBe(PLAIN);
    if (body === STATUS) expect(answer.body).toMatchObject({ kind: "Status", status: "Failure", code: status, reason: status === 405 ? "MethodNotAllowed" : "NotFound" });
  });
});

describe("health", () => {
  const get = async (path: string) => { const { status, text } = await api.http("GET", path); return [status, text]; };
  test("tells its checks when asked, and leaves out what is excluded", async () => {
    expect(await get("/livez?verbose&exclude=etcd")).toEqual([200, "[+]ping ok\n[+]etcd excluded: ok\n[+]poststarthook/bootstrap ok\nlivez check passed\n"]);
    expect(await get("/readyz?verbose&exclude=nope&exclude=etcd")).toEqual([200,
      '[+]ping ok\n[+]etcd excluded: ok\n[+]poststarthook/bootstrap ok\n[+]odd ok\n[+]shutdown ok\nwarn: some health checks cannot be excluded: no matches for "nope"\nreadyz check passed\n']);
  });
  test("answers for one check by its path", async () => {
    expect(await get("/readyz/poststarthook/bootstrap")).toEqual([200, "ok"]);
    oddIsWell = false;
    expect(await get("/readyz/odd")).toEqual([500, "internal server error: it is odd\n"]);
    expect(await get("/readyz")).toEqual([500, expect.stringContaining("[-]odd failed: it is odd\n")]);
    expect((await get("/readyz?exclude=odd"))[0]).toBe(200);
    expect(await get("/livez")).toEqual([200, "ok"]);
    oddIsWell = true;
  });
});

describe("answers", () => {
  const get = (url: string, headers: Record<string, string> = {}) => api.http("GET", url, undefined, headers);
  test("are indented for ?pretty and for people with simple tools", async () => {
    const url = "/api/v1/namespaces/default";
    expect((await get(url)).text).not.toContain("\n");
    for (const [path, headers] of [[`${url}?pretty=true`, {}], [`${url}?pretty=1`, {}], [url, { "user-agent": "curl/8.0" }], [url, { "user-agent": "Mozilla/5.0 x" }]] as const) {
      expect((await get(path, headers)).text, path).toMatch(/^\{\n  "/);
    }
    for (const value of ["false", "0", "yes"]) expect((await get(`${url}?pretty=${value}`, { "user-agent": "curl/8.0" })).text, value).not.toContain("\n");
  });
  test("are compressed from 128 KiB on, for those who can read that", async () => {
    for (const [name, size] of [["small", 100_000], ["large", 140_000]] as const) await api.http("POST", "/api/v1/namespaces/default/configmaps", { metadata: { name }, data: { a: "x".repeat(size) } });
    const encoding = async (name: string, accept?: string) => (await get(`/api/v1/namespaces/default/configmaps/${name}`, accept ? { "accept-encoding": accept } : {})).headers["content-encoding"];
    expect([await encoding("small", "gzip"), await encoding("large", "gzip, deflate"), await encoding("large", "br"), await encoding("large")]).toEqual([undefined, "gzip", undefined, undefined]);
  });
});

test("metrics have upstream's names", async () => {
  await api.http("GET", "/api/v1/namespaces/default/configmaps");
  const { text } = await api.http("GET", "/metrics");
  for (const name of ["apiserver_request_total", "apiserver_request_duration_seconds_bucket", "apiserver_storage_objects", "apiserver_current_inflight_requests", "apiserver_longrunning_requests",
    "apiserver_flowcontrol_dispatched_requests_total", "apiserver_flowcontrol_nominal_limit_seats", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"]) {
    expect(text, name).toMatch(new RegExp(`^# (TYPE|HELP) ${name.replace(/_bucket$/, "")} `, "m"));
  }
  expect(text).toMatch(/^apiserver_request_total\{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1"\} \d+$/m);
  expect(text).toMatch(/^apiserver_request_duration_seconds_bucket\{component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1",le="0.05"\} \d+$/m);
});
