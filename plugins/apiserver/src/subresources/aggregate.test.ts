import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { KubeClient, Resource } from "@k3s-p/plugin-api/kube";
import { testView } from "../auth/testing.ts";
import type { Obj } from "../resources/types.ts";
import { type ApiRequest, type ApiResponse, parseRequestInfo } from "../server/request.ts";
import { createAggregator } from "./aggregate.ts";
import { testCertificate, testPrivateKey } from "./testing.ts";

const closers: (() => void)[] = [];
afterEach(() => closers.splice(0).forEach((close) => close()));

const list = { kind: "APIResourceList", resources: [
  { name: "pods", namespaced: true, kind: "PodMetrics", verbs: ["get", "list"] }, { name: "pods/x", namespaced: true, kind: "X", verbs: ["get"] },
] };

async function backend() {
  const seen: Record<string, unknown>[] = [];
  const server = createServer({ key: testPrivateKey, cert: testCertificate, ca: testCertificate, requestCert: true, rejectUnauthorized: true }, (req, res) => {
    seen.push({ url: req.url, user: req.headers["x-remote-user"], groups: req.headersDistinct["x-remote-group"], authorization: req.headers.authorization });
    res.setHeader("content-type", "application/json").end(JSON.stringify(list));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => (server.closeAllConnections(), server.close()));
  return { seen, port: (server.address() as AddressInfo).port };
}

const apiService = (spec: object = {}): Obj => ({
  apiVersion: "apiregistration.k8s.io/v1", kind: "APIService", metadata: { name: "v1beta1.metrics.k8s.io", uid: "u" },
  spec: { group: "metrics.k8s.io", version: "v1beta1", service: { name: "web", namespace: "ns" }, groupPriorityMinimum: 100, versionPriority: 90, caBundle: Buffer.from(testCertificate).toString("base64"), ...spec },
});
const service: Obj = { apiVersion: "v1", kind: "Service", metadata: { name: "web", namespace: "ns" }, spec: { ports: [{ name: "https", port: 443 }] } };
const slice = (port: number): Obj => ({
  apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", metadata: { name: "web-1", namespace: "ns", labels: { "kubernetes.io/service-name": "web" } },
  addressType: "IPv4", ports: [{ name: "https", port }], endpoints: [{ addresses: ["127.0.0.1"] }],
});

function world(...objects: Obj[]) {
  const view = testView(...objects);
  const handlers = new Map<string, ((object: Obj) => void)[]>();
  const client = {
    informer: (resource: Resource) => ({
      on: ({ added }: { added: (object: Obj) => void }) => {
        handlers.set(resource.plural, [...(handlers.get(resource.plural) ?? []), added]);
        for (const object of view.list(resource.group, resource.plural)) added(object);
        return () => {};
      },
      stop: () => {},
    }),
    update: async (_: Resource, next: Obj) => {
      view.remove(view.get("apiregistration.k8s.io", "apiservices", next.metadata!.name!)!);
      view.add(next);
      handlers.get("apiservices")?.forEach((added) => added(next));
      return next;
    },
  } as unknown as KubeClient;
  const pair = { cert: testCertificate, key: testPrivateKey, certPath: "", keyPath: "" };
  const aggregator = createAggregator({
    view, client, pki: { issue: async () => pair }, serves: (group) => group === "apps", now: () => new Date(0), retry: 30,
  });
  aggregator.start();
  closers.push(() => aggregator.stop());
  const changed = (plural: string, object: Obj) => handlers.get(plural)?.forEach((added) => added(object));
  const condition = () => view.get("apiregistration.k8s.io", "apiservices", "v1beta1.metrics.k8s.io")?.status?.conditions?.[0];
  return { view, aggregator, condition, changed };
}

async function until<T>(read: () => T | undefined): Promise<T> {
  for (let i = 0; i < 200; i++) {
    const value = read();
    if (value) return value;
    await sleep(10);
  }
  throw new Error("it did not come");
}

async function get(route: ReturnType<ReturnType<typeof createAggregator>["route"]>, url: string) {
  let text = "";
  const res = Object.assign(new Writable({ write: (chunk, _, done) => ((text += chunk), done()) }), { writeHead: (code: number) => (res.statusCode = code), flushHeaders: () => {}, statusCode: 0 });
  const req = {
    method: "GET", url, headers: { authorization: "Bearer s", "x-remote-user": "evil" }, info: parseRequestInfo("GET", url),
    user: { name: "joe", groups: ["a", "b"] }, signal: new AbortController().signal, stream: Readable.from([]),
  };
  await route!(req as unknown as ApiRequest, res as unknown as ApiResponse);
  return { status: res.statusCode, text };
}

describe("createAggregator", () => {
  it("finds the server available, and passes requests on in the user's name", async () => {
    const { seen, port } = await backend();
    const { aggregator, condition } = world(apiService(), service, slice(port));
    expect(await until(condition)).toMatchObject({ type: "Available", status: "True", reason: "Passed", message: "all checks passed" });
    const url = "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods?limit=1";
    expect(await get(aggregator.route(parseRequestInfo("GET", url)), url)).toEqual({ status: 200, text: JSON.stringify(list) });
    expect(seen.find((request) => request["url"] === url)).toEqual({ url, user: "joe", groups: ["a", "b"], authorization: undefined });
  });

  it("tells discovery what the other server has", async () => {
    const { port } = await backend();
    const { aggregator, condition } = world(apiService(), service, slice(port));
    await until(condition);
    expect(aggregator.external.list()).toEqual([{
      group: "metrics.k8s.io", version: "v1beta1", groupPriority: 100, versionPriority: 90, resources: [{
        name: "pods", singular: "", namespaced: true, responseKind: { group: "metrics.k8s.io", version: "v1beta1", kind: "PodMetrics" }, verbs: ["get", "list"],
        subresources: [{ name: "x", responseKind: { group: "metrics.k8s.io", version: "v1beta1", kind: "X" }, verbs: ["get"] }],
      }],
    }]);
  });

  it("reaches a server by the name that its Service stands for", async () => {
    const { seen, port } = await backend();
    const named = { ...service, spec: { type: "ExternalName", externalName: "localhost" } };
    const { aggregator, condition } = world(apiService({ service: { name: "web", namespace: "ns", port } }), named);
    expect(await until(condition)).toMatchObject({ status: "True", reason: "Passed" });
    const url = "/apis/metrics.k8s.io/v1beta1/pods";
    expect((await get(aggregator.route(parseRequestInfo("GET", url)), url)).status).toBe(200);
    expect(seen.find((request) => request["url"] === url)!["user"]).toBe("joe");
  });

  it.each<[string, Obj[], string]>([
    ["ServiceNotFound", [], 'service/web in "ns" is not present'],
    ["ServicePortError", [{ ...service, spec: { ports: [{ port: 80 }] } }], 'service/web in "ns" is not listening on port 443'],
    ["EndpointsNotFound", [service], 'cannot find endpointslices for service/web in "ns"'],
    ["MissingEndpoints", [service, { ...slice(1), endpoints: [] }], 'endpoints for service/web in "ns" have no addresses with port name "https"'],
  ])("says %s", async (reason, objects, message) => {
    const { condition, aggregator } = world(apiService(), ...objects);
    expect(await until(condition)).toMatchObject({ status: "False", reason, message });
    await expect(get(aggregator.route({ path: "/apis/metrics.k8s.io/v1beta1" }), "/apis/metrics.k8s.io/v1beta1")).rejects.toThrow("service unavailable");
  });

  it("recovers when endpoints come, and asks a silent server again", async () => {
    const { port } = await backend();
    const { condition, view, changed } = world(apiService(), service);
    await until(() => condition()?.reason === "EndpointsNotFound");
    const wrong = slice(1);
    view.add(wrong);
    changed("endpointslices", wrong);
    await until(() => condition()?.reason === "FailedDiscoveryCheck");
    view.remove(wrong);
    view.add(slice(port));
    await until(() => condition()?.status === "True");
  });

  it("refuses a certificate that the bundle does not sign", async () => {
    const { port } = await backend();
    const { condition } = world(apiService({ caBundle: undefined }), service, slice(port));
    expect((await until(condition)).message).toContain("self-signed certificate");
  });

  it("marks its own groups as local, and leaves them to itself", async () => {
    const { condition, aggregator } = world(apiService({ service: undefined }));
    expect(await until(condition)).toMatchObject({ status: "True", reason: "Local" });
    expect(aggregator.route({ path: "/apis/metrics.k8s.io/v1beta1" })).toBeUndefined();
    expect(aggregator.route({ path: "/apis/apps/v1" })).toBeUndefined();
    expect(aggregator.external.list()).toEqual([]);
  });
});
