import { createServer as createHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttps } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { Duplex, Readable, Writable } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import type { Obj } from "../resources/types.ts";
import { bootstrapRbacObjects } from "../auth/bootstrap-roles.ts";
import { createTokenReviewer } from "../auth/authenticate.ts";
import { createAuthorizer } from "../auth/rbac.ts";
import { testView } from "../auth/testing.ts";
import { createTokenKeys } from "../auth/tokens.ts";
import { type ApiRequest, type ApiResponse, parseRequestInfo } from "../server/request.ts";
import { rewriteLinks } from "./html.ts";
import { subresourceHandlers } from "./index.ts";
import { chooseContainer, parseProxyName, streamLocation } from "./locations.ts";
import { testCertificate, testPrivateKey } from "./testing.ts";

const ISSUER = "https://kubernetes.default.svc.cluster.local";
const root = { name: "root", groups: ["system:masters"] };
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

type Answer = (req: IncomingMessage, res: ServerResponse) => void;

async function server(answer: Answer, secure = false, onUpgrade?: (req: IncomingMessage, socket: Socket, head: Buffer) => void): Promise<number> {
  const made = secure
    ? createHttps({ key: testPrivateKey, cert: testCertificate, ca: testCertificate, requestCert: true, rejectUnauthorized: true }, answer)
    : createHttp(answer);
  if (onUpgrade) made.on("upgrade", (req, socket, head) => onUpgrade(req, socket as Socket, head));
  await new Promise<void>((resolve) => made.listen(0, "127.0.0.1", resolve));
  closers.push(() => (made.closeAllConnections(), made.close()));
  return (made.address() as AddressInfo).port;
}

const pod = (name: string, spec: object, status: object = {}): Obj =>
  ({ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "ns", uid: `uid-${name}` }, spec, status });

function world(kubeletPort = 1, ...objects: Obj[]) {
  const node: Obj = {
    apiVersion: "v1", kind: "Node", metadata: { name: "n1", uid: "uid-n1" },
    status: { addresses: [{ type: "Hostname", address: "n1" }, { type: "InternalIP", address: "127.0.0.1" }], daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } } },
  };
  const account: Obj = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "sa", namespace: "ns", uid: "uid-sa" } };
  const view = testView(node, account, ...bootstrapRbacObjects(), ...objects);
  const tokens = createTokenKeys({ privateKey: testPrivateKey, issuer: ISSUER, audiences: [ISSUER, "k3s"] });
  const pair = { cert: testCertificate, key: testPrivateKey, certPath: "", keyPath: "" };
  const made = subresourceHandlers({
    view, tokens, authorizer: createAuthorizer(view), reviewer: createTokenReviewer({ view, tokens }), mayProxyTo: async () => true, now: () => new Date(),
    pki: { ca: () => ({ cert: testCertificate, certPath: "" }), issue: async () => pair },
  });
  return { ...made, view };
}

class Response extends Writable {
  statusCode = 0;
  headers: Record<string, unknown> = {};
  text = "";
  headersSent = false;
  writeHead(status: number, headers: Record<string, unknown> = {}) {
    this.statusCode = status;
    Object.assign(this.headers, headers);
    return this;
  }
  flushHeaders() {}
  setHeader(name: string, value: unknown) {
    this.headers[name] = value;
  }
  override _write(chunk: Buffer, _: string, done: () => void) {
    this.text += chunk;
    done();
  }
}

function request(method: string, url: string, body?: object, headers = {}, user = root): ApiRequest {
  const bytes = body ? Buffer.from(JSON.stringify(body)) : Buffer.alloc(0);
  return {
    method, url, user, headers, remoteAddress: "", info: parseRequestInfo(method, url),
    query: new URL(url, "http://x").searchParams, signal: new AbortController().signal,
    body: async () => bytes, object: async () => JSON.parse(bytes.toString()), stream: Readable.from(body ? [bytes] : []),
  };
}

async function call(made: ReturnType<typeof world>, req: ApiRequest): Promise<Response> {
  const res = new Response();
  const { resource, subresource } = req.info;
  await made.handlers.get(subresource ? `${resource}/${subresource}` : resource)!(req, res as unknown as ApiResponse);
  return res;
}

const refusal = async (run: Promise<unknown>): Promise<string> => run.then(() => "", (error: Error & { code: number }) => `${error.code} ${error.message}`);

describe("pods/log", () => {
  const running = pod("p", { nodeName: "n1", containers: [{ name: "c" }] });
  it("streams from the node's kubelet under the server's certificate", async () => {
    let seen = "";
    const port = await server((req, res) => {
      seen = req.url!;
      res.end("line\n");
    }, true);
    const res = await call(world(port, running), request("GET", "/api/v1/namespaces/ns/pods/p/log?tailLines=5&follow=true&pretty=1"));
    expect(seen).toBe("/containerLogs/ns/p/c?follow=true&tailLines=5");
    expect([res.statusCode, res.headers["content-type"], res.text]).toEqual([200, "text/plain", "line\n"]);
  });
  it("gives the kubelet's refusal to the client", async () => {
    const port = await server((_, res) => res.writeHead(400).end('container "c" in pod "p" is waiting to start: ContainerCreating'), true);
    expect(await refusal(call(world(port, running), request("GET", "/api/v1/namespaces/ns/pods/p/log"))))
      .toBe('400 container "c" in pod "p" is waiting to start: ContainerCreating');
  });
  it("is empty before the pod has a node, and says when the kubelet is away", async () => {
    const pending = pod("q", { containers: [{ name: "c" }] });
    expect((await call(world(1, pending), request("GET", "/api/v1/namespaces/ns/pods/q/log"))).text).toBe("");
    expect(await refusal(call(world(1, running), request("GET", "/api/v1/namespaces/ns/pods/p/log"))))
      .toBe('500 Get "https://127.0.0.1:1/containerLogs/ns/p/c": dial tcp 127.0.0.1:1: connect: connection refused');
  });
  it("goes over a WebSocket, piece by piece", async () => {
    const port = await server((_, res) => res.end("one\ntwo\n"), true);
    const made = world(port, running);
    const front = createHttp();
    front.on("upgrade", (req, socket, head) => void made.upgrade(
      { ...request("GET", "/api/v1/namespaces/ns/pods/p/log?container=c"), headers: req.headers, stream: req }, socket, head));
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    closers.push(() => (front.closeAllConnections(), front.close()));
    const client = new WebSocket(`ws://127.0.0.1:${(front.address() as AddressInfo).port}/`, "binary.k8s.io");
    client.binaryType = "arraybuffer";
    let text = "";
    client.addEventListener("message", ({ data }) => (text += Buffer.from(data as ArrayBuffer).toString()));
    await new Promise((resolve) => client.addEventListener("close", resolve));
    expect([client.protocol, text]).toEqual(["binary.k8s.io", "one\ntwo\n"]);
  });
  it("checks the options", async () => {
    expect(await refusal(call(world(1, running), request("GET", "/api/v1/namespaces/ns/pods/p/log?tailLines=-1"))))
      .toBe('422 PodLogOptions "" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0');
  });
});

describe("chooseContainer", () => {
  const several = pod("p", { containers: [{ name: "a" }, { name: "b" }], initContainers: [{ name: "i" }] });
  it("takes the only one, an init one and an ephemeral one by name", () => {
    expect(chooseContainer(pod("p", { containers: [{ name: "a" }] }), "")).toBe("a");
    expect(chooseContainer(several, "i")).toBe("i");
    expect(chooseContainer(pod("p", { containers: [{ name: "a" }], ephemeralContainers: [{ name: "debug" }] }), "debug")).toBe("debug");
  });
  it("answers as upstream when it cannot be told", () => {
    expect(() => chooseContainer(several, "")).toThrow("a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]");
    expect(() => chooseContainer(several, "x")).toThrow("container x is not valid for pod p");
  });
});

describe("exec, attach and portforward", () => {
  const running = pod("p", { nodeName: "n1", containers: [{ name: "c" }] });
  const { view } = world(10250, running);
  it.each([
    ["exec", "command=sh&command=-c&command=ls+%2F&stdin=true&stdout=true&tty=true", "/exec/ns/p/c?input=1&output=1&tty=1&command=sh&command=-c&command=ls+%2F"],
    ["attach", "stdout=1&stderr=1", "/attach/ns/p/c?output=1&error=1"],
    ["portforward", "ports=80", "/portForward/ns/p?port=80"],
  ])("%s?%s asks the kubelet for %s", (kind, query, path) => {
    expect(streamLocation(view, kind, "ns", "p", new URLSearchParams(query))).toMatchObject({ host: "127.0.0.1", port: 10250, path });
  });
  it("needs a command, a stream, and a node", () => {
    expect(() => streamLocation(view, "exec", "ns", "p", new URLSearchParams("stdout=1"))).toThrow("you must specify a command");
    expect(() => streamLocation(view, "exec", "ns", "p", new URLSearchParams("command=ls"))).toThrow("at least one of stdin, stdout, stderr");
    const { view: other } = world(1, pod("q", { containers: [{ name: "c" }] }));
    expect(() => streamLocation(other, "attach", "ns", "q", new URLSearchParams("stdout=1"))).toThrow("pod q does not have a host assigned");
  });

  it("joins the sockets byte for byte", async () => {
    let head = "";
    const port = await server(() => {}, true, (req, socket) => {
      head = `${req.method} ${req.url} ${JSON.stringify(req.rawHeaders.filter((_, i, all) => all[i - (i % 2)]!.toLowerCase() === "x-stream-protocol-version"))} ${req.headers.authorization}`;
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n");
      socket.on("data", (chunk) => socket.write(chunk.toString().toUpperCase()));
    });
    const made = world(port, running);
    const [client, own] = pairOfSockets();
    const req = request("POST", "/api/v1/namespaces/ns/pods/p/exec?command=ls&stdout=true", undefined, {
      connection: "Upgrade", upgrade: "SPDY/3.1", "x-stream-protocol-version": "v4.channel.k8s.io, v3.channel.k8s.io", authorization: "Bearer secret",
    });
    await made.upgrade(req, own, Buffer.from("early "));
    client.write("late");
    const text = await readUntil(client, "LATE");
    expect(text).toBe("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nEARLY LATE");
    expect(head).toBe('POST /exec/ns/p/c?output=1&command=ls ["x-stream-protocol-version","v4.channel.k8s.io","x-stream-protocol-version","v3.channel.k8s.io"] undefined');
    client.destroy();
  });

  it("refuses a WebSocket whose protocols nobody knows, so that clients fall back", async () => {
    const socket = (protocol: string) => world(1, running).upgrade(request("GET", "/api/v1/namespaces/ns/pods/p/exec?command=ls&stdout=1", undefined, {
      connection: "Upgrade", upgrade: "websocket", "sec-websocket-protocol": protocol,
    }), pairOfSockets()[1], Buffer.alloc(0));
    expect(await refusal(socket("v9.channel.k8s.io"))).toBe("400 unable to upgrade: no supported subprotocol among v9.channel.k8s.io");
    expect(await refusal(socket("SPDY/3.1+portforward.k8s.io"))).toContain("400 unable to upgrade");
    expect(await refusal(socket("v4.channel.k8s.io"))).toContain("503 error trying to reach service");
  });

  /** A WebSocket of protocol v5 to `made`; resolves with what it gets until it is closed. */
  async function overWebSocket(made: ReturnType<typeof world>, query: string, send: readonly Buffer[]): Promise<readonly string[]> {
    const front = createHttp();
    front.on("upgrade", (req, socket, head) => void made.upgrade(
      { ...request("GET", `/api/v1/namespaces/ns/pods/p/exec?${query}`), headers: req.headers, stream: req }, socket, head));
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    closers.push(() => (front.closeAllConnections(), front.close()));
    const client = new WebSocket(`ws://127.0.0.1:${(front.address() as AddressInfo).port}/`, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
    client.binaryType = "arraybuffer";
    const got: string[] = [];
    client.addEventListener("open", () => send.forEach((message) => client.send(message)));
    client.addEventListener("message", ({ data }) => got.push(Buffer.from(data as ArrayBuffer).toString()));
    await new Promise((resolve) => client.addEventListener("close", resolve));
    return [client.protocol, ...got];
  }
  const u32 = (value: number): Buffer => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);
  const frame = (id: number, flags: number, text: string): Buffer => Buffer.concat([u32(id), u32(flags * 0x1000000 + text.length), Buffer.from(text)]);

  it("translates v5 of a WebSocket to the kubelet's SPDY, with the end of standard input", async () => {
    const status = JSON.stringify({ status: "Success" });
    const port = await server(() => {}, true, (req, socket) => {
      expect([req.method, req.url, req.headers["x-stream-protocol-version"]]).toEqual(["POST", "/exec/ns/p/c?input=1&output=1&command=cat", "v4.channel.k8s.io"]);
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n");
      let seen = Buffer.alloc(0);
      socket.on("data", (chunk: Buffer) => {
        seen = Buffer.concat([seen, chunk]);
        // Streams 1, 3 and 5 are error, stdin and stdout: what came on stdin goes back when it has ended.
        if (seen.includes(frame(3, 0, "in")) && seen.includes(frame(3, 1, ""))) socket.write(Buffer.concat([frame(5, 1, "IN"), frame(1, 1, status)]));
      });
      socket.on("error", () => {});
    });
    const got = await overWebSocket(world(port, running), "command=cat&stdin=1&stdout=1", [Buffer.from("\0in"), Buffer.from([255, 0])]);
    expect(got).toEqual(["v5.channel.k8s.io", "\x01IN", `\x03${status}`]);
  });

  it("tells the client of v5 what the kubelet refuses, and when it breaks off", async () => {
    const refusing = await server(() => {}, true, (_, socket) => socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot there"));
    const [, refused = ""] = await overWebSocket(world(refusing, running), "command=ls&stdout=1", []);
    expect([refused[0], JSON.parse(refused.slice(1))]).toMatchObject(["\x03", { status: "Failure", code: 500, message: "Internal error occurred: unable to upgrade connection: not there" }]);
    const breaking = await server(() => {}, true, (_, socket) => {
      socket.on("error", () => {});
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n");
      setTimeout(() => socket.destroy(), 20);
    });
    const [, broken = ""] = await overWebSocket(world(breaking, running), "command=ls&stdout=1", []);
    expect([broken[0], JSON.parse(broken.slice(1)).message]).toEqual(["\x03", "Internal error occurred: the connection to the container broke off"]);
  });

  it("asks for the right to create also when a WebSocket comes with GET", async () => {
    const reader = { name: "joe", groups: [] };
    const run = world(1, running).upgrade(request("GET", "/api/v1/namespaces/ns/pods/p/exec?command=ls&stdout=1", undefined, { connection: "Upgrade", upgrade: "websocket" }, reader), pairOfSockets()[1], Buffer.alloc(0));
    expect(await refusal(run)).toContain('User "joe" cannot create resource "pods/exec"');
  });

  it("asks a plain request to upgrade", async () => {
    expect(await refusal(call(world(1, running), request("POST", "/api/v1/namespaces/ns/pods/p/exec?command=ls&stdout=1")))).toBe("400 Upgrade request required");
  });
});

describe("proxies", () => {
  const page = '<a href="/rewriteme">x</a><img src=\'/i.png\'><a href="http://else.where/">y</a><p title="/no">';
  async function backend() {
    const seen: string[] = [];
    const port = await server((req, res) => {
      let body = "";
      req.on("data", (chunk) => (body += chunk));
      req.on("end", () => {
        seen.push(`${req.method} ${req.url} ${body} ${req.headers.authorization}`);
        if (req.url === "/page") return res.setHeader("content-type", "text/html; charset=utf-8").end(page);
        if (req.url === "/moved") return res.writeHead(302, { location: "/there" }).end();
        return res.end("plain");
      });
    });
    const web = pod("web", { containers: [{ name: "c", ports: [{ containerPort: port }] }] }, { podIP: "127.0.0.1" });
    const service: Obj = { apiVersion: "v1", kind: "Service", metadata: { name: "web", namespace: "ns" }, spec: { ports: [{ name: "http", port: 80 }] } };
    const slice: Obj = {
      apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", metadata: { name: "web-1", namespace: "ns", labels: { "kubernetes.io/service-name": "web" } },
      addressType: "IPv4", ports: [{ name: "http", port }], endpoints: [{ addresses: ["127.0.0.9"], conditions: { ready: false } }, { addresses: ["127.0.0.1"], conditions: { ready: true } }],
    };
    return { seen, port, made: world(1, web, service, slice) };
  }

  it("reach pods and services by name and port", async () => {
    const { made, seen, port } = await backend();
    for (const target of ["pods/web", `pods/http:web:${port}`, "services/web", "services/web:http", "services/http:web:80"]) {
      expect((await call(made, request("GET", `/api/v1/namespaces/ns/${target}/proxy/a%20b?c=d`))).text).toBe("plain");
    }
    expect(new Set(seen)).toEqual(new Set(["GET /a%20b?c=d  undefined"]));
  });
  it("passes bodies, and keeps credentials back", async () => {
    const { made, seen } = await backend();
    await call(made, request("POST", "/api/v1/namespaces/ns/pods/web/proxy/x", { a: 1 }, { authorization: "Bearer s" }));
    expect(seen).toEqual(['POST /x {"a":1} undefined']);
  });
  it("leads links and redirects back through the proxy", async () => {
    const { made } = await backend();
    const prefix = "/api/v1/namespaces/ns/services/web/proxy";
    expect((await call(made, request("GET", `${prefix}/page`))).text)
      .toBe(`<a href="${prefix}/rewriteme">x</a><img src='${prefix}/i.png'><a href="http://else.where/">y</a><p title="/no">`);
    expect((await call(made, request("GET", `${prefix}/moved`))).headers["location"]).toBe(`${prefix}/there`);
    expect((await call(made, request("GET", `${prefix}?q=1`))).headers["location"]).toBe(`${prefix}/?q=1`);
  });
  it("answers 503 when nothing is there", async () => {
    const { made } = await backend();
    expect(await refusal(call(made, request("GET", "/api/v1/namespaces/ns/services/web:nope/proxy/")))).toBe('503 no service port "nope" found for service "web"');
    made.view.remove(made.view.list("discovery.k8s.io", "endpointslices")[0]!);
    expect(await refusal(call(made, request("GET", "/api/v1/namespaces/ns/services/web/proxy/")))).toBe('503 no endpoints available for service "web"');
    expect(await refusal(call(made, request("GET", "/api/v1/namespaces/ns/pods/web:1/proxy/")))).toBe("503 error trying to reach service: dial tcp 127.0.0.1:1: connect: connection refused");
  });
  it("reads the name of a target", () => {
    expect(parseProxyName("https:a:b")).toEqual({ scheme: "https", name: "a", port: "b" });
    expect(() => parseProxyName("ftp:a:b")).toThrow("invalid proxy request");
  });
  it("rewrites only what holds URLs", () => {
    expect(rewriteLinks('<form ACTION="/x"><div data="/y">', { prefix: "/p", backend: "h:1" })).toBe('<form ACTION="/p/x"><div data="/y">');
    expect(rewriteLinks('<a href="http://h:1/z">', { prefix: "/p", backend: "h:1" })).toBe('<a href="/p/z">');
  });
});

describe("serviceaccounts/token", () => {
  const bound = pod("p", { serviceAccountName: "sa", nodeName: "n1", containers: [] });
  const ask = (spec: object, made = world(1, bound)) => call(made, request("POST", "/api/v1/namespaces/ns/serviceaccounts/sa/token", { spec }));
  it("mints a token bound to a pod and its node", async () => {
    const res = await ask({ boundObjectRef: { kind: "Pod", apiVersion: "v1", name: "p", uid: "uid-p" } });
    const body = JSON.parse(res.text);
    expect(res.statusCode).toBe(201);
    expect(body).toMatchObject({ kind: "TokenRequest", spec: { audiences: [ISSUER, "k3s"], expirationSeconds: 3600 } });
    const claims = JSON.parse(Buffer.from(body.status.token.split(".")[1], "base64url").toString());
    expect(claims["kubernetes.io"]).toMatchObject({ namespace: "ns", pod: { name: "p", uid: "uid-p" }, node: { name: "n1", uid: "uid-n1" } });
  });
  it.each([
    [{ expirationSeconds: 10 }, '422 TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes'],
    [{ boundObjectRef: { kind: "Pod", apiVersion: "v1", name: "nope" } }, '404 pods "nope" not found'],
    [{ boundObjectRef: { kind: "Pod", apiVersion: "v1", name: "p", uid: "other" } }, '409 Operation cannot be fulfilled on pods "p": the UID in the bound object reference (other) does not match'],
    [{ boundObjectRef: { kind: "Job", apiVersion: "batch/v1", name: "j" } }, "400 cannot bind token to object of type batch/v1, Kind=Job"],
  ])("refuses %j", async (spec, message) => {
    expect(await refusal(ask(spec))).toContain(message);
  });
});

describe("reviews", () => {
  const post = (group: string, plural: string, spec: object, user = root, namespace = "") =>
    call(world(), request("POST", `/apis/${group}/v1${namespace && `/namespaces/${namespace}`}/${plural}`, { spec }, {}, user)).then((res) => JSON.parse(res.text));
  it("answers access reviews", async () => {
    const resourceAttributes = { verb: "get", resource: "pods", namespace: "ns" };
    expect((await post("authorization.k8s.io", "selfsubjectaccessreviews", { resourceAttributes })).status.allowed).toBe(true);
    expect((await post("authorization.k8s.io", "subjectaccessreviews", { user: "joe", resourceAttributes })).status).toEqual({ allowed: false });
    expect((await post("authorization.k8s.io", "localsubjectaccessreviews", { user: "x", groups: ["system:masters"], resourceAttributes }, root, "ns")).status.allowed).toBe(true);
  });
  it("lists the rules of the asker", async () => {
    const joe = { name: "joe", groups: ["system:authenticated"] };
    const { status } = await post("authorization.k8s.io", "selfsubjectrulesreviews", { namespace: "ns" }, joe);
    expect(status.resourceRules).toContainEqual({ verbs: ["create"], apiGroups: ["authentication.k8s.io"], resources: ["selfsubjectreviews"] });
    expect(status.incomplete).toBe(false);
    const node = { name: "system:node:n1", groups: ["system:nodes", "system:authenticated"] };
    expect((await post("authorization.k8s.io", "selfsubjectrulesreviews", { namespace: "ns" }, node)).status)
      .toMatchObject({ incomplete: true, evaluationError: "node authorizer does not support user rule resolution" });
  });
  it("takes field selectors into account", async () => {
    const may = async (fieldSelector?: object) => (await post("authorization.k8s.io", "subjectaccessreviews", {
      user: "system:node:n1", groups: ["system:nodes"], resourceAttributes: { verb: "list", resource: "pods", ...(fieldSelector && { fieldSelector }) },
    })).status.allowed;
    const requirement = (value: string) => ({ requirements: [{ key: "spec.nodeName", operator: "In", values: [value] }] });
    expect([await may(), await may({ rawSelector: "spec.nodeName=n1" }), await may(requirement("n1")), await may(requirement("n2"))]).toEqual([false, true, true, false]);
  });
  it("says who asks, and whose a token is", async () => {
    expect((await post("authentication.k8s.io", "selfsubjectreviews", {})).status).toEqual({ userInfo: { username: "root", groups: ["system:masters"] } });
    expect((await post("authentication.k8s.io", "tokenreviews", { token: "nonsense" })).status.authenticated).toBe(false);
    const made = world();
    const minted = JSON.parse((await call(made, request("POST", "/api/v1/namespaces/ns/serviceaccounts/sa/token", { spec: {} }))).text);
    const reviewed = JSON.parse((await call(made, request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", { spec: { token: minted.status.token } }))).text);
    expect(reviewed.status).toMatchObject({ authenticated: true, user: { username: "system:serviceaccount:ns:sa", uid: "uid-sa" }, audiences: [ISSUER, "k3s"] });
  });
});

/** Two ends of one connection in memory. */
function pairOfSockets(): [Duplex, Duplex] {
  const ends: Duplex[] = [];
  for (const other of [1, 0]) {
    ends.push(new Duplex({
      read() {},
      write(chunk, _, done) {
        ends[other]!.push(chunk);
        done();
      },
    }));
  }
  return [ends[0]!, ends[1]!];
}

async function readUntil(stream: Duplex, end: string): Promise<string> {
  let text = "";
  for await (const chunk of stream) {
    text += chunk;
    if (text.endsWith(end)) break;
  }
  return text;
}
