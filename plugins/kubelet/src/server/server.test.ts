import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Pki } from "@k3s-p/plugin-api/slots";
import { harness, testOptions, testPod, type Harness } from "../testing/harness.ts";
import { stats } from "./stats.ts";
import { kubeletServer, type KubeletServer } from "./server.ts";

let h: Harness;
let server: KubeletServer;
let streams: net.Server;
let dir: string;

const read = (name: string): string => readFileSync(join(dir, name), "utf8");
const openssl = (...args: string[]): void => void execFileSync("openssl", args, { cwd: dir, stdio: "ignore" });

function authority(name: string): void {
  openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", `${name}.key`, "-out", `${name}.crt`, "-subj", `/CN=${name}`, "-days", "2");
}
function leaf(name: string, ca: string, subject: string): void {
  openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", subject);
  openssl("x509", "-req", "-in", `${name}.csr`, "-CA", `${ca}.crt`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-out", `${name}.crt`, "-days", "2");
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "kubelet-server-"));
  authority("client-ca");
  authority("server-ca");
  authority("other-ca");
  leaf("admin", "client-ca", "/O=system:masters/CN=admin");
  leaf("apiserver", "client-ca", "/CN=kube-apiserver");
  leaf("reader", "client-ca", "/CN=reader");
  leaf("stranger", "other-ca", "/O=system:masters/CN=stranger");
  leaf("serving", "server-ca", "/CN=n1");
  h = harness(mkdtempSync(join(tmpdir(), "kubelet-")));
  const pki = {
    ca: (name: string) => ({ cert: read(`${name}.crt`), certPath: "" }),
    issue: async () => ({ cert: read("serving.crt"), key: read("serving.key"), certPath: "", keyPath: "" }),
  } as unknown as Pki;
  const manager = { byName: (_: string, name: string) => h.worker(name), pods: () => [h.api("web")!], active: () => [], worker: () => undefined, apiObject: () => undefined, wakeAll() {}, roomMade() {}, start: async () => {}, stop() {} };
  const kube = { ...h.kube, request: reviews };
  server = await kubeletServer({ services: { ...h.services, kube }, manager, pki, options: testOptions, stats: stats(h.services, manager) });
  h.run(testPod("web"));
  await h.until(() => h.api("web")?.status?.phase === "Running");
  streams = net.createServer((socket) => socket.once("data", (head) => {
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n${head.toString().split("\r\n")[0]}|`);
    socket.pipe(socket);
  }));
  await new Promise<void>((resolve) => streams.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  await server.close();
  streams.close();
  h.stop();
});

/** RBAC of the test: `reader` may read stats, by certificate or with the token `good`. */
async function reviews(_method: string, path: string, body?: object): Promise<{ status: number; body: unknown }> {
  const { spec } = body as { spec: { token?: string; user?: string; resourceAttributes?: { subresource: string } } };
  if (path.endsWith("tokenreviews")) return { status: 201, body: { status: { authenticated: spec.token === "good", user: { username: "reader" } } } };
  return { status: 201, body: { status: { allowed: spec.user === "reader" && spec.resourceAttributes?.subresource === "stats" } } };
}

function get(path: string, as?: string, headers: Record<string, string> = {}): Promise<{ code: number; body: string }> {
  const tls = as ? { cert: read(`${as}.crt`), key: read(`${as}.key`) } : {};
  return new Promise((resolve, reject) => {
    https.get({ host: "127.0.0.1", port: server.port, path, headers, rejectUnauthorized: false, agent: false, ...tls }, (res) => {
      let body = "";
      res.setEncoding("utf8").on("data", (c: string) => (body += c)).on("end", () => resolve({ code: res.statusCode!, body }));
    }).on("error", reject);
  });
}

describe("the kubelet's server", () => {
  it.each([
    ["nobody", undefined, "/pods", 401], ["a stranger's CA", "stranger", "/pods", 401], ["an admin", "admin", "/pods", 200],
    ["the API server", "apiserver", "/pods", 200], ["a user without rights", "reader", "/pods", 403], ["a user with rights", "reader", "/stats/summary", 200],
    ["anybody for health", undefined, "/healthz", 200], ["an admin who asks for nothing", "admin", "/nope", 404],
  ])("answers %s (%s %s) with %i", async (_, as, path, code) => {
    expect((await get(path, as)).code).toBe(code);
  });

  it("takes a bearer token as RBAC allows", async () => {
    expect((await get("/stats/summary", undefined, { authorization: "Bearer good" })).code).toBe(200);
    expect((await get("/stats/summary", undefined, { authorization: "Bearer bad" })).code).toBe(401);
  });

  it("serves a container's log, and says what is missing", async () => {
    const folder = join(h.paths.podLogs, "default_web_uid-web/c");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "0.log"), "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stdout F two\n");
    expect((await get("/containerLogs/default/web/c?tailLines=1", "admin")).body).toBe("two\n");
    expect(await get("/containerLogs/default/web/x", "admin")).toEqual({ code: 404, body: 'container "x" not found in pod "web"' });
    expect(await get("/containerLogs/default/web/c?previous=true", "admin")).toEqual({ code: 400, body: 'previous terminated container "c" in pod "web" not found' });
  });

  it("passes an upgrade on to the runtime byte for byte", async () => {
    const { port } = streams.address() as net.AddressInfo;
    h.runtime.execUrl = async (_id, command) => `http://127.0.0.1:${port}/exec/${command.join("-")}`;
    const req = https.request({
      host: "127.0.0.1", port: server.port, path: "/exec/default/web/c?command=a&command=b&input=1&output=1", method: "POST", agent: false, rejectUnauthorized: false,
      headers: { Connection: "Upgrade", Upgrade: "SPDY/3.1" }, cert: read("admin.crt"), key: read("admin.key"),
    });
    const text = await new Promise<string>((resolve, reject) => {
      req.on("error", reject).on("upgrade", (_res, socket, head) => {
        let seen = head.toString();
        socket.on("data", (chunk: Buffer) => {
          seen += chunk.toString();
          if (!seen.includes("ping")) return;
          socket.destroy();
          resolve(seen);
        });
        socket.write("ping");
      });
      req.end();
    });
    expect(text).toBe("POST /exec/a-b HTTP/1.1|ping");
  });

  it("refuses a stream to a container that does not run", async () => {
    const answer = await get("/exec/default/none/c?command=a&output=1", "admin", { Connection: "Upgrade", Upgrade: "SPDY/3.1" });
    expect(answer).toEqual({ code: 404, body: 'pod "none" does not exist' });
  });

  it("lists what lies in /var/log, and nothing outside", async () => {
    expect((await get("/logs/", "admin")).code).toBe(200);
    expect((await get("/logs/..%2f..%2fetc%2fpasswd", "admin")).code).toBe(404);
  });
});
