import type { Ingress } from "@k3s-p/plugin-api/kube";
import { describe, expect, test } from "vitest";
import { cleanUrl, compileRoutes, normalHost } from "./routes.ts";

type Path = readonly [path: string, type: "Exact" | "Prefix" | "ImplementationSpecific", service: string];
function ingress(name: string, rules: Readonly<Record<string, readonly Path[]>>, more: { created?: string; annotations?: Record<string, string>; fallback?: string } = {}): Ingress {
  return {
    metadata: { name, namespace: "default", creationTimestamp: more.created ?? "2026-01-01T00:00:00Z", ...(more.annotations && { annotations: more.annotations }) },
    spec: {
      ...(more.fallback && { defaultBackend: { service: { name: more.fallback, port: { number: 80 } } } }),
      rules: Object.entries(rules).map(([host, paths]) => ({
        ...(host && { host }),
        http: { paths: paths.map(([path, pathType, service]) => ({ path, pathType, backend: { service: { name: service, port: { name: "http" } } } })) },
      })),
    },
  };
}
const table = compileRoutes([
  ingress("a", {
    "app.example.com": [["/", "Prefix", "root"], ["/foo", "Prefix", "foo"], ["/foo", "Exact", "foo-exact"], ["/foo/bar/", "Prefix", "foobar"], ["/impl", "ImplementationSpecific", "impl"]],
    "*.example.com": [["/", "Prefix", "wild"]],
    "only.example.com": [["/here", "Exact", "here"]],
    "": [["/any", "Prefix", "any"]],
  }),
  ingress("b", {}, { fallback: "fallback" }),
]);

describe("the specification's rules", () => {
  test.each([
    ["app.example.com", "/", "root"], ["app.example.com", "/foo", "foo-exact"], ["app.example.com", "/foo/", "foo"], ["app.example.com", "/foo/x", "foo"],
    ["app.example.com", "/foobar", "root"], ["app.example.com", "/foo/bar", "foobar"], ["app.example.com", "/foo/bar/x", "foobar"], ["app.example.com", "/FOO", "root"],
    ["app.example.com", "/impl/x", "impl"], ["other.example.com", "/x", "wild"], ["a.b.example.com", "/x", "fallback"], ["example.com", "/x", "fallback"],
    ["only.example.com", "/here", "here"], ["only.example.com", "/here/", "wild"], ["elsewhere.org", "/any/x", "any"], ["elsewhere.org", "/", "fallback"],
  ])("%s%s -> %s", (host, path, service) => {
    expect(table.match(host, path, "web")?.backend?.service).toBe(service);
  });
});

test("the older Ingress wins equal rules", () => {
  const rules = (service: string) => ({ "x.y": [["/", "Prefix", service] as const] });
  const both = [ingress("young", rules("young"), { created: "2026-02-01T00:00:00Z" }), ingress("old", rules("old"))];
  expect(compileRoutes(both).match("x.y", "/", "web")?.backend?.service).toBe("old");
});

test("entry points by annotation", () => {
  const rules = { "x.y": [["/", "Prefix", "s"] as const] };
  const only = (annotations: Record<string, string>) => {
    const routes = compileRoutes([ingress("i", rules, { annotations })]);
    return (["web", "websecure"] as const).filter((name) => routes.match("x.y", "/", name));
  };
  expect(only({})).toEqual(["web", "websecure"]);
  expect(only({ "traefik.ingress.kubernetes.io/router.entrypoints": "websecure" })).toEqual(["websecure"]);
  expect(only({ "traefik.ingress.kubernetes.io/router.tls": "true" })).toEqual(["websecure"]);
});

test("an Ingress with a middleware is matched but has no backend", () => {
  const routes = compileRoutes([ingress("i", { "x.y": [["/", "Prefix", "s"]] }, { annotations: { "traefik.ingress.kubernetes.io/router.middlewares": "default-auth@kubernetescrd" } })]);
  expect(routes.match("x.y", "/", "web")).toMatchObject({ ingress: "default/i", backend: undefined });
});

test.each([
  ["/a/b?x=/../y", "/a/b", "/a/b?x=/../y"], ["/a/../b", "/b", "/b"], ["/public/%2e%2E/admin?q", "/admin", "/admin?q"], ["//a//b", "/a/b", "/a/b"], ["/a/..", "/", "/"],
  ["/a/./b/", "/a/b/", "/a/b/"], ["/../../x", "/x", "/x"], ["http://h.example/a?b", "/a", "/a?b"], ["", "/", "/"], ["/a/.b", "/a/.b", "/a/.b"],
])("cleans %s", (url, path, full) => {
  expect(cleanUrl(url)).toEqual({ path, url: full });
});

test("host names without port, case and final dot", () => {
  expect([normalHost("A.Example.com:8080"), normalHost("a."), normalHost(undefined)]).toEqual(["a.example.com", "a", ""]);
});
