import { MessageChannel } from "node:worker_threads";
import { expect, test } from "vitest";
import type { Contribution } from "@k3s-p/plugin-api";
import { apiError } from "@k3s-p/plugin-api/kube";
import type { RouteRequest, ServedRoute } from "@k3s-p/plugin-api/points";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { createBridge } from "@k3s-p/plugin-api/wire/bridge";
import { requestInMemory } from "../client/memory.ts";
import { pluginRoutes } from "./plugin-routes.ts";
import { startTestServer } from "./testing.ts";

const member: UserInfo = { name: "alice", groups: ["friends", "system:authenticated"] };
const stranger: UserInfo = { name: "bob", groups: ["system:authenticated"] };

const route = (path: string, more: Partial<ServedRoute> = {}): ServedRoute =>
  ({ path, methods: ["GET"], groups: ["friends"], answer: () => ({ status: 200, contentType: "text/plain", body: `${path} answers` }), ...more });

function contributed(...routes: readonly ServedRoute[]) {
  let list: readonly Contribution<ServedRoute>[] = routes.map((impl) => ({ plugin: "p", impl }));
  const listeners = new Set<() => void>();
  const refused: string[] = [];
  const served = pluginRoutes({
    contributions: { list: () => list, onChange: (fn) => (listeners.add(fn), () => void listeners.delete(fn)) },
    onError: (plugin, path, why) => void refused.push(`${path} of ${plugin}: ${why}`),
  });
  const set = (...next: readonly ServedRoute[]): void => {
    list = next.map((impl) => ({ plugin: "p", impl }));
    for (const fn of listeners) fn();
  };
  return { served, refused, set };
}

test("the longest path that fits answers those whom it names, in place of RBAC", async () => {
  const { served } = contributed(route("/tree/"), route("/tree/branch/"), route("/tree/leaf"));
  await using server = await startTestServer({ served });
  const ask = async (path: string, user = member) => {
    const { status, text } = await requestInMemory(server.handler, user, "GET", path);
    return status === 200 ? text : status;
  };
  expect(await ask("/tree/leaf")).toBe("/tree/leaf answers");
  expect(await ask("/tree/leaf/x")).toBe("/tree/ answers");
  expect(await ask("/tree/branch/x?y=z")).toBe("/tree/branch/ answers");
  expect(await ask("/tree/leaf", { name: "root", groups: ["system:masters"] })).toBe("/tree/leaf answers");
  expect([await ask("/tree/leaf", stranger), await ask("/tree", member), await ask("/tree//leaf"), await ask("/tr%65e/leaf")]).toEqual([403, 403, 404, 403]);
});

test("names who may ask when it refuses, and how", async () => {
  const { served } = contributed(route("/x", { methods: ["GET", "POST"] }), route("/y/"));
  await using server = await startTestServer({ served });
  expect((await server.http("GET", "/y/z?a=b", undefined, {}, stranger)).body).toMatchObject({ code: 403, message: 'forbidden: User "bob" cannot get path "/y/z": members of friends may' });
  expect((await server.http("DELETE", "/x", undefined, {}, member)).body).toMatchObject({ code: 405, message: "/x answers GET, POST alone" });
});

test("hands over the request without the secrets that proved who asks, and a body of 64 KiB at most", async () => {
  let seen: RouteRequest | undefined;
  const { served } = contributed(route("/x", { methods: ["POST"], answer: (request) => ((seen = request), { status: 201, contentType: "application/json", body: "{}" }) }));
  await using server = await startTestServer({ served });
  const headers = { "x-mine": "yes", authorization: "Bearer secret", cookie: "secret" };
  expect(await server.http("POST", "/x?a=1&b=2", { hello: true }, headers, member)).toMatchObject({ status: 201, body: {} });
  expect(seen).toMatchObject({ method: "POST", path: "/x", query: { a: "1", b: "2" }, body: '{"hello":true}', user: member, headers: { "x-mine": "yes" } });
  expect(JSON.stringify(seen)).not.toContain("secret");
  expect((await server.http("POST", "/x", { text: "x".repeat(65_536) }, {}, member)).body).toMatchObject({ code: 413, message: "Request entity too large: limit is 65536" });
});

test("refuses the paths that the API server serves itself, and does not let a prefix take them", async () => {
  const paths = ["/", "/api/", "/apis/x", "/openapi/", "/healthz", "/livez", "/readyz/", "/metrics", "/version", "/debug/x", "/ping", "/cacerts", "/v1-k3s/encrypt/"];
  const { served, refused } = contributed(...paths.map((path) => route(path)), route("/v1-k3s/"));
  expect(refused).toHaveLength(paths.length);
  expect(refused[1]).toBe("/api/ of p: the API server serves it itself");
  expect([...paths, "/api", "/api/v1/pods", "/apis", "/v1-k3s/encrypt/status", "/v1-k3s/encrypt"].filter((path) => served(path))).toEqual([]);
  expect([served("/v1-k3s/config"), served("/v1-k3s/encryption"), served("/apix")].map(Boolean)).toEqual([true, true, false]);
});

test("says once what is wrong with a route, and serves the first of two", () => {
  const second = route("/x");
  const { served, refused, set } = contributed(route("/x"), second, route("no/slash"), route("/a b"), route("/y", { methods: ["get"] }), route("/z", { groups: [] }));
  expect(refused.map((line) => line.replace(/^.* of p: /, ""))).toEqual([
    "another plugin serves it", "it is no path such as /name/part, or /name/ for all that is below", "it is no path such as /name/part, or /name/ for all that is below",
    "methods are among GET, POST, PUT, PATCH, DELETE", "it names no group that may ask",
  ]);
  set(second);
  expect(served("/x")).toBeDefined();
  set();
  expect([served("/x"), refused.length]).toEqual([undefined, 5]);
});

test("names the plugin whose route fails, and passes on what it refuses", async () => {
  const { served } = contributed(
    route("/refuses", { answer: () => { throw apiError(409, "Conflict", "not now"); } }),
    route("/breaks", { answer: () => { throw new Error("broken"); } }),
    route("/odd", { answer: () => ({ status: 99, contentType: "text/plain", body: "" }) }),
  );
  await using server = await startTestServer({ served, onError: () => {} });
  const ask = async (path: string) => (await server.http("GET", path, undefined, {}, member)).body;
  expect(await ask("/refuses")).toMatchObject({ code: 409, message: "not now" });
  expect(await ask("/breaks")).toMatchObject({ code: 500, message: 'Internal error occurred: route "/breaks" of plugin "p" failed: broken' });
  expect(await ask("/odd")).toMatchObject({ code: 500, message: 'Internal error occurred: route "/odd" of plugin "p" answered without a status, contentType or body' });
});

test("a route may live in another process", async () => {
  const { port1, port2 } = new MessageChannel();
  const channel = (port: typeof port1) => ({ send: (message: unknown) => port.postMessage(message), onMessage: (fn: (message: unknown) => void) => void port.on("message", fn) });
  const far = route("/far/", {
    answer: ({ path, user }) => {
      if (path === "/far/off") throw apiError(404, "NotFound", "too far");
      return { status: 200, contentType: "text/plain", body: `${user.name} at ${path}` };
    },
  });
  createBridge(channel(port2), { plugin: () => far });
  const { served } = contributed((await createBridge(channel(port1), {}).remote("plugin")()) as ServedRoute);
  await using server = await startTestServer({ served });
  expect((await server.http("GET", "/far/away", undefined, {}, member)).text).toBe("alice at /far/away");
  expect((await server.http("GET", "/far/off", undefined, {}, member)).body).toMatchObject({ code: 404, message: "too far" });
  expect((await server.http("GET", "/far/away", undefined, {}, stranger)).status).toBe(403);
  port1.close();
});
