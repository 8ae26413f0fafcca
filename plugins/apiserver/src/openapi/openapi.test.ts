import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { gunzipSync } from "node:zlib";
import { enums } from "../../build/enums.ts";
import { generate, writeGenerated } from "../../build/openapi.ts";
import { builtinResources } from "../resources/index.ts";
import { createRegistry } from "../server/registry.ts";
import type { ResourceDef } from "../resources/types.ts";
import { openapiRoutes } from "./index.ts";
import { definitionName } from "./names.ts";
import { encodeDocument } from "./protobuf.ts";

beforeAll(() => {
  const folder = fileURLToPath(new URL("../../generated", import.meta.url));
  if (!existsSync(folder)) writeGenerated(folder, generate());
});

const custom = {
  ...builtinResources.find((def) => def.plural === "configmaps")!, group: "stable.example.com", kind: "CronTab", plural: "crontabs",
  schema: { type: "object", properties: { spec: { type: "object", properties: { size: { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }] } } } } },
} as ResourceDef;
const registry = createRegistry([...builtinResources, custom]);
const route = openapiRoutes(registry);
const json = (url: string, headers = {}) => JSON.parse(route(url, headers)!.body.toString());

describe("/openapi/v2", () => {
  it("has upstream's definitions with the merge semantics", () => {
    const { definitions } = json("/openapi/v2");
    expect(definitions["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"]).toEqual([{ group: "", version: "v1", kind: "Pod" }]);
    expect(definitions["io.k8s.api.core.v1.PodSpec"].properties.containers).toMatchObject({
      type: "array", items: { $ref: "#/definitions/io.k8s.api.core.v1.Container" }, "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge",
      "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    });
    expect(definitions["io.k8s.api.core.v1.PodSpec"].required).toEqual(["containers"]);
    expect(definitions["io.k8s.api.apps.v1.DeploymentSpec"].properties.replicas.description).toContain("Number of desired pods");
  });

  it("lists the values of enumerated fields, each of a field that exists", () => {
    const { definitions } = json("/openapi/v2");
    const served = [...enums].map(([name, values]) => {
      const dot = name.lastIndexOf(".");
      return [name, values, definitions[definitionName(name.slice(0, dot))]?.properties[name.slice(dot + 1)]?.enum];
    });
    expect(served.filter(([, values, own]) => JSON.stringify(values) !== JSON.stringify(own))).toEqual([]);
  });

  it("has every reference that it uses", () => {
    const text = route("/openapi/v2", {})!.body.toString();
    const { definitions } = JSON.parse(text);
    const used = new Set([...text.matchAll(/"#\/definitions\/([^"]+)"/g)].map(([, name]) => name!));
    expect([...used].filter((name) => !definitions[name])).toEqual([]);
  });

  it("states what kubectl looks for in the operations", () => {
    const { paths } = json("/openapi/v2");
    const { patch } = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    expect(patch["x-kubernetes-group-version-kind"]).toEqual({ group: "apps", version: "v1", kind: "Deployment" });
    expect(patch.parameters.map((p: { name: string }) => p.name)).toEqual(["namespace", "name", "body", "dryRun", "fieldManager", "fieldValidation", "pretty", "force"]);
    expect(paths["/api/v1/namespaces/{namespace}/pods/{name}/eviction"].post["x-kubernetes-group-version-kind"].kind).toBe("Eviction");
    expect(paths["/api/v1/pods"].get.operationId).toBe("listCoreV1PodForAllNamespaces");
  });

  it("publishes custom kinds as far as v2 can", () => {
    const { definitions } = json("/openapi/v2");
    const found = definitions["com.example.stable.v1.CronTab"];
    expect(found.properties.metadata.$ref).toBe("#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    expect(found.properties.apiVersion.description).toMatch(/^APIVersion defines/);
    expect(found.properties.spec.properties.size).toEqual({ "x-kubernetes-int-or-string": true });
    expect(definitions["com.example.stable.v1.CronTabList"].properties.items.items.$ref).toBe("#/definitions/com.example.stable.v1.CronTab");
  });

  it("compresses, and answers 304 to a known ETag", () => {
    const zipped = route("/openapi/v2", { "accept-encoding": "gzip" })!;
    expect(JSON.parse(gunzipSync(zipped.body).toString()).swagger).toBe("2.0");
    expect(route("/openapi/v2", { "if-none-match": zipped.headers.etag! })!.status).toBe(304);
  });

  it("encodes protobuf for older clients, and refuses what it does not know", () => {
    const accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    const found = route("/openapi/v2", { accept })!;
    expect(found.headers["content-type"]).toBe("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    expect(found.body.subarray(0, 5)).toEqual(Buffer.from([0x0a, 3, 0x32, 0x2e, 0x30]));
    expect(route("/openapi/v2", { accept: "text/html" })!.status).toBe(406);
  });
});

describe("encodeDocument", () => {
  it("writes gnostic's fields", () => {
    const bytes = encodeDocument({
      swagger: "2.0", definitions: { A: { type: "object", properties: { b: { $ref: "#/definitions/B" } }, "x-k": [1] } },
    });
    const hex = (text: string) => Buffer.from(text).toString("hex");
    // swagger | definitions { A { type object, properties { b { $ref } }, extension x-k } }
    expect(bytes.toString("hex")).toBe([
      `0a03${hex("2.0")}`, "4a3d", "0a3b", `0a01${hex("A")}`, "1236", "b20108", `0a06${hex("object")}`,
      "ca0118", "0a16", `0a01${hex("b")}`, "1211", `0a0f${hex("#/definitions/B")}`,
      "fa010d", `0a03${hex("x-k")}`, "1206", `1204${hex("[1]\n")}`,
    ].join(""));
  });
});

describe("/openapi/v3", () => {
  it("lists the documents with hashes, and serves them for ever", () => {
    const { paths } = json("/openapi/v3");
    const url = paths["apis/apps/v1"].serverRelativeURL as string;
    expect(url).toMatch(/^\/openapi\/v3\/apis\/apps\/v1\?hash=[0-9A-F]{64}$/);
    expect(route(url, {})!.headers["cache-control"]).toBe("public, immutable");
    expect(route("/openapi/v3/apis/apps/v1?hash=OLD", {})).toMatchObject({ status: 301, headers: { location: url } });
    expect(route("/openapi/v3/apis/nope/v1", {})).toBeUndefined();
  });

  it("holds the schemas of its own group and version, and what these refer to", () => {
    const { components, paths } = json("/openapi/v3/apis/apps/v1");
    expect(components.schemas["io.k8s.api.core.v1.PodSpec"]).toBeDefined();
    expect(components.schemas["io.k8s.api.batch.v1.Job"]).toBeUndefined();
    expect(components.schemas["io.k8s.api.apps.v1.Deployment"].properties.spec.allOf).toEqual([{ $ref: "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec" }]);
    expect(components.schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"].oneOf).toHaveLength(2);
    expect(Object.keys(paths).every((path) => path.startsWith("/apis/apps/v1/"))).toBe(true);
    const params = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"].patch.parameters;
    expect(params.map((p: { name: string }) => p.name)).toContain("fieldValidation");
  });

  it("keeps the whole schema of custom kinds", () => {
    const { components } = json("/openapi/v3/apis/stable.example.com/v1");
    expect(components.schemas["com.example.stable.v1.CronTab"].properties.spec.properties.size.anyOf).toHaveLength(2);
  });

  it("has documents for the paths above", () => {
    const { paths: index } = json("/openapi/v3");
    const wanted = { api: "APIVersions", apis: "APIGroupList", "apis/apps": "APIGroup", version: "Info", "openid/v1/jwks": undefined, ".well-known/openid-configuration": undefined };
    for (const [name, kind] of Object.entries(wanted)) {
      const { openapi, paths, components } = json(index[name].serverRelativeURL);
      expect([openapi, Object.keys(paths)]).toEqual(["3.0.0", [`/${name}/`]]);
      const { schema } = Object.values<{ schema: { $ref?: string } }>(paths[`/${name}/`].get.responses[200].content)[0]!;
      if (!kind) expect(schema).toEqual({ type: "string" });
      else expect(components.schemas[schema.$ref!.replace("#/components/schemas/", "")].properties, schema.$ref).toBeDefined();
      expect(schema.$ref?.split(".").at(-1)).toBe(kind);
    }
    expect(route("/openapi/v3/version?hash=OLD", {})!.status).toBe(301);
  });

  it("follows the registry", () => {
    const undo = registry.add([{ ...custom, group: "other.example.com" }]);
    expect(json("/openapi/v3").paths["apis/other.example.com/v1"]).toBeDefined();
    undo();
    expect(json("/openapi/v3").paths["apis/other.example.com/v1"]).toBeUndefined();
  });
});
