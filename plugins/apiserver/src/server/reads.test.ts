import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { requestInMemory } from "../client/memory.ts";
import { adminUser, startTestServer, type TestServer } from "./testing.ts";

let api: TestServer;
const CM = "/api/v1/namespaces/lists/configmaps";
const labels = (i: number): Record<string, string> => ({ parity: i % 2 ? "odd" : "even", n: String(i) });
const names = (body: any): string[] => body.items.map((item: any) => item.metadata.name);

beforeAll(async () => {
  api = await startTestServer({ now: () => new Date(Date.now() - 65_000) });
  await api.http("POST", "/api/v1/namespaces", { metadata: { name: "lists" } });
  for (let i = 0; i < 10; i++) await api.http("POST", CM, { metadata: { name: `c${i}`, labels: labels(i) }, data: { i: String(i) } });
});
afterAll(() => api.close());

describe("a list", () => {
  test("has every object of the namespace in order, and the store's revision", async () => {
    const { status, body } = await api.http("GET", CM);
    expect(status).toBe(200);
    expect(body).toMatchObject({ kind: "ConfigMapList", apiVersion: "v1" });
    expect(names(body)).toEqual(Array.from({ length: 10 }, (_, i) => `c${i}`));
    expect(body.metadata).toEqual({ resourceVersion: String(api.engine.store.revision) });
  });

  test("that is large goes out in pieces and is the same", async () => {
    const path = "/api/v1/namespaces/large/configmaps";
    await api.http("POST", "/api/v1/namespaces", { metadata: { name: "large" } });
    for (let i = 0; i < 120; i++) await api.http("POST", path, { metadata: { name: `c${1000 + i}` }, data: { text: "\u00e4".repeat(10_000) } });
    const answer = await requestInMemory(api.handler, adminUser, "GET", path);
    expect(answer.headers["content-length"]).toBe(Buffer.byteLength(answer.text));
    expect(names(JSON.parse(answer.text))).toEqual(Array.from({ length: 120 }, (_, i) => `c${1000 + i}`));
    await api.http("DELETE", path);
  });

  test("of nothing has an empty list of items", async () => {
    expect((await api.http("GET", "/api/v1/namespaces/nowhere/configmaps")).body.items).toEqual([]);
  });

  test("over all namespaces is sorted by namespace and name", async () => {
    const { body } = await api.http("GET", "/api/v1/configmaps");
    const keys = body.items.map((item: any) => `${item.metadata.namespace}/${item.metadata.name}`);
    expect(keys).toEqual([...keys].sort());
    expect(keys.length).toBeGreaterThan(10);
  });

  const selections: readonly [string, string[]][] = [
    ["labelSelector=parity%3Deven", ["c0", "c2", "c4", "c6", "c8"]],
    ["labelSelector=n+in+(1,2),parity!%3Dodd", ["c2"]],
    ["labelSelector=!n", []],
    ["labelSelector=n%3E7", ["c8", "c9"]],
    ["fieldSelector=metadata.name%3Dc3", ["c3"]],
    ["fieldSelector=metadata.name!%3Dc3,metadata.namespace%3Dlists&limit=2", ["c0", "c1"]],
    ["fieldSelector=metadata.name%3Dc3&labelSelector=parity%3Deven", []],
  ];
  test.each(selections)("with %s", async (query, expected) => {
    expect(names((await api.http("GET", `${CM}?${query}`)).body)).toEqual(expected);
  });

  const refusals: readonly [string, number, string][] = [
    ["labelSelector=a+in+b", 400, "unable to parse requirement: found 'b' expected: '('"],
    ["fieldSelector=spec.x%3Dy", 400, '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'],
    ["limit=x", 400, "invalid syntax"],
    ["resourceVersion=x", 422, "resourceVersion"],
    ["resourceVersionMatch=Exact", 422, "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"],
    ["resourceVersion=5&resourceVersionMatch=Near", 422, "Unsupported value"],
    ["resourceVersion=0&resourceVersionMatch=Exact", 422, "is forbidden for resourceVersion"],
    ["continue=xyz", 400, "continue key is not valid"],
    ["resourceVersion=999999999", 504, "Too large resource version: 999999999"],
  ];
  test.each(refusals)("refuses %s", async (query, code, message) => {
    const { status, body } = await api.http("GET", `${CM}?${query}`);
    expect(status).toBe(code);
    expect(body.message).toContain(message);
  });
});

describe("pages", () => {
  test("are one consistent snapshot, whatever is written between them", async () => {
    const first = await api.http("GET", `${CM}?limit=4`);
    expect(names(first.body)).toEqual(["c0", "c1", "c2", "c3"]);
    expect(first.body.metadata.remainingItemCount).toBe(6);
    await api.http("DELETE", `${CM}/c5`);
    await api.http("POST", CM, { metadata: { name: "c45" } });
    await api.http("PATCH", `${CM}/c6`, { data: { i: "changed" } }, { "content-type": "application/merge-patch+json" });
    const second = await api.http("GET", `${CM}?limit=4&continue=${first.body.metadata.continue}`);
    expect(names(second.body)).toEqual(["c4", "c5", "c6", "c7"]);
    expect(second.body.items[2].data.i).toBe("6");
    expect(second.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
    const third = await api.http("GET", `${CM}?limit=4&continue=${second.body.metadata.continue}`);
    expect(names(third.body)).toEqual(["c8", "c9"]);
    expect(third.body.metadata.continue).toBeUndefined();
  });

  test("with a selector do not count what remains", async () => {
    const { body } = await api.http("GET", `${CM}?limit=1&labelSelector=parity%3Deven`);
    expect(body.metadata.continue).toBeTruthy();
    expect(body.metadata.remainingItemCount).toBeUndefined();
  });

  test("of a compacted snapshot are refused with 410 and a token for the rest", async () => {
    const first = await api.http("GET", `${CM}?limit=3`);
    await api.http("POST", CM, { metadata: { name: "zz" } });
    await api.engine.store.compact(api.engine.store.revision);
    const expired = await api.http("GET", `${CM}?limit=3&continue=${first.body.metadata.continue}`);
    expect([expired.status, expired.body.reason]).toEqual([410, "Expired"]);
    const rest = await api.http("GET", `${CM}?continue=${expired.body.metadata.continue}`);
    expect(rest.status).toBe(200);
    expect(names(rest.body)).toContain("zz");
    expect(names(rest.body)).not.toContain("c0");
  });

  test("at an exact revision show the state of then", async () => {
    const { body: before } = await api.http("GET", CM);
    await api.http("POST", CM, { metadata: { name: "later" } });
    const at = before.metadata.resourceVersion;
    const exact = await api.http("GET", `${CM}?resourceVersion=${at}&resourceVersionMatch=Exact`);
    expect(names(exact.body)).toEqual(names(before));
    const newer = await api.http("GET", `${CM}?resourceVersion=${at}&resourceVersionMatch=NotOlderThan`);
    expect(names(newer.body)).toContain("later");
    const tooOld = await api.http("GET", `${CM}?resourceVersion=2&resourceVersionMatch=Exact`);
    expect(tooOld.status).toBe(410);
  });
});

describe("forms of an answer", () => {
  const table = (query = ""): Promise<any> => api.http("GET", `${CM}${query}`, undefined, { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" });

  test("a table has columns, cells and each row's metadata", async () => {
    const { body } = await table("?limit=1");
    expect(body).toMatchObject({ kind: "Table", apiVersion: "meta.k8s.io/v1" });
    expect(body.columnDefinitions.map((c: any) => c.name)).toEqual(["Name", "Data", "Age"]);
    expect(body.columnDefinitions[0]).toMatchObject({ type: "string", format: "name" });
    expect(body.rows[0].cells).toEqual(["c0", 1, expect.stringMatching(/^[67]\ds$/)]);
    expect(body.rows[0].object).toMatchObject({ kind: "PartialObjectMetadata", metadata: { name: "c0" } });
    expect(body.metadata.continue).toBeTruthy();
  });

  test("includeObject leaves the object out or gives all of it", async () => {
    expect((await table("?limit=1&includeObject=None")).body.rows[0].object).toBeUndefined();
    expect((await table("?limit=1&includeObject=Object")).body.rows[0].object.data).toEqual({ i: "0" });
    expect((await table("?includeObject=Some")).status).toBe(400);
  });

  test("PartialObjectMetadata has the metadata alone", async () => {
    const accept = (kind: string): Record<string, string> => ({ accept: `application/json;as=${kind};v=v1;g=meta.k8s.io` });
    const list = await api.http("GET", CM, undefined, accept("PartialObjectMetadataList"));
    expect(list.body.kind).toBe("PartialObjectMetadataList");
    expect(Object.keys(list.body.items[0]).sort()).toEqual(["apiVersion", "kind", "metadata"]);
    const one = await api.http("GET", `${CM}/c0`, undefined, accept("PartialObjectMetadata"));
    expect(one.body).toMatchObject({ kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: { name: "c0" } });
  });

  test("people get indented JSON", async () => {
    const plain = await api.http("GET", `${CM}/c0`);
    const pretty = await api.http("GET", `${CM}/c0?pretty=true`);
    const curl = await api.http("GET", `${CM}/c0`, undefined, { "user-agent": "curl/8" });
    expect(plain.text).not.toContain("\n");
    expect(pretty.text).toContain('\n  "kind": "ConfigMap"');
    expect(curl.text).toBe(pretty.text);
    expect((await api.http("GET", `${CM}/c0?pretty=false`, undefined, { "user-agent": "curl/8" })).text).toBe(plain.text);
  });

  test("large answers are compressed for those who can read that", async () => {
    await api.http("POST", CM, { metadata: { name: "large" }, data: { a: "x".repeat(200_000) } });
    const answer = await requestInMemory(api.handler, adminUser, "GET", `${CM}/large`, undefined, { "accept-encoding": "gzip" });
    expect(answer.headers["content-encoding"]).toBe("gzip");
    expect(Number(answer.headers["content-length"])).toBeLessThan(5000);
    const plain = await requestInMemory(api.handler, adminUser, "GET", `${CM}/large`);
    expect(plain.headers["content-encoding"]).toBeUndefined();
  });

  test("objects kept in another version are shown in the asked one", async () => {
    const event = {
      metadata: { name: "e" }, regarding: { kind: "Pod", name: "p", namespace: "lists" }, reason: "R", action: "A", type: "Normal", note: "hello",
      eventTime: "2026-05-01T10:00:00.000000Z", reportingController: "c", reportingInstance: "i",
    };
    const made = await api.http("POST", "/apis/events.k8s.io/v1/namespaces/lists/events", event);
    expect([made.status, made.body.message]).toEqual([201, undefined]);
    expect(made.body).toMatchObject({ apiVersion: "events.k8s.io/v1", kind: "Event", note: "hello" });
    const core = await api.http("GET", "/api/v1/namespaces/lists/events/e");
    expect(core.body).toMatchObject({ apiVersion: "v1", kind: "Event", message: "hello", involvedObject: { name: "p" } });
    expect(core.body.metadata.resourceVersion).toBe(made.body.metadata.resourceVersion);
  });
});

describe("what is not a resource", () => {
  test("health has named checks", async () => {
    expect((await api.http("GET", "/readyz")).text).toBe("ok");
    const verbose = await api.http("GET", "/livez?verbose&exclude=etcd");
    expect(verbose.text).toContain("[+]ping ok\n[+]etcd excluded: ok");
    expect(verbose.text).toContain("livez check passed");
    expect((await api.http("GET", "/readyz/ping")).status).toBe(200);
    expect((await api.http("GET", "/readyz/unknown")).status).toBe(404);
  });

  test("a failing check of a plugin fails readiness and names itself, but not liveness", async () => {
    const server = await startTestServer({ checks: () => [{ name: "plugin-x", check: async () => ({ ok: false, message: "no disk" }) }] });
    const answer = await server.http("GET", "/readyz");
    expect([answer.status, answer.text]).toEqual([500, expect.stringContaining("[-]plugin-x failed: no disk\n")]);
    expect((await server.http("GET", "/livez")).status).toBe(200);
    await server.close();
  });

  test("is not ready before the first objects are there", async () => {
    const server = await startTestServer({ bootstrap: false });
    expect((await server.http("GET", "/readyz")).status).toBe(500);
    await server.bootstrap();
    expect((await server.http("GET", "/readyz")).status).toBe(200);
    await server.close();
  });

  test("the version is Kubernetes 1.36's", async () => {
    expect((await api.http("GET", "/version")).body).toMatchObject({ major: "1", minor: "36", gitVersion: "v1.36.0+k3sp1" });
  });

  test("the root lists the paths", async () => {
    expect((await api.http("GET", "/")).body.paths).toEqual(expect.arrayContaining(["/api/v1", "/apis/apps/v1", "/readyz"]));
    expect((await api.http("POST", "/version")).status).toBe(405);
  });

  test("pages of /debug are for admins, until somebody grants them", async () => {
    await using server = await startTestServer({ pages: () => [{ name: "queue", read: () => ({ waiting: 3 }) }] });
    expect((await server.http("GET", "/debug/queue")).body).toEqual({ waiting: 3 });
    expect((await server.http("GET", "/debug/other")).status).toBe(404);
    expect((await server.http("GET", "/debug/api_priority_and_fairness/dump_priority_levels")).text).toMatch(/^PriorityLevelName, +ActiveQueues, .*\ncatch-all, +0, +true, +false, /);
    expect((await server.http("GET", "/debug/api_priority_and_fairness/dump_x")).status).toBe(404);
    const joe = { name: "joe", groups: ["system:authenticated"] };
    expect((await server.http("GET", "/debug/api_priority_and_fairness/dump_queues", undefined, {}, joe)).status).toBe(403);
    const asJoe = () => server.http("GET", "/debug/queue", undefined, {}, joe);
    expect(await asJoe()).toMatchObject({ status: 403, body: { message: 'forbidden: User "joe" cannot get path "/debug/queue"' } });
    const name = "debug";
    await server.http("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", { metadata: { name }, rules: [{ nonResourceURLs: ["/debug/*"], verbs: ["get"] }] });
    await server.http("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
      metadata: { name }, roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name }, subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "joe" }],
    });
    expect((await asJoe()).body).toEqual({ waiting: 3 });
  });

  test("metrics count requests", async () => {
    const { text } = await api.http("GET", "/metrics");
    expect(text).toMatch(/apiserver_request_total\{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1"\} \d+/);
    expect(text).toContain("apiserver_request_duration_seconds_bucket");
  });
});
