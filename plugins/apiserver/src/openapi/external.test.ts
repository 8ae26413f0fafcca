import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { startTestServer } from "../server/testing.ts";
import { type ExternalDocument, mergeV2, readExternal, sameDocument } from "./external.ts";
import { openapiRoutes } from "./index.ts";

const ref = (name: string): object => ({ $ref: `#/definitions/${name}` });
const v2 = {
  swagger: "2.0",
  paths: {
    "/apis/wardle.example.com/v1/flunders": { get: { responses: { 200: { schema: ref("FlunderList") } } } },
    "/apis/wardle.example.com/v1beta1/flunders": { get: {} },
    "/apis/other.example.com/v1/things": { get: { responses: { 200: { schema: ref("Thing") } } } },
  },
  definitions: {
    FlunderList: { type: "object", properties: { items: { type: "array", items: ref("Flunder") }, metadata: ref("Meta") } },
    Flunder: { type: "object", properties: { metadata: ref("Meta") }, "x-kubernetes-group-version-kind": [{ group: "wardle.example.com", version: "v1", kind: "Flunder" }] },
    Meta: { type: "object", description: "theirs" }, Thing: { type: "object" },
  },
};
const v3 = { openapi: "3.0.0", paths: { "/apis/wardle.example.com/v1/flunders": {} }, components: { schemas: { Flunder: { type: "object" } } } };

const read = (documents: Readonly<Record<string, unknown>>): Promise<ExternalDocument> =>
  readExternal(async (path) => documents[path], "wardle.example.com", "v1");
const all = { "/openapi/v2": v2, "/openapi/v3/apis/wardle.example.com/v1": v3 };

describe("documents of other servers", () => {
  test("are taken for their group and version, with the definitions that it needs", async () => {
    const merged = mergeV2({ swagger: "2.0", paths: { "/version": {} }, definitions: {} }, [await read(all)]) as typeof v2;
    expect(Object.keys(merged.paths)).toEqual(["/apis/wardle.example.com/v1/flunders", "/version"]);
    expect(Object.keys(merged.definitions)).toEqual(["Flunder", "FlunderList", "Meta"]);
  });

  test("keep their definitions apart from others of the same name", async () => {
    const own = { paths: {}, definitions: { Meta: { type: "object", description: "ours" }, Flunder: { ...v2.definitions.Flunder, properties: {} } } };
    const { definitions, paths } = mergeV2(own, [await read(all)]) as { definitions: Record<string, object>; paths: typeof v2.paths };
    expect(definitions["Meta"]).toEqual(own.definitions.Meta);
    expect(definitions["Meta_v2"]).toEqual(v2.definitions.Meta);
    expect(definitions["Flunder_v2"]).toMatchObject({ properties: { metadata: ref("Meta_v2") } });
    expect(definitions["FlunderList"]).toMatchObject({ properties: { items: { items: ref("Flunder_v2") } } });
    expect(paths["/apis/wardle.example.com/v1/flunders"].get.responses[200].schema).toEqual(ref("FlunderList"));
  });

  test("share a definition that is the same but for the kinds it stands for", async () => {
    const own = { paths: {}, definitions: { Meta: v2.definitions.Meta, Flunder: { ...v2.definitions.Flunder, "x-kubernetes-group-version-kind": [] } } };
    const { definitions } = mergeV2(own, [await read(all)]) as { definitions: object };
    expect(Object.keys(definitions)).toEqual(["Meta", "Flunder", "FlunderList"]);
  });

  test("are converted when there is none of v3", async () => {
    const body = { name: "body", in: "body", required: true, schema: ref("Flunder") };
    const pretty = { name: "pretty", in: "query", type: "string", uniqueItems: true, description: "Pretty." };
    const post = { operationId: "create", consumes: ["application/json"], produces: ["application/json"], schemes: ["https"], parameters: [body, { $ref: "#/parameters/pretty-1" }], responses: { 201: { description: "Created", schema: ref("Flunder") }, 401: { description: "Unauthorized" } } };
    const old = { ...v2, info: { title: "wardle", version: "1" }, parameters: { "pretty-1": pretty }, paths: { ...v2.paths, "/apis/wardle.example.com/v1/flunders": { parameters: [{ name: "namespace", in: "path", required: true, type: "string" }], post } } };
    const found = await read({ "/openapi/v2": old });
    const { description, name, in: place, ...schema } = pretty;
    const content = { "application/json": { schema: { $ref: "#/components/schemas/Flunder" } } };
    expect(JSON.parse(gunzipSync(found.v3!.zipped).toString())).toEqual({
      openapi: "3.0.0", info: old.info,
      paths: { "/apis/wardle.example.com/v1/flunders": {
        parameters: [{ name: "namespace", in: "path", required: true, schema: { type: "string" } }],
        post: { operationId: "create", parameters: [{ name, in: place, description, schema }], requestBody: { content, required: true }, responses: { 201: { description: "Created", content }, 401: { description: "Unauthorized" } } },
      } },
      components: { schemas: { Flunder: { ...v2.definitions.Flunder, properties: { metadata: { $ref: "#/components/schemas/Meta" } } }, Meta: v2.definitions.Meta } },
    });
    const merged = mergeV2({ paths: {}, definitions: {} }, [found]) as typeof old;
    expect(merged.paths["/apis/wardle.example.com/v1/flunders"].post.parameters).toEqual([body, pretty]);
  });

  test("may be missing, or no documents at all", async () => {
    const none = await read({ "/openapi/v2": [1], "/openapi/v3/apis/wardle.example.com/v1": "x" });
    expect([none.v2, none.v3]).toEqual([undefined, undefined]);
    const own = { paths: {}, definitions: {} };
    expect(mergeV2(own, [none])).toBe(own);
    for (const item of [null, { get: null }, { get: { parameters: 3 } }, { get: { parameters: [null] } }]) {
      expect(await read({ "/openapi/v2": { paths: { "/apis/wardle.example.com/v1/x": item } } })).toEqual(none);
    }
    expect((await read({ "/openapi/v2": { paths: { "/apis/wardle.example.com/v1/x": { get: { responses: { 200: null } } } } } })).v3).toBeUndefined();
    expect([sameDocument(none, none), sameDocument(none, await read(all)), sameDocument(await read(all), await read(all))]).toEqual([true, false, true]);
  });
});

test("the server tells them as its own", async () => {
  await using api = await startTestServer({ bootstrap: false });
  let documents: readonly ExternalDocument[] = [];
  let revision = 0;
  const route = openapiRoutes(api.registry, { external: { revision: () => revision, list: () => documents } });
  const json = (url: string): any => {
    const answer = route(url, {});
    return answer?.status === 200 ? JSON.parse(answer.body.toString()) : answer?.status;
  };
  expect(json("/openapi/v3").paths["apis/wardle.example.com/v1"]).toBeUndefined();
  [documents, revision] = [[await read(all)], 1];
  const { serverRelativeURL } = json("/openapi/v3").paths["apis/wardle.example.com/v1"];
  expect(json(serverRelativeURL)).toEqual(v3);
  expect(json("/openapi/v3/apis/wardle.example.com/v1?hash=OLD")).toBe(301);
  expect(json("/openapi/v2").definitions.Flunder).toBeDefined();
  [documents, revision] = [[], 2];
  expect(json("/openapi/v3/apis/wardle.example.com/v1")).toBeUndefined();
  expect(json("/openapi/v2").definitions.Flunder).toBeUndefined();
});
