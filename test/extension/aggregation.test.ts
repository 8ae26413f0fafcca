/** A server behind an APIService, seen through client-node and kubectl. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { request } from "node:https";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ApiregistrationV1Api, CoreV1Api, CustomObjectsApi, KubeConfig, type V1APIService, Watch } from "@kubernetes/client-node";
import { createTestCluster, type TestCluster } from "../kit/index.ts";
import { type AggregatedServer, caBundle, GROUP, startAggregatedServer } from "./aggregated-server.ts";

const NAME = `v1.${GROUP}`;
let cluster: TestCluster;
let server: AggregatedServer;
const config = new KubeConfig();
let registration: ApiregistrationV1Api;

beforeAll(async () => {
  cluster = await createTestCluster();
  config.loadFromString(cluster.kubeconfig);
  registration = config.makeApiClient(ApiregistrationV1Api);
  const { data } = await config.makeApiClient(CoreV1Api).readNamespacedConfigMap({ namespace: "kube-system", name: "extension-apiserver-authentication" });
  expect(JSON.parse(data!["requestheader-allowed-names"]!)).toEqual(["system:auth-proxy"]);
  server = await startAggregatedServer(data!["requestheader-client-ca-file"]!);
  await config.makeApiClient(CoreV1Api).createNamespacedService({ namespace: "default", body: { metadata: { name: "wardle" }, spec: { type: "ExternalName", externalName: "localhost" } } });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await cluster.stop();
});

const spec = (change: object = {}): NonNullable<V1APIService["spec"]> => ({ group: GROUP, version: "v1", groupPriorityMinimum: 1000, versionPriority: 15, service: { namespace: "default", name: "wardle", port: server.port }, ...change });
const register = async (change: object): Promise<void> => {
  await registration.deleteAPIService({ name: NAME }).catch(() => {});
  await registration.createAPIService({ body: { metadata: { name: NAME }, spec: spec(change) } });
};
const condition = (wanted: object): Promise<void> => vi.waitFor(async () => {
  const { status } = await registration.readAPIService({ name: NAME });
  expect(status?.conditions?.[0]).toMatchObject({ type: "Available", ...wanted });
}, 5000);

/** The body of a GET with the admin's certificate. */
async function get(path: string): Promise<{ readonly code: number; readonly body: any }> {
  const url = new URL(path, cluster.url);
  const options: any = {};
  await config.applyToHTTPSOptions(options);
  const req = request(url, { ...options, headers: { ...options.headers, accept: "application/json" } }).end();
  const [res] = (await once(req, "response")) as [import("node:http").IncomingMessage];
  let text = "";
  for await (const chunk of res) text += chunk;
  return { code: res.statusCode!, body: text.startsWith("{") ? JSON.parse(text) : text };
}

test.each<[string, () => object, object]>([
  ["a Service that is missing", () => ({ service: { namespace: "default", name: "gone" } }), { status: "False", reason: "ServiceNotFound", message: 'service/gone in "default" is not present' }],
  ["an authority that did not sign", () => ({}), { status: "False", reason: "FailedDiscoveryCheck", message: expect.stringContaining("failing or missing response from https://") }],
  ["the right authority, and another name", () => ({ caBundle }), { status: "False", reason: "FailedDiscoveryCheck", message: expect.stringContaining("failing or missing response from https://") }],
  ["no verification", () => ({ insecureSkipTLSVerify: true }), { status: "True", reason: "Passed", message: "all checks passed" }],
])("with %s its condition says so", async (_, change, wanted) => {
  await register(change());
  await condition(wanted);
});

describe("an available server", () => {
  beforeAll(async () => {
    await register({ insecureSkipTLSVerify: true });
    await condition({ status: "True" });
  });

  test("is discovered, and answers under the user's name and the proxy's certificate", async () => {
    const list = await config.makeApiClient(CustomObjectsApi).listNamespacedCustomObject({ group: GROUP, version: "v1", namespace: "default", plural: "flunders" }) as { items: { metadata: { name: string } }[] };
    expect(list.items.map(({ metadata }) => metadata.name)).toEqual(["a", "b"]);
    expect(server.seen.at(-1)).toMatchObject({ user: "system:admin", proxy: "system:auth-proxy" });
    expect(server.seen.at(-1)!.groups).toEqual(expect.arrayContaining(["system:masters", "system:authenticated"]));
    const { body } = await get("/apis");
    expect(body.groups.find(({ name }: { name: string }) => name === GROUP)).toMatchObject({ preferredVersion: { groupVersion: `${GROUP}/v1` } });
    expect((await get(`/apis/${GROUP}/v1`)).body.resources[0].name).toBe("flunders");
    expect(await get(`/apis/${GROUP}/v1/nothing`)).toMatchObject({ code: 404, body: { message: `/apis/${GROUP}/v1/nothing not found here` } });
  });

  test("is in the OpenAPI of the whole", async () => {
    const v2 = (await get("/openapi/v2")).body;
    expect(v2.definitions["com.example.wardle.v1.Flunder"].description).toBe("A flunder flunders.");
    expect(v2.paths[`/apis/${GROUP}/v1/namespaces/{namespace}/flunders`].get["x-kubernetes-action"]).toBe("list");
    const { serverRelativeURL } = (await get("/openapi/v3")).body.paths[`apis/${GROUP}/v1`];
    expect((await get(serverRelativeURL)).body.components.schemas["com.example.wardle.v1.Flunder"].properties.spec.description).toBe("What the flunder is.");
  });

  test("is watched through the proxy", async () => {
    const seen: string[] = [];
    const controller = await new Watch(config).watch(`/apis/${GROUP}/v1/namespaces/default/flunders`, {}, (type, object) => void seen.push(`${type} ${object.metadata.name}`), () => {});
    await vi.waitFor(() => expect(seen).toEqual(["ADDED a", "MODIFIED a"]));
    controller.abort();
  });

  test("gets streams both ways", async () => {
    const options: any = {};
    await config.applyToHTTPSOptions(options);
    const req = request(new URL(`/apis/${GROUP}/v1/namespaces/default/flunders/a/connect`, cluster.url), { ...options, agent: false, cert: options.agent?.options?.cert, key: options.agent?.options?.key, ca: options.agent?.options?.ca, headers: { connection: "Upgrade", upgrade: "echo" } }).end();
    const [, socket] = (await once(req, "upgrade")) as [unknown, import("node:net").Socket];
    socket.write("hello there");
    const [chunk] = (await once(socket, "data")) as [Buffer];
    expect(chunk.toString()).toBe("hello there");
    socket.destroy();
  });

  const kubectl = new URL("../../node_modules/.cache/k3s-p/bin/kubectl", import.meta.url).pathname;
  const isThere = existsSync(kubectl);
  if (!isThere) console.log("skipped: kubectl with an aggregated server (no kubectl binary yet; npm test unpacks it)");
  test.skipIf(!isThere)("is what kubectl lists and explains", async () => {
    const run = (...args: string[]): Promise<string> => new Promise((resolve) => {
      execFile(kubectl, args, { env: { PATH: process.env["PATH"], HOME: cluster.kubeconfigPath + ".home", KUBECONFIG: cluster.kubeconfigPath } }, (_error, stdout, stderr) => resolve(stdout + stderr));
    });
    expect(await run("get", "fl", "-o", "name")).toBe(`flunder.${GROUP}/a\nflunder.${GROUP}/b\n`);
    expect(await run("explain", "flunders.spec")).toMatch(/What the flunder is\.[^]*color\t<string>/);
  });

  test("that falls ill is unavailable, out of OpenAPI, and 503", async () => {
    server.healthy = false;
    await registration.patchAPIService({ name: NAME, body: [{ op: "replace", path: "/spec/versionPriority", value: 16 }] });
    await condition({ status: "False", reason: "FailedDiscoveryCheck", message: expect.stringMatching(/^failing or missing response from https:\/\/.*: bad status from https:\/\/.*: 500$/) });
    expect(await get(`/apis/${GROUP}/v1/namespaces/default/flunders`)).toMatchObject({ code: 503, body: { reason: "ServiceUnavailable", message: "service unavailable" } });
    server.healthy = true;
    await registration.patchAPIService({ name: NAME, body: [{ op: "replace", path: "/spec/versionPriority", value: 17 }] });
    await condition({ status: "True" });
    await registration.deleteAPIService({ name: NAME });
    await vi.waitFor(async () => expect((await get("/openapi/v3")).body.paths[`apis/${GROUP}/v1`]).toBeUndefined());
    expect((await get(`/apis/${GROUP}/v1/namespaces/default/flunders`)).code).toBe(404);
  });
});
