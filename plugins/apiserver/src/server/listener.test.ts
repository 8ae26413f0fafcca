import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:https";
import { connect as connectHttp2 } from "node:http2";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type SecureContextOptions, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Listener, ListenerOptions } from "./listener.ts";
import { startTestServer, testCluster, type TestServer } from "./testing.ts";

let folder: string;
let api: TestServer;
let listener: Listener;
let server: Pick<ListenerOptions, "cert" | "key" | "clientCas" | "requestHeaderCas" | "address" | "port">;

const read = (name: string): string => readFileSync(join(folder, name), "utf8");
const openssl = (...args: string[]): void => void execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });

/** A CA `name` and certificates signed by it. */
function authority(name: string): void {
  openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.crt`);
}
function certificate(ca: string, name: string, subject: string, san = ""): void {
  openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject, "-keyout", `${name}.key`, "-out", `${name}.csr`, ...(san ? ["-addext", `subjectAltName=${san}`] : []));
  openssl("x509", "-req", "-in", `${name}.csr`, "-CA", `${ca}.crt`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-copy_extensions", "copy", "-out", `${name}.crt`);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-tls-"));
  for (const name of ["server-ca", "client-ca", "other-ca", "request-header-ca"]) authority(name);
  certificate("server-ca", "server", "/CN=kube-apiserver", "IP:127.0.0.1,DNS:localhost");
  certificate("client-ca", "admin", "/O=system:masters/CN=system:admin");
  certificate("client-ca", "user", "/CN=alice");
  certificate("other-ca", "stranger", "/O=system:masters/CN=stranger");
  certificate("request-header-ca", "proxy", "/CN=system:auth-proxy");
  certificate("request-header-ca", "other-proxy", "/CN=someone");
  certificate("request-header-ca", "proxy-as-admin", "/O=system:masters/CN=system:admin");
  certificate("client-ca", "user-as-proxy", "/CN=system:auth-proxy");
  api = await startTestServer({ open: new Map([["/ping", (_req, res) => { res.writeHead(200, {}); res.end("pong"); }]]) });
  server = { cert: read("server.crt"), key: read("server.key"), clientCas: [read("client-ca.crt")], requestHeaderCas: [read("request-header-ca.crt")], address: "127.0.0.1", port: 0 };
  listener = await api.listen(server);
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});

interface Answer { readonly status: number; readonly text: string; readonly protocol: string }
const client = (name?: string): SecureContextOptions => ({ ca: read("server-ca.crt"), ...(name && { cert: read(`${name}.crt`), key: read(`${name}.key`) }) });

function http1(path: string, name?: string, options: object = {}, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ host: "127.0.0.1", port: listener.port, path, agent: false, ...client(name), ...options }, (res) => {
      let text = "";
      res.on("data", (chunk: Buffer) => { text += chunk.toString(); });
      res.on("end", () => resolve({ status: res.statusCode!, text, protocol: `HTTP/${res.httpVersion}` }));
    });
    req.on("error", reject);
    req.end(body);
  });
}

describe("the listener", () => {
  test("serves HTTP/1.1", async () => {
    const { status, text, protocol } = await http1("/api/v1/namespaces/default", "admin");
    expect([status, protocol, JSON.parse(text).metadata.name]).toEqual([200, "HTTP/1.1", "default"]);
  });

  test("serves HTTP/2 with many streams on one connection", async () => {
    const session = connectHttp2(`https://127.0.0.1:${listener.port}`, client("admin"));
    const one = (i: number): Promise<number> => new Promise((resolve, reject) => {
      const stream = session.request({ ":method": "POST", ":path": "/api/v1/namespaces/default/configmaps", "content-type": "application/json" });
      stream.on("response", (headers) => resolve(headers[":status"]!));
      stream.on("error", reject);
      stream.end(JSON.stringify({ metadata: { name: `h2-${i}` } }));
      stream.resume();
    });
    expect(await Promise.all(Array.from({ length: 20 }, (_, i) => one(i)))).toEqual(Array.from({ length: 20 }, () => 201));
    session.destroy();
  });

  test("streams a watch over both protocols", async () => {
    const path = "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dwatched";
    const first = new Promise<string>((resolve) => {
      const req = request({ host: "127.0.0.1", port: listener.port, path, agent: false, ...client("admin") }, (res) => {
        res.once("data", (chunk: Buffer) => {
          resolve(chunk.toString());
          req.destroy();
        });
      });
      req.on("error", () => {});
      req.end();
    });
    const session = connectHttp2(`https://127.0.0.1:${listener.port}`, client("admin"));
    const stream = session.request({ ":path": path });
    const second = new Promise<string>((resolve) => stream.once("data", (chunk: Buffer) => resolve(chunk.toString())));
    await new Promise((resolve) => stream.once("response", resolve));
    await http1("/api/v1/namespaces/default/configmaps", "admin", { method: "POST", headers: { "content-type": "application/json" } }, '{"metadata":{"name":"watched"}}');
    for (const line of await Promise.all([first, second])) expect(JSON.parse(line)).toMatchObject({ type: "ADDED", object: { metadata: { name: "watched" } } });
    session.destroy();
  });

  test("streams a watch over a WebSocket", async () => {
    const { WebSocket } = await import("ws");
    const path = "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dsocket";
    const socket = new WebSocket(`wss://127.0.0.1:${listener.port}${path}`, client("admin") as object);
    await new Promise((resolve) => socket.once("open", resolve));
    const message = new Promise<string>((resolve) => socket.once("message", (data: Buffer) => resolve(data.toString())));
    await http1("/api/v1/namespaces/default/configmaps", "admin", { method: "POST", headers: { "content-type": "application/json" } }, '{"metadata":{"name":"socket"}}');
    expect(JSON.parse(await message)).toMatchObject({ type: "ADDED", object: { metadata: { name: "socket" } } });
    socket.terminate();
  });

  const users: readonly [string, string | undefined, number][] = [
    ["without a certificate", undefined, 401], ["with a certificate of another authority", "stranger", 401],
    ["without rights", "user", 403], ["as the admin", "admin", 200],
  ];
  test.each(users)("answers a client %s", async (_, name, status) => {
    const answer = await http1("/api/v1/secrets", name);
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text)).toMatchObject(status === 200 ? { kind: "SecretList" } : { kind: "Status", code: status });
  });

  const REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
  const CREDENTIAL = "authentication.kubernetes.io/credential-id";
  const headers = { "x-remote-user": "bob", "x-remote-group": ["dev", "ops"], "x-remote-extra-a%2fb": "c", "content-type": "application/json" };
  test("names the certificate of a user by its hash", async () => {
    const hash = createHash("sha256").update(new X509Certificate(read("user.crt")).raw).digest("hex");
    const { text } = await http1(REVIEW, "user", { method: "POST", headers: { "content-type": "application/json" } }, "{}");
    expect(JSON.parse(text).status.userInfo.extra).toEqual({ [CREDENTIAL]: [`X509SHA256=${hash}`] });
  });

  const proxied: readonly [string, string | undefined, object | number][] = [
    ["a front proxy", "proxy", { username: "bob", groups: ["dev", "ops", "system:authenticated"], extra: { "a/b": ["c"] } }],
    ["another client of the proxies' authority", "other-proxy", 401],
    ["an admin by the proxies' authority", "proxy-as-admin", 401],
    ["a client that has the proxy's name", "user-as-proxy", { username: "system:auth-proxy", groups: ["system:authenticated"], extra: { [CREDENTIAL]: [expect.stringMatching(/^X509SHA256=[0-9a-f]{64}$/)] } }],
    ["a user", "user", { username: "alice", groups: ["system:authenticated"], extra: { [CREDENTIAL]: [expect.stringMatching(/^X509SHA256=/)] } }],
    ["nobody", undefined, 401], ["a stranger", "stranger", 401],
  ];
  test.each(proxied)("takes the user from headers of a front proxy alone: %s", async (_, name, expected) => {
    const { status, text } = await http1(REVIEW, name, { method: "POST", headers }, "{}");
    expect(status === 201 ? JSON.parse(text).status.userInfo : status, text).toEqual(expected);
  });

  test("knows nobody when a front proxy names none, over HTTP/2 either", async () => {
    expect((await http1("/api", "proxy")).status).toBe(401);
    const session = connectHttp2(`https://127.0.0.1:${listener.port}`, client("proxy"));
    const statusOf = (extra: object): Promise<number> => new Promise((resolve) => {
      const stream = session.request({ ":path": "/api", ...extra });
      stream.on("response", ({ ":status": status }) => resolve(status!));
      stream.resume();
    });
    expect([await statusOf({}), await statusOf({ "x-remote-user": "bob" })]).toEqual([401, 200]);
    session.destroy();
  });

  test("leaves only what K3s leaves open without authentication", async () => {
    expect((await http1("/ping")).text).toBe("pong");
    for (const path of ["/livez", "/readyz", "/version", "/metrics", "/api"]) expect((await http1(path)).status).toBe(401);
  });

  test("refuses TLS below 1.2", async () => {
    await expect(http1("/ping", undefined, { maxVersion: "TLSv1.1", minVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" })).rejects.toThrow();
  });

  test("answers a broken body with 400 and goes on", async () => {
    const options = { method: "POST", headers: { "content-type": "application/json" } };
    const { status, text } = await http1("/api/v1/namespaces/default/configmaps", "admin", options, '{"metadata":');
    expect([status, JSON.parse(text).reason]).toEqual([400, "BadRequest"]);
    expect((await http1("/livez", "admin")).text).toBe("ok");
  });

  test("says who has the port, and how to choose another", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    await expect(api.listen({ ...server, port })).rejects.toMatchObject({
      code: "K3SP_PORT_IN_USE", message: expect.stringMatching(new RegExp(`^127\\.0\\.0\\.1:${port} is in use by .+ \\(process ${process.pid}\\)$`)), fix: expect.stringContaining("--https-listen-port"),
    });
    other.close();
  });

  test.each(["10.255.255.9", "fd00:ffff::9", "fe80::1"])("says that %s is not an address of this machine", async (address) => {
    await expect(api.listen({ ...server, address })).rejects.toMatchObject({
      code: "K3SP_CONFIG_INVALID", message: `bind-address: ${address} is not an address of this machine`, fix: expect.stringContaining("--bind-address"),
    });
  });

  test("takes 100 requests at the same time on a connection of HTTP/2, and ends one without any; one with a silent watch stays", async () => {
    const second = await api.listen({ ...server, idleTimeout: 300 });
    const connect = () => connectHttp2(`https://127.0.0.1:${second.port}`, client("admin"));
    const [idle, watching] = [connect(), connect()];
    for (const session of [idle, watching]) session.on("error", () => {});
    const ended = once(idle, "goaway");
    const [settings] = await once(idle, "remoteSettings");
    expect(settings.maxConcurrentStreams).toBe(100);
    let watchingEnds = false;
    watching.on("goaway", () => (watchingEnds = true));
    const stream = watching.request({ ":path": "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dlate" });
    await once(stream, "response");
    await ended;
    // Twice as long as any session may be idle, and nothing has moved.
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect([watchingEnds, stream.closed]).toEqual([false, false]);
    const event = once(stream, "data");
    await http1("/api/v1/namespaces/default/configmaps", "admin", { method: "POST", headers: { "content-type": "application/json" } }, '{"metadata":{"name":"late"}}');
    expect(String((await event)[0])).toContain('"name":"late"');
    // The timeout begins when the last stream ends.
    stream.close();
    const at = performance.now();
    await once(watching, "goaway");
    expect(performance.now() - at).toBeGreaterThanOrEqual(290);
    watching.destroy();
    await second.close();
  });

  test("a renewed certificate serves new connections, and open ones go on", async () => {
    const second = await api.listen(server);
    const open = connectHttp2(`https://127.0.0.1:${second.port}`, client("admin"));
    const status = () => new Promise((resolve) => open.request({ ":path": "/livez" }).on("response", (headers) => resolve(headers[":status"])).end());
    expect(await status()).toBe(200);
    certificate("server-ca", "renewed", "/CN=kube-apiserver", "IP:127.0.0.1");
    second.renew({ cert: read("renewed.crt"), key: read("renewed.key") });
    const fresh = connectTls({ host: "127.0.0.1", port: second.port, ...client("admin") });
    await once(fresh, "secureConnect");
    expect(fresh.getPeerX509Certificate()!.toString()).toBe(read("renewed.crt"));
    expect(await status()).toBe(200);
    fresh.destroy();
    open.destroy();
    await second.close();
  });

  test("verifies new connections by the authorities of now, and leaves open ones alone", async () => {
    const second = await api.listen(server);
    const at = { port: second.port };
    const open = connectHttp2(`https://127.0.0.1:${second.port}`, client("admin"));
    const status = () => new Promise((resolve) => open.request({ ":path": "/livez" }).on("response", (headers) => resolve(headers[":status"])).end());
    const known = connectTls({ host: "127.0.0.1", ...at, ...client("admin") });
    const [session] = await once(known, "session");
    expect([await status(), (await http1("/livez", "admin", at)).status, (await http1("/livez", "stranger", at)).status]).toEqual([200, 200, 401]);
    second.renew({ clientCas: [read("other-ca.crt")], requestHeaderCas: [] });
    expect([await status(), (await http1("/livez", "admin", at)).status, (await http1("/livez", "stranger", at)).status]).toEqual([200, 401, 200]);
    expect((await http1("/livez", "admin", { ...at, session })).status).toBe(401);
    expect((await http1(REVIEW, "proxy", { ...at, method: "POST", headers }, "{}")).status).toBe(401);
    second.renew({ clientCas: [read("other-ca.crt"), read("client-ca.crt")], requestHeaderCas: [read("request-header-ca.crt")] });
    expect([(await http1("/livez", "admin", at)).status, (await http1("/livez", "stranger", at)).status]).toEqual([200, 200]);
    expect(JSON.parse((await http1(REVIEW, "proxy", { ...at, method: "POST", headers }, "{}")).text).status.userInfo.username).toBe("bob");
    known.destroy();
    open.destroy();
    await second.close();
  });

  test("closes within two seconds although watches are open", async () => {
    const second = await api.listen(server);
    const session = connectHttp2(`https://127.0.0.1:${second.port}`, client("admin"));
    session.on("error", () => {});
    const stream = session.request({ ":path": "/api/v1/configmaps?watch=1" });
    stream.on("error", () => {});
    await new Promise((resolve) => stream.once("response", resolve));
    const start = performance.now();
    await second.close();
    expect(performance.now() - start).toBeLessThan(2000);
  });

  /** Everything that comes on a connection that sends `bytes`, until it is closed. */
  function raw(port: number, bytes: string, after?: (socket: TLSSocket) => void): Promise<string> {
    return new Promise((resolve) => {
      const socket = connectTls({ host: "127.0.0.1", port, ...client("admin"), ALPNProtocols: ["http/1.1"] }, () => {
        socket.write(bytes);
        after?.(socket);
      });
      let text = "";
      socket.on("data", (chunk: Buffer) => (text += chunk));
      socket.on("error", () => {});
      socket.on("close", () => resolve(text));
    });
  }

  test("takes heads of up to a MiB, and answers 431 beyond", async () => {
    expect((await http1("/livez", "admin", { headers: { "x-long": "a".repeat(500_000) } })).text).toBe("ok");
    expect((await http1(`/api/v1/namespaces/default/pods?labelSelector=a!%3D${"b".repeat(60)}${"%2Ca!%3Db".repeat(20_000)}`, "admin")).status).toBe(200);
    expect(await raw(listener.port, `GET /livez HTTP/1.1\r\nHost: x\r\nx-long: ${"a".repeat(1_100_000)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("answers 413 to a body of more than 3 MiB, over both protocols, and reads no more of it", async () => {
    const options = { method: "POST", headers: { "content-type": "application/json" } };
    const { status, text } = await http1("/api/v1/namespaces/default/configmaps", "admin", options, " ".repeat(3 * 1024 * 1024 + 1));
    expect([status, JSON.parse(text)]).toMatchObject([413, { reason: "RequestEntityTooLarge", message: "Request entity too large: limit is 3145728" }]);
    const session = connectHttp2(`https://127.0.0.1:${listener.port}`, client("admin"));
    const stream = session.request({ ":method": "POST", ":path": "/api/v1/namespaces/default/configmaps", "content-type": "application/json" });
    stream.on("error", () => {});
    const answered = new Promise<number>((resolve) => stream.on("response", (headers) => resolve(headers[":status"]!)));
    const ended = new Promise((resolve) => stream.on("close", resolve));
    stream.resume();
    const piece = Buffer.alloc(64 * 1024, " ");
    const pump = (): void => void (stream.writable && stream.write(piece, () => setImmediate(pump)));
    pump();
    expect(await answered).toBe(413);
    await ended;
    session.destroy();
  });

  describe("with short limits", () => {
    let short: TestServer;
    let port: number;
    beforeAll(async () => {
      short = await startTestServer({ limits: { requestTimeout: 200 } });
      port = (await short.listen({ ...server, headersTimeout: 300, connectionsCheckingInterval: 100 })).port;
    });
    afterAll(() => short.close());

    test.each([
      ["sends nothing", "", undefined],
      ["sends its head byte by byte", "GET /livez HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n"],
    ])("ends the connection of a client that %s", async (_, first, more) => {
      const start = performance.now();
      const text = await raw(port, first, (socket) => {
        const timer = setInterval(() => more && socket.writable && socket.write(more), 50);
        socket.on("close", () => clearInterval(timer));
      });
      expect(performance.now() - start).toBeLessThan(3000);
      expect(text).toMatch(/^(HTTP\/1\.1 408 [\s\S]*)?$/);
    });

    test("answers 504 to a body that does not come, and ends the connection", async () => {
      const text = await raw(port, "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
      expect(text).toMatch(/^HTTP\/1\.1 504 /);
      expect(text).toContain('"message":"Timeout: request did not complete within requested timeout - context deadline exceeded"');
      expect(text).toContain('"reason":"Timeout"');
    });

    test("lets a watch go on", async () => {
      const text = await new Promise<string>((resolve) => {
        const req = request({ host: "127.0.0.1", port, path: "/api/v1/configmaps?watch=1&timeout=1ms&fieldSelector=metadata.name%3Dlate", agent: false, ...client("admin") }, (res) => {
          res.once("data", (chunk: Buffer) => {
            resolve(chunk.toString());
            req.destroy();
          });
          setTimeout(() => void short.http("POST", "/api/v1/namespaces/default/configmaps", { metadata: { name: "late" } }), 400);
        });
        req.on("error", () => {});
        req.end();
      });
      expect(text).toContain('"name":"late"');
    });

    test("refuses a timeout that is no duration", async () => {
      const { status, body } = await short.http("GET", "/api/v1/nodes?timeout=soon");
      expect([status, body.message]).toEqual([400, 'invalid timeout specified in the request URL - time: invalid duration "soon"']);
      expect((await short.http("GET", "/api/v1/nodes?timeout=1m30s")).status).toBe(200);
    });
  });

  test("the first objects name the port that is really listened at", async () => {
    const anywhere = await startTestServer({ cluster: { ...testCluster, httpsListenPort: 0 }, bootstrap: false });
    const { port } = await anywhere.listen(server);
    await anywhere.bootstrap();
    const get = async (url: string) => (await anywhere.http("GET", url)).body;
    expect((await get("/api/v1/namespaces/default/endpoints/kubernetes")).subsets[0].ports[0].port).toBe(port);
    expect((await get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")).ports[0].port).toBe(port);
    expect((await get("/api/v1/namespaces/default/services/kubernetes")).spec.ports[0].targetPort).toBe(port);
    expect((await get("/api")).serverAddressByClientCIDRs[0].serverAddress).toBe(`192.0.2.1:${port}`);
    await anywhere.close();
  });

  test("stops in order: readiness fails, what runs is answered, watches end, idle connections go", async () => {
    const going = await startTestServer({ limits: { shutdownDelay: 150 } });
    const { port } = await going.listen(server);
    const slow = raw(port, "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n", (socket) =>
      void setTimeout(() => socket.write('{"metadata":{"name":"slow"}} '), 400));
    const idle = raw(port, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    const watching = raw(port, "GET /api/v1/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    await new Promise((resolve) => setTimeout(resolve, 100));
    const closed = going.close();
    const readiness = await going.http("GET", "/readyz");
    expect([readiness.status, readiness.text]).toEqual([500, expect.stringContaining("[-]shutdown failed")]);
    expect((await going.http("GET", "/livez")).status).toBe(200);
    await closed;
    expect(await slow).toMatch(/^HTTP\/1\.1 201 /);
    expect(await watching).toMatch(/\r\n0\r\n\r\n$/);
    expect(await idle).toMatch(/^HTTP\/1\.1 200 /);
  });
});
