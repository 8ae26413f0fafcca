/** Clients that dawdle, send nonsense instead of HTTP, or read nothing: the others do not notice. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./testing.ts";

let folder: string;
let api: TestServer;
let port: number;
let client: ConnectionOptions;
const bugs: unknown[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-faults-"));
  const openssl = (...args: string[]): void => void execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...key, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt");
  openssl("req", "-new", ...key, "-subj", "/O=system:masters/CN=admin", "-keyout", "admin.key", "-out", "admin.csr", "-addext", "subjectAltName=IP:127.0.0.1");
  openssl("x509", "-req", "-in", "admin.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy", "-out", "admin.crt");
  const read = (name: string): string => readFileSync(join(folder, name), "utf8");
  api = await startTestServer({ onError: (error) => bugs.push(error), limits: { requestTimeout: 1500 } });
  ({ port } = await api.listen({
    cert: read("admin.crt"), key: read("admin.key"), clientCas: [read("ca.crt")], address: "127.0.0.1", port: 0,
    headersTimeout: 1000, connectionsCheckingInterval: 200,
  }));
  client = { host: "127.0.0.1", port, ca: read("ca.crt"), cert: read("admin.crt"), key: read("admin.key") };
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});

function get(path: string): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const req = request({ ...client, path, agent: false }, (res) => {
      let text = "";
      res.on("data", (chunk: Buffer) => (text += chunk));
      res.on("end", () => resolve({ status: res.statusCode!, text }));
    });
    req.on("error", reject);
    req.end();
  });
}

function open(options: ConnectionOptions = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...client, ALPNProtocols: ["http/1.1"], ...options }, () => resolve(socket));
    socket.on("error", reject);
  });
}

/** Resolves when the server has ended the connection, with what it said. */
const ended = (socket: TLSSocket): Promise<string> => new Promise((resolve) => {
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.on("close", () => resolve(text));
});

describe("a server with bad clients", () => {
  test("ends the connections of 200 slow clients, while others are served", async () => {
    const slow = await Promise.all(Array.from({ length: 200 }, () => open()));
    const over = Promise.all(slow.map(ended));
    const timer = setInterval(() => slow.forEach((socket, i) => socket.writable && socket.write(i % 2 ? "X-A: b\r\n" : "G")), 300);
    expect((await get("/livez")).status).toBe(200);
    const start = performance.now();
    await over;
    clearInterval(timer);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test("answers or ends 300 connections that send no HTTP", async () => {
    const line = fc.oneof(
      fc.constantFrom("GET / HTTP/1.1", "GET  /livez HTTP/9.9", "get / http/1.1", "GET", "PRI * HTTP/2.0", "POST /api HTTP/1.1", "CONNECT x:1 HTTP/1.1", "GET http://evil/ HTTP/1.1", "GET * HTTP/1.1"),
      fc.string({ unit: "binary", maxLength: 40 }),
    );
    const header = fc.oneof(fc.constantFrom("Host: x", "Content-Length: -1", "Content-Length: 5\r\nContent-Length: 6", "Transfer-Encoding: chunked\r\nContent-Length: 3", "Transfer-Encoding: nonsense", ": x", "A\0: b", "Connection: Upgrade\r\nUpgrade: websocket", "Expect: 100-continue", "Authorization: Bearer \xff"), fc.string({ unit: "binary", maxLength: 20 }));
    const bytes = fc.tuple(line, fc.array(header, { maxLength: 4 }), fc.string({ unit: "binary", maxLength: 30 })).map(([first, headers, body]) => Buffer.from(`${[first, ...headers].join("\r\n")}\r\n\r\n${body}`, "latin1"));
    const all = fc.sample(bytes, 300);
    for (let at = 0; at < all.length; at += 50) {
      await Promise.all(all.slice(at, at + 50).map(async (payload) => {
        const socket = await open();
        const over = ended(socket);
        socket.on("error", () => {});
        socket.end(payload);
        const text = await over;
        expect(text === "" || /^HTTP\/1\.1 [1234]\d\d /.test(text), JSON.stringify([payload.toString("latin1"), text.slice(0, 200)])).toBe(true);
      }));
    }
    expect((await get("/livez")).text).toBe("ok");
    expect(bugs).toEqual([]);
  });

  test.each([["as it is", "", 5], ["compressed", "Accept-Encoding: gzip\r\n", 1]])("does not keep what a client will not read: a large list, %s, ends with the request's time", async (_, header, clients) => {
    for (let i = 0; i < 60; i++) await api.http("POST", "/api/v1/namespaces/default/configmaps", { metadata: { name: `large-${i}` }, data: { value: randomBytes(200_000).toString("base64") } });
    const whole = (await get("/api/v1/configmaps")).text.length;
    expect(whole).toBeGreaterThan(16_000_000);
    const stuck = await Promise.all(Array.from({ length: clients }, async () => {
      const socket = await open();
      socket.pause();
      socket.write(`GET /api/v1/configmaps HTTP/1.1\r\nHost: x\r\n${header}\r\n`);
      return socket;
    }));
    const over = Promise.all(stuck.map(ended));
    for (const socket of stuck) socket.pause();
    await sleep(4000);
    for (const socket of stuck) socket.resume();
    for (const text of await over) {
      expect(text).toMatch(/^HTTP\/1\.1 200 /);
      expect(text.length).toBeLessThan(11_000_000);
    }
    expect((await get("/metrics")).text).toMatch(/apiserver_flowcontrol_current_executing_requests\{priority_level="exempt"\} 1\n/);
    expect((await get("/api/v1/configmaps")).text.length).toBe(whole);
  });

  test("cuts off a watcher that does not read", async () => {
    const socket = await open();
    socket.pause();
    socket.write("GET /api/v1/configmaps?watch=1&resourceVersion=0 HTTP/1.1\r\nHost: x\r\n\r\n");
    const over = ended(socket);
    socket.pause();
    await sleep(200);
    for (let i = 0; i < 150; i++) await api.http("PATCH", "/api/v1/namespaces/default/configmaps/large-0", { data: { round: String(i) } });
    socket.resume();
    const text = await over;
    expect(text).not.toMatch(/\r\n0\r\n\r\n$/);
  });

  test("survives a session of HTTP/2 that resets every stream it opens", async () => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, client);
    session.on("error", () => {});
    for (let i = 0; i < 300; i++) {
      const stream = session.request({ ":path": "/api/v1/configmaps" });
      stream.on("error", () => {});
      stream.close(8);
    }
    await sleep(200);
    session.destroy();
    expect((await get("/livez")).text).toBe("ok");
    expect(bugs).toEqual([]);
  });
});
