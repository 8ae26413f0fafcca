import { describe, expect, test } from "vitest";
import { negotiate } from "./negotiate.ts";
import { accessedBy, parseRequestInfo } from "./request.ts";

describe("what a path means", () => {
  const cases: readonly [string, string, object][] = [
    ["GET", "/api/v1/namespaces", { verb: "list", resource: "namespaces", namespace: "", name: "" }],
    ["GET", "/api/v1/namespaces/a", { verb: "get", resource: "namespaces", namespace: "a", name: "a" }],
    ["PUT", "/api/v1/namespaces/a/finalize", { verb: "update", resource: "namespaces", name: "a", subresource: "finalize" }],
    ["GET", "/api/v1/namespaces/a/status", { verb: "get", resource: "namespaces", name: "a", subresource: "status" }],
    ["GET", "/api/v1/namespaces/a/pods", { verb: "list", resource: "pods", namespace: "a", name: "" }],
    ["GET", "/api/v1/pods?watch=true", { verb: "watch", resource: "pods", namespace: "" }],
    ["GET", "/api/v1/pods?watch=false", { verb: "list" }],
    ["GET", "/api/v1/watch/namespaces/a/pods/b", { verb: "watch", resource: "pods", namespace: "a", name: "b" }],
    ["POST", "/api/v1/namespaces/a/pods/b/eviction", { verb: "create", resource: "pods", name: "b", subresource: "eviction" }],
    ["DELETE", "/apis/apps/v1/namespaces/a/deployments", { verb: "deletecollection", group: "apps", version: "v1" }],
    ["DELETE", "/apis/apps/v1/namespaces/a/deployments/d", { verb: "delete", name: "d" }],
    ["PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Ax", { verb: "patch", name: "system:x", group: "rbac.authorization.k8s.io" }],
    ["GET", "/api/v1/namespaces/a/services/s:80/proxy/x/y?z=1", { verb: "get", subresource: "proxy", name: "s:80", rest: ["x", "y"] }],
    ["HEAD", "/api/v1/nodes/n", { verb: "get", resource: "nodes" }],
    ["GET", "/apis/apps/v1", { isResource: false, verb: "get", path: "/apis/apps/v1" }],
    ["GET", "/healthz?verbose", { isResource: false, path: "/healthz" }],
  ];
  test.each(cases)("%s %s", (method, url, expected) => {
    expect(parseRequestInfo(method, url)).toMatchObject({ isResource: true, ...expected });
  });
});

describe("what a request is authorized for", () => {
  const cases: readonly [string, string, string][] = [
    ["GET", "/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Dx&limit=5", "x"],
    ["GET", "/api/v1/configmaps?watch=1&fieldSelector=metadata.namespace=a,metadata.name==x", "x"],
    ["GET", "/api/v1/configmaps?fieldSelector=metadata.name!=x", ""],
    ["GET", "/api/v1/configmaps?fieldSelector=metadata.name=..", ""],
    ["GET", "/api/v1/configmaps?labelSelector=metadata.name=x", ""],
    ["DELETE", "/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name=x", ""],
  ];
  test.each(cases)("%s %s", (method, url, name) => expect(accessedBy(parseRequestInfo(method, url), url).name).toBe(name));
});

describe("content negotiation", () => {
  const table = "application/json;as=Table;v=v1;g=meta.k8s.io";
  const cases: readonly [string | undefined, object][] = [
    [undefined, { as: "object", encoding: "json" }],
    ["*/*", { as: "object", encoding: "json" }],
    ["application/vnd.kubernetes.protobuf,application/json", { as: "object", encoding: "json" }],
    ["application/yaml", { as: "object", encoding: "yaml" }],
    [`${table},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json`, { as: "table", version: "v1" }],
    ["application/json;as=Table;v=v1beta1;g=meta.k8s.io", { as: "table", version: "v1beta1" }],
    ["application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", { as: "partial" }],
    ["application/json;as=Unknown;v=v1;g=meta.k8s.io,application/json", { as: "object" }],
    ["application/yaml;q=0.5, application/json;q=0.9", { encoding: "json" }],
  ];
  test.each(cases)("%s", (accept, expected) => {
    expect(negotiate(accept)).toMatchObject(expected);
  });

  test("gives protobuf to those who read nothing else", () => {
    expect(negotiate("application/vnd.kubernetes.protobuf")).toMatchObject({ encoding: "protobuf" });
  });

  test.each(["text/html", "application/json;as=Table;v=v9;g=meta.k8s.io"])("refuses %s with 406", (accept) => {
    expect(() => negotiate(accept)).toThrow(expect.objectContaining({ code: 406, reason: "NotAcceptable" }));
  });

  test("refuses a table of what has no metadata", () => {
    expect(() => negotiate(table, false)).toThrow(expect.objectContaining({ code: 406 }));
  });
});
