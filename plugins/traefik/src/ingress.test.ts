import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, request, type RequestOptions, type Server, type ServerResponse } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { request as httpsRequest } from "node:https";
import { connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import * as k from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import type { KeyPair, Pki } from "@k3s-p/plugin-api/slots";
import { startAlone, testNode } from "@k3s-p/plugin-api/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { certificate } from "./certificate.fixture.ts";
import plugin from "./plugin.ts";

const cleanup: (() => unknown)[] = [];
let kube: FakeKube;
let port: number;
let securePort: number;
let stop: () => Promise<void>;
/** As the cluster's PKI does when the default certificate is near its end. */
let renew: (name: string) => void;

beforeEach(async () => {
  const dir = await mkdtemp(join(tmpdir(), "traefik-"));
  cleanup.push(() => rm(dir, { recursive: true, force: true }));
  kube = fakeKube();
  kube.put(k.ingressClasses, { metadata: { name: "traefik" }, spec: { controller: "traefik.io/ingress-controller" } });
  kube.put(k.ingressClasses, { metadata: { name: "nginx" }, spec: { controller: "k8s.io/ingress-nginx" } });
  const deployer = {
    deploy: async () => void kube.put(k.services, { metadata: { name: "traefik", namespace: "kube-system" }, spec: { type: "LoadBalancer" }, status: { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } } }),
    remove: async () => undefined,
  };
  const pair = (name: string): KeyPair => ({ ...certificate(name, ["traefik.default"]), certPath: "", keyPath: "" });
  const issue: Pki["issue"] = async (_, renewal) => {
    renew = (name) => renewal!.onRenewed(pair(name));
    return pair("TRAEFIK DEFAULT CERT");
  };
  const pki = { issue };
  const started = await startAlone<{ httpPort: number; ingressClass: string }>(plugin, {
    needs: { kube, deployer, pki, node: testNode(dir) }, dir, config: { webPort: 0, websecurePort: 0, trustedIPs: ["127.0.0.2"], redirectToHttps: false },
  });
  stop = started.stop;
  cleanup.push(() => started.stop());
  expect(started.impl.ingressClass).toBe("traefik");
  port = started.impl.httpPort;
  securePort = kube.read(k.endpointSlices, "traefik-node-1", "kube-system")!.ports!.find((p) => p.name === "websecure")!.port!;
});
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function backend(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server & { readonly port: number }> {
  const server = createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanup.push(() => (server.closeAllConnections(), server.close()));
  return Object.assign(server, { port: (server.address() as AddressInfo).port });
}
const name = (text: string) => (_request: IncomingMessage, response: ServerResponse) => void response.end(text);

function service(serviceName: string, ports: readonly number[], ready = true): void {
  kube.put(k.services, { metadata: { name: serviceName, namespace: "default" }, spec: { clusterIP: "10.43.0.5", ports: [{ name: "http", port: 80 }] } });
  ports.forEach((number, i) => kube.put(k.endpointSlices, {
    metadata: { name: `${serviceName}-${i}`, namespace: "default", labels: { "kubernetes.io/service-name": serviceName } }, addressType: "IPv4",
    endpoints: [{ addresses: ["127.0.0.1"], conditions: { ready } }], ports: [{ name: "http", port: number, protocol: "TCP" }],
  }));
}
function ingress(ingressName: string, host: string, serviceName: string, spec: object = {}, annotations: Record<string, string> = {}): void {
  kube.put(k.ingresses, {
    metadata: { name: ingressName, namespace: "default", annotations },
    spec: { ingressClassName: "traefik", rules: [{ host, http: { paths: [{ path: "/", pathType: "Prefix", backend: { service: { name: serviceName, port: { name: "http" } } } }] } }], ...spec },
  });
}

interface Got {
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingMessage["headers"];
  readonly raw: readonly string[];
}
function get(host: string, path = "/", options: RequestOptions & { body?: string | Buffer } = {}): Promise<Got> {
  return new Promise((resolve, reject) => {
    const { body, ...more } = options;
    const sent = request({ host: "127.0.0.1", port, path, agent: false, ...more, headers: { host, ...more.headers } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk) => chunks.push(chunk)).on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks).toString(), headers: response.headers, raw: response.rawHeaders }));
    });
    sent.on("error", reject).end(body);
  });
}

test("routes by host, answers as Traefik what it cannot route", async () => {
  const { port: at } = await backend(name("hello"));
  expect(await get("app.example.com")).toMatchObject({ status: 404, body: "404 page not found\n" });
  ingress("i", "app.example.com", "web");
  expect((await get("app.example.com")).status).toBe(404);
  service("web", [at], false);
  expect(await get("app.example.com")).toMatchObject({ status: 503, body: "no available server\n" });
  service("web", [at]);
  expect(await get("app.example.com:8080")).toMatchObject({ status: 200, body: "hello" });
  ingress("i", "app.example.com", "web", { ingressClassName: "nginx" });
  expect((await get("app.example.com")).status).toBe(404);
});

test("tells the backend who asked, and drops what belongs to the connection", async () => {
  const { port: at } = await backend((request, response) => void response.end(JSON.stringify([request.headers, request.url])));
  service("web", [at]);
  ingress("i", "app.example.com", "web");
  const headers = { "x-forwarded-for": "6.6.6.6", connection: "x-secret", "x-secret": "1", te: "trailers", "proxy-authorization": "x", cookie: "a=1" };
  const [seen, url] = JSON.parse((await get("app.example.com:8000", "/x/../y?z=%20", { headers })).body);
  expect(seen).toMatchObject({
    host: "app.example.com:8000", "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "x-forwarded-proto": "http",
    "x-forwarded-host": "app.example.com:8000", "x-forwarded-port": "8000", cookie: "a=1", te: "trailers",
  });
  expect([seen["x-secret"], seen["proxy-authorization"], url]).toEqual([undefined, undefined, "/y?z=%20"]);
  const [trusted] = JSON.parse((await get("app.example.com", "/", { headers: { "x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "https" }, localAddress: "127.0.0.2" })).body);
  expect(trusted).toMatchObject({ "x-forwarded-for": "6.6.6.6, 127.0.0.2", "x-forwarded-proto": "https" });
});

test("takes turns among endpoints, and passes over one that cannot be reached", async () => {
  const [a, b] = [await backend(name("a")), await backend(name("b"))];
  service("web", [a.port, b.port]);
  ingress("i", "app.example.com", "web");
  const seen = [];
  for (let i = 0; i < 4; i++) seen.push((await get("app.example.com")).body);
  expect(seen).toEqual(["a", "b", "a", "b"]);
  b.closeAllConnections();
  b.close();
  for (let i = 0; i < 4; i++) expect(await get("app.example.com", "/", { method: "POST", body: "x" })).toMatchObject({ status: 200, body: "a" });
  a.closeAllConnections();
  a.close();
  expect(await get("app.example.com")).toMatchObject({ status: 502, body: "Bad Gateway" });
});

test("streams both ways with bodies of any framing, status, repeated headers and trailers", async () => {
  const { port: at } = await backend((request, response) => {
    response.writeHead(207, "Multi", ["Set-Cookie", "a=1", "Set-Cookie", "b=2"]);
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (!response.write(chunk)) request.pause();
    });
    response.on("drain", () => request.resume());
    request.on("end", () => {
      response.addTrailers({ "x-sum": String(bytes) });
      response.end();
    });
  });
  service("web", [at]);
  ingress("i", "app.example.com", "web");
  const big = Buffer.alloc(5_000_000, "x");
  const fixed = await get("app.example.com", "/", { method: "PUT", body: big, headers: { "content-length": big.length } });
  expect([fixed.status, fixed.body.length]).toEqual([207, big.length]);
  expect(fixed.headers["set-cookie"]).toEqual(["a=1", "b=2"]);
  const chunked = await get("app.example.com", "/", { method: "DELETE", body: "abc", headers: { "transfer-encoding": "chunked" } });
  expect(chunked.body).toBe("abc");
  expect((await get("app.example.com", "/", { method: "HEAD" })).status).toBe(207);
});

test("an answer that breaks off reaches the client as broken, and an impatient client frees the backend", async () => {
  let closed = 0;
  const { port: at } = await backend((request, response) => {
    response.on("close", () => closed++);
    response.writeHead(200, { "content-length": 100 });
    response.write("half");
    if (request.url === "/break") setTimeout(() => response.destroy(), 20);
  });
  service("web", [at]);
  ingress("i", "app.example.com", "web");
  await expect(get("app.example.com", "/break")).rejects.toThrow(/aborted|hang up|ECONNRESET/);
  const sent = request({ host: "127.0.0.1", port, path: "/hang", headers: { host: "app.example.com" } });
  sent.on("error", () => undefined).end();
  await once(sent, "response");
  sent.destroy();
  await vi.waitFor(() => expect(closed).toBe(2));
});

test("keeps connections to backends, and survives one that the backend closed", async () => {
  let connections = 0;
  const server = await backend(name("x"));
  server.on("connection", () => connections++);
  service("web", [server.port]);
  ingress("i", "app.example.com", "web");
  for (let i = 0; i < 5; i++) expect((await get("app.example.com")).status).toBe(200);
  expect(connections).toBe(1);
  server.closeAllConnections();
  for (let i = 0; i < 5; i++) expect((await get("app.example.com")).status).toBe(200);
});

test("repeats on a stale connection what is idempotent, and nothing else", async () => {
  const seen: string[] = [];
  const answered = new WeakSet<object>();
  // Each connection is good for one answer, as when the backend's own time-out closes it at the second request.
  const { port: at } = await backend((request, response) => {
    seen.push(request.method!);
    if (answered.has(request.socket)) return void request.socket.destroy();
    answered.add(request.socket);
    response.end("ok");
  });
  service("web", [at]);
  ingress("i", "app.example.com", "web");
  const result: [string, number, number][] = [];
  for (const method of ["GET", "DELETE", "POST", "PATCH"]) {
    // Leaves a kept connection that has had its answer.
    expect((await get("app.example.com", "/warm")).status).toBe(200);
    seen.length = 0;
    result.push([method, (await get("app.example.com", "/", { method })).status, seen.length]);
  }
  expect(result).toEqual([["GET", 200, 2], ["DELETE", 200, 2], ["POST", 502, 1], ["PATCH", 502, 1]]);
});

test("passes WebSockets through, and the backend's refusal of one", async () => {
  const server = await backend((_request, response) => void response.writeHead(403).end("no"));
  server.on("upgrade", (request: IncomingMessage, socket) => {
    if (request.url === "/refuse") return void socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst:");
    socket.pipe(socket);
  });
  service("web", [server.port]);
  ingress("i", "app.example.com", "web");
  const dial = (path: string, host = "app.example.com") => new Promise<string>((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
      if (text.endsWith("pong")) socket.end();
    });
    socket.on("close", () => resolve(text));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n`);
    if (path === "/ws") setTimeout(() => socket.write("pong"), 50);
  });
  const through = await dial("/ws");
  expect(through).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
  expect(through).toMatch(/\r\nUpgrade: websocket\r\n\r\nfirst:pong$/i);
  expect(await dial("/refuse")).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[^]*no$/);
  expect(await dial("/ws2", "other")).toMatch(/^HTTP\/1\.1 404 Not Found/);
});

test("serves TLS by server name, with HTTP/1.1 and HTTP/2, and a default certificate", async () => {
  const { port: at } = await backend((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk) => chunks.push(chunk)).on("end", () => response.setHeader("x-proto", request.headers["x-forwarded-proto"]!).end(`got ${Buffer.concat(chunks)}`));
  });
  service("web", [at]);
  const pair = certificate("app", ["app.example.com", "*.wild.example.com"]);
  const b64 = (text: string) => Buffer.from(text).toString("base64");
  kube.put(k.secrets, { metadata: { name: "tls", namespace: "default" }, type: "kubernetes.io/tls", data: { "tls.crt": b64(pair.cert), "tls.key": b64(pair.key) } });
  ingress("i", "app.example.com", "web", { tls: [{ hosts: ["app.example.com"], secretName: "tls" }] });
  const subject = (servername: string) => new Promise<string>((resolve, reject) => {
    const sent = httpsRequest({ host: "127.0.0.1", port: securePort, servername, rejectUnauthorized: false, agent: false, headers: { host: "app.example.com" } }, (response) => {
      resolve(`${(response.socket as any).getPeerCertificate().subject.CN} ${response.statusCode} ${response.headers["x-proto"]}`);
      response.resume();
    });
    sent.on("error", reject).end();
  });
  expect(await subject("app.example.com")).toBe("app 200 https");
  expect(await subject("x.wild.example.com")).toBe("app 200 https");
  expect(await subject("other.example.com")).toBe("TRAEFIK DEFAULT CERT 200 https");
  const session = connectHttp2(`https://127.0.0.1:${securePort}`, { rejectUnauthorized: false, servername: "app.example.com" });
  cleanup.push(() => session.destroy());
  const stream = session.request({ ":method": "POST", ":path": "/", ":authority": "app.example.com" });
  stream.end("body");
  let text = "";
  stream.on("data", (chunk) => (text += chunk));
  const [headers] = await once(stream, "response");
  await once(stream, "end");
  expect([headers[":status"], headers["x-proto"], text]).toEqual([200, "https", "got body"]);
  kube.put(k.secrets, { metadata: { name: "tls", namespace: "default" }, type: "kubernetes.io/tls", data: { "tls.crt": b64("nonsense"), "tls.key": "" } });
  expect(await subject("app.example.com")).toMatch(/^TRAEFIK DEFAULT CERT/);
  await vi.waitFor(() => expect(kube.all(k.events).map((e) => e.reason)).toContain("InvalidCertificate"));
});

test("serves a renewed default certificate to clients with another server name and to those without one", async () => {
  const subject = async (options: object): Promise<string> => {
    const socket = connectTls({ host: "127.0.0.1", port: securePort, rejectUnauthorized: false, ...options });
    await once(socket, "secureConnect");
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return String(CN);
  };
  const subjects = async () => [await subject({ servername: "other.example.com" }), await subject({})];
  expect(await subjects()).toEqual(["TRAEFIK DEFAULT CERT", "TRAEFIK DEFAULT CERT"]);
  renew("renewed");
  expect(await subjects()).toEqual(["renewed", "renewed"]);
});

test("copies the Service's address into the status, and complains about what it cannot do", async () => {
  ingress("i", "app.example.com", "web");
  ingress("other", "x.example.com", "web", { ingressClassName: "nginx" });
  const addresses = (ingressName: string) => kube.read(k.ingresses, ingressName)!.status?.loadBalancer?.ingress;
  await vi.waitFor(() => expect(addresses("i")).toEqual([{ ip: "192.0.2.1" }]));
  const traefik = kube.read(k.services, "traefik", "kube-system")!;
  kube.put(k.services, { ...traefik, status: { loadBalancer: { ingress: [{ ip: "192.0.2.2", ports: [] }] } } });
  await vi.waitFor(() => expect(addresses("i")).toEqual([{ ip: "192.0.2.2" }]));
  kube.put(k.ingresses, { ...kube.read(k.ingresses, "i")!, status: { loadBalancer: { ingress: [{ ip: "169.1.1.1" }] } } });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(addresses("i"), "is not set back while another client may still be writing").toEqual([{ ip: "169.1.1.1" }]);
  await vi.waitFor(() => expect(addresses("i")).toEqual([{ ip: "192.0.2.2" }]), 4_000);
  expect(addresses("other")).toBeUndefined();
  ingress("auth", "auth.example.com", "web", {}, { "traefik.ingress.kubernetes.io/router.middlewares": "default-auth@kubernetescrd" });
  await vi.waitFor(() => expect(kube.all(k.events).map((e) => `${e.involvedObject.name} ${e.reason}`)).toContain("auth UnsupportedAnnotation"));
  expect((await get("auth.example.com")).status).toBe(404);
});

test("stops: the endpoint goes, requests in flight end", async () => {
  let finish: () => void = () => undefined;
  const { port: at } = await backend((_request, response) => {
    response.write("a");
    finish = () => response.end("b");
  });
  service("web", [at]);
  ingress("i", "app.example.com", "web");
  const running = get("app.example.com");
  await vi.waitFor(() => expect(finish).not.toBeUndefined());
  await new Promise((resolve) => setTimeout(resolve, 50));
  const stopped = stop();
  await vi.waitFor(() => expect(kube.read(k.endpointSlices, "traefik-node-1", "kube-system")).toBeUndefined());
  finish();
  expect((await running).body).toBe("ab");
  await stopped;
  await expect(get("app.example.com")).rejects.toThrow(/ECONNREFUSED/);
});
