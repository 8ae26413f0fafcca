import { defineResource } from "@k3s-p/plugin-api/kube";
import { describe, expect, it } from "vitest";
import { requestInMemory } from "../client/memory.ts";
import type { Obj } from "../resources/types.ts";
import { adminUser, startTestServer, type TestServer } from "../server/testing.ts";
import { caBundle, startTestWebhook, type TestWebhook } from "../webhook/testing.ts";

const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const ITEMS = "/apis/stable.example.com/v1/namespaces/default/hosts";
const V2 = ITEMS.replace("/v1/", "/v2/");
const merge = { "content-type": "application/merge-patch+json" };

/** v1 has `hostPort: "a:1"`, v2 has `host` and `port`. */
function convert(object: Obj, apiVersion: string): Obj {
  if (object.apiVersion === apiVersion) return object;
  const { hostPort, host, port, ...rest } = object;
  if (apiVersion.endsWith("/v1")) return { ...rest, apiVersion, hostPort: `${host}:${port}` } as Obj;
  const [name, number] = String(hostPort).split(":");
  return { ...rest, apiVersion, host: name, port: number } as Obj;
}

const success = ({ request }: { request: Obj }): object =>
  ({ result: { status: "Success" }, convertedObjects: request["objects"].map((object: Obj) => convert(object, request["desiredAPIVersion"])) });

const version = (name: string, storage: boolean, fields: readonly string[]): object => ({
  name, storage, served: true, subresources: { status: {} },
  schema: { openAPIV3Schema: { type: "object", properties: Object.fromEntries(fields.map((field) => [field, { type: "string" }])) } },
});

const hosts = (port: number): Obj => ({
  apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", metadata: { name: "hosts.stable.example.com" },
  spec: {
    group: "stable.example.com", scope: "Namespaced", names: { plural: "hosts", kind: "Host" },
    versions: [version("v1", true, ["hostPort"]), version("v2", false, ["host", "port"])],
    conversion: { strategy: "Webhook", webhook: { conversionReviewVersions: ["v1"], clientConfig: { url: `https://127.0.0.1:${port}/convert`, caBundle } } },
  },
});

const host = (name: string): Obj => ({ apiVersion: "stable.example.com/v1", kind: "Host", metadata: { name, labels: { n: name } }, hostPort: `${name}:1` });

async function withHosts(): Promise<{ api: TestServer; hook: TestWebhook } & AsyncDisposable> {
  const hook = await startTestWebhook(success);
  const api = await startTestServer();
  const { status, text } = await api.http("POST", CRDS, hosts(hook.port));
  expect(status, text).toBe(201);
  return {
    api, hook,
    async [Symbol.asyncDispose]() {
      await api.close();
      await hook[Symbol.asyncDispose]();
    },
  };
}

describe("a conversion webhook", () => {
  it("converts what is read and what is written, and no more", async () => {
    await using both = await withHosts();
    const { api, hook } = both;
    await api.http("POST", ITEMS, host("a"));
    expect(hook.seen).toHaveLength(0);
    const { body } = await api.http("GET", `${V2}/a`);
    expect(body).toMatchObject({ apiVersion: "stable.example.com/v2", host: "a", port: "1" });
    expect(hook.seen[0]!.request).toMatchObject({ desiredAPIVersion: "stable.example.com/v2", objects: [{ hostPort: "a:1" }] });
    await api.http("GET", `${V2}/a`);
    expect(hook.seen).toHaveLength(1);
    expect((await api.http("PUT", `${V2}/a`, { ...body, port: "2" })).body).toMatchObject({ host: "a", port: "2", metadata: { generation: 2 } });
    expect((await api.http("GET", `${ITEMS}/a`)).body).toMatchObject({ apiVersion: "stable.example.com/v1", hostPort: "a:2" });
    expect((await api.http("PATCH", `${V2}/a`, { port: "3" }, merge)).body.port).toBe("3");
    expect(api.engine.store.get("stable.example.com", "hosts", "a", "default")).toMatchObject({ apiVersion: "stable.example.com/v1", hostPort: "a:3" });
    const made = await api.http("POST", V2, { apiVersion: "stable.example.com/v2", kind: "Host", metadata: { name: "b" }, host: "b", port: "9" });
    expect([made.status, made.body.host]).toEqual([201, "b"]);
    expect((await api.http("GET", `${ITEMS}/b`)).body.hostPort).toBe("b:9");
    expect((await api.http("DELETE", `${V2}/b`)).status).toBe(200);
  });

  it("converts lists of objects that are kept in different versions at once", async () => {
    await using both = await withHosts();
    const { api, hook } = both;
    await api.http("POST", ITEMS, host("a"));
    await api.http("PATCH", `${CRDS}/hosts.stable.example.com`, [{ op: "replace", path: "/spec/versions/0/storage", value: false }, { op: "replace", path: "/spec/versions/1/storage", value: true }], { "content-type": "application/json-patch+json" });
    await api.http("POST", ITEMS, host("b"));
    hook.seen.length = 0;
    const items = async (path: string) => (await api.http("GET", path)).body.items;
    expect((await items(V2)).map((item: Obj) => item["host"])).toEqual(["a", "b"]);
    expect((await items(`${ITEMS}?labelSelector=n=a`)).map((item: Obj) => item["hostPort"])).toEqual(["a:1"]);
    expect((await items(`${V2}?limit=1`)).map((item: Obj) => item["host"])).toEqual(["a"]);
    expect(hook.seen.length).toBeLessThanOrEqual(3);
  });

  it("converts what is watched, in order", async () => {
    await using both = await withHosts();
    const { api } = both;
    await api.http("POST", ITEMS, host("a"));
    const watch = requestInMemory(api.handler, adminUser, "GET", `${V2}?watch=1&timeoutSeconds=1`);
    await api.http("POST", ITEMS, host("b"));
    await api.http("PATCH", `${ITEMS}/b`, { hostPort: "c:2" }, merge);
    await api.http("DELETE", `${ITEMS}/a`);
    const events = (await watch).text.trim().split("\n").map((line) => JSON.parse(line) as Obj);
    expect(events.map((event) => [event["type"], event["object"].host, event["object"].port])).toEqual([
      ["ADDED", "a", "1"], ["ADDED", "b", "1"], ["MODIFIED", "c", "2"], ["DELETED", "a", "1"],
    ]);
  });

  it("says why it could not", async () => {
    await using both = await withHosts();
    const { api, hook } = both;
    await api.http("POST", ITEMS, host("a"));
    const messages: string[] = [];
    for (const behave of [
      () => ({ result: { status: "Failure", message: "no idea" } }),
      () => ({ result: { status: "Success" }, convertedObjects: [] }),
      ({ request }: { request: Obj }) => ({ result: { status: "Success" }, convertedObjects: request["objects"] }),
    ]) {
      hook.behave = behave;
      const { status, body } = await api.http("GET", `${V2}/a`);
      expect(status).toBe(500);
      messages.push(body.message);
    }
    expect(messages).toEqual([
      "conversion webhook for stable.example.com/v1, Kind=Host failed: no idea",
      "conversion webhook for stable.example.com/v1, Kind=Host failed: expected 1 converted objects, got 0",
      'conversion webhook for stable.example.com/v1, Kind=Host failed: invalid converted object at index 0: invalid apiVersion "stable.example.com/v1"',
    ]);
    expect((await api.http("GET", `${ITEMS}/a`)).status).toBe(200);
  });

  it("is not asked when the definition goes, and not by informers", async () => {
    await using both = await withHosts();
    const { api, hook } = both;
    await api.http("POST", ITEMS, host("a"));
    hook.behave = () => ({ result: { status: "Failure" } });
    const informer = api.kube.informer(defineResource("stable.example.com", "v2", "hosts", "Host", "namespaced"));
    expect(informer.list().map((object) => object.apiVersion)).toEqual(["stable.example.com/v1"]);
    informer.stop();
    await api.http("DELETE", `${CRDS}/hosts.stable.example.com`);
    for (let i = 0; i < 100 && (await api.http("GET", `${CRDS}/hosts.stable.example.com`)).status !== 404; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await api.http("GET", ITEMS)).status).toBe(404);
    expect(hook.seen).toHaveLength(0);
  });
});
