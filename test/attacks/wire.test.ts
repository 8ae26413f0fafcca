/** Requests bent out of shape: paths that climb, headers that break, proxies that lead where the client could not go. */
import { createServer, type Server } from "node:http";
import { networkInterfaces } from "node:os";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { namespaces, secrets } from "@k3s-p/plugin-api/kube";
import { startVictim, type Identity, type Victim } from "./kit.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const SECRET = "the-secret-of-others";
let victim: Victim;
let root: Identity;
/** May read config maps and use proxies in `web`, and nothing else. */
let guest: Identity;
let backend: Server;
const seen: string[] = [];
const own = Object.values(networkInterfaces()).flat().find((address) => address && !address.internal && address.family === "IPv4")?.address;

beforeAll(async () => {
  backend = createServer((req, res) => {
    seen.push(`${req.method} ${req.url}`);
    if (req.url === "/away") res.writeHead(302, { location: "http://169.254.169.254/latest/meta-data/" }).end();
    else res.end(`backend ${req.url} ${JSON.stringify(req.headers)}`);
  });
  await new Promise<void>((resolve) => backend.listen(0, "0.0.0.0", resolve));
  victim = await startVictim();
  root = victim.certificate("client-ca", "root", ["system:masters"]);
  guest = victim.certificate("client-ca", "guest");
  const { kube } = victim.cluster;
  await kube.create(namespaces, { metadata: { name: "web" } });
  await kube.create(secrets, { metadata: { name: "treasure", namespace: "default" }, data: { value: Buffer.from(SECRET).toString("base64") } });
  await kube.request("POST", `${RBAC}/namespaces/web/roles`, { metadata: { name: "guest" }, rules: [
    { verbs: ["get", "list", "watch", "create"], apiGroups: [""], resources: ["configmaps"] },
    { verbs: ["*"], apiGroups: [""], resources: ["services/proxy", "pods/proxy"] },
  ] });
  await kube.request("POST", `${RBAC}/namespaces/web/rolebindings`, {
    metadata: { name: "guest" }, roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "guest" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "guest" }],
  });
  if (own) await service("inside", own, (backend.address() as AddressInfo).port);
});
afterAll(async () => {
  await victim[Symbol.asyncDispose]();
  backend.closeAllConnections();
  backend.close();
});

async function service(name: string, address: string, port: number): Promise<void> {
  const { kube } = victim.cluster;
  await kube.request("POST", "/api/v1/namespaces/web/services", { metadata: { name }, spec: { clusterIP: "None", ports: [{ name: "http", port: 80 }] } });
  const slice = await kube.request("POST", "/apis/discovery.k8s.io/v1/namespaces/web/endpointslices", {
    metadata: { name, labels: { "kubernetes.io/service-name": name } }, addressType: address.includes(":") ? "IPv6" : "IPv4",
    ports: [{ name: "http", port }], endpoints: [{ addresses: [address], conditions: { ready: true } }],
  });
  if (slice.status !== 201) await kube.request("POST", "/api/v1/namespaces/web/endpoints", { metadata: { name }, subsets: [{ addresses: [{ ip: address }], ports: [{ name: "http", port }] }] });
}

const root64 = Buffer.from(SECRET).toString("base64");

describe("paths", () => {
  it.each([
    "/api/v1/namespaces/web/configmaps/../../default/secrets/treasure",
    "/api/v1/namespaces/web/configmaps/..%2f..%2fdefault%2fsecrets%2ftreasure",
    "/api/v1/namespaces/web/configmaps/%2e%2e/%2e%2e/default/secrets/treasure",
    "/api/v1/namespaces/web%2f..%2fdefault/secrets/treasure",
    "/api/v1/namespaces/web/../default/secrets/treasure",
    "/api/v1//namespaces//default//secrets//treasure",
    "//api/v1/namespaces/default/secrets/treasure",
    "/api/v1/namespaces/web/configmaps/%00/secrets",
    "/api/v1/namespaces/web/configmaps;/../secrets",
    "/api/v1/namespaces/web/configmaps/x%2f..%2f..%2f..%2fdefault%2fsecrets%2ftreasure",
    "/api/v1/watch/namespaces/default/secrets/treasure",
    "/api/v1/namespaces/default/secrets/treasure/",
    "/api/v1/namespaces/default/SECRETS/treasure",
    "/apis//v1/namespaces/default/secrets/treasure",
    "/ping/../api/v1/namespaces/default/secrets/treasure",
    "/cacerts/../api/v1/secrets",
    "/healthz/../api/v1/secrets",
    "/api/v1/namespaces/web/services/none/proxy/../../../../default/secrets/treasure",
  ])("%s shows no secret", async (path) => {
    const answer = await victim.send(guest, "GET", path);
    expect([400, 401, 403, 404, 503]).toContain(answer.status);
    expect(answer.text).not.toContain(root64);
  });
  it.each(["../up", "a/b", "..", ".", "a%2fb", "a\\b", "a b", "a\r\nb", "a\u0000b", ""])("an object cannot be named %j", async (name) => {
    const { status } = await victim.send(root, "POST", "/api/v1/namespaces/web/configmaps", { metadata: { name } });
    expect(status).toBe(422);
  });
  it.each(["..", "a/b", "%2e%2e", "A", "x".repeat(300)])("nor a namespace %j", async (name) => {
    expect((await victim.send(root, "POST", "/api/v1/namespaces", { metadata: { name } })).status).toBe(422);
  });
  it("an absolute URL is a path like any other", async () => {
    const { hostname } = new URL(victim.cluster.url);
    expect(await victim.raw(`GET https://${hostname}/api/v1/secrets HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`, guest)).toMatch(/^HTTP\/1\.1 (400|403|404) /);
  });
});

describe("headers", () => {
  const get = (headers: string, who = guest) => victim.raw(`GET /api/v1/namespaces/default/secrets HTTP/1.1\r\nHost: x\r\n${headers}Connection: close\r\n\r\n`, who);
  it.each<[string, string, RegExp]>([
    ["a bare CR in a value", "X-A: a\rImpersonate-User: root\r\n", /^HTTP\/1\.1 400 /],
    ["a bare LF between headers", "X-A: a\nImpersonate-User: root\r\n", /^HTTP\/1\.1 (400|403) /],
    ["a folded header", "X-A: a\r\n Impersonate-Group: system:masters\r\n", /^HTTP\/1\.1 (400|403) /],
    ["a space before the colon", "Impersonate-Group : system:masters\r\n", /^HTTP\/1\.1 400 /],
    ["a NUL in a value", "X-A: a\0b\r\n", /^HTTP\/1\.1 400 /],
    ["two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n", /^HTTP\/1\.1 400 /],
    ["a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", /^HTTP\/1\.1 400 /],
    ["chunks in disguise", "Transfer-Encoding: xchunked\r\n", /^HTTP\/1\.1 (400|403) /],
    ["an encoded line break in an impersonated name", "Impersonate-User: a%0d%0aX: y\r\n", /^HTTP\/1\.1 403 /],
  ])("%s gives no rights", async (_, headers, answer) => {
    const text = await get(headers);
    expect(text).toMatch(answer);
    expect(text).not.toContain(root64);
  });
  test("a second request hidden behind the first is refused, or judged by itself", async () => {
    const hidden = "GET /api/v1/namespaces/default/secrets HTTP/1.1\r\nHost: x\r\n\r\n";
    const text = await victim.raw(`POST /api/v1/namespaces/web/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}${hidden}`, guest);
    expect(text.match(/^HTTP\/1\.1 \d+/gm)).toEqual(["HTTP/1.1 422", "HTTP/1.1 403"]);
    expect(text).not.toContain(root64);
  });
  it.each<[string, () => Promise<{ status: number; headers: object; text: string }>]>([
    ["an unknown field of a body", () => victim.send(root, "POST", "/api/v1/namespaces/web/configmaps?fieldValidation=Warn&dryRun=All", { metadata: { name: "w" }, "x\r\nSet-Cookie: evil=1": true })],
    ["a field manager", () => victim.send(root, "POST", "/api/v1/namespaces/web/configmaps?fieldManager=a%0d%0aSet-Cookie:%20evil=1&dryRun=All", { metadata: { name: "w" } })],
    ["a path", () => victim.send(root, "GET", "/api/v1/namespaces/web/configmaps/a%0d%0aSet-Cookie:%20evil=1")],
    ["a label selector", () => victim.send(root, "GET", "/api/v1/namespaces/web/configmaps?labelSelector=a%0d%0aSet-Cookie:%20evil=1")],
    ["the accepted type", () => victim.send({ ...root, headers: { accept: "application/json;as=a;charset=%0d%0aSet-Cookie" } }, "GET", "/api/v1/namespaces/web/configmaps")],
  ])("a line break in %s starts no header of the answer", async (_, send) => {
    const answer = await send();
    expect(answer.headers).not.toHaveProperty("set-cookie");
    expect(answer.status).toBeLessThan(500);
  });
});

describe("proxies", () => {
  const loopback = ["127.0.0.1", "127.9.9.9", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "::ffff:169.254.169.254"];
  it.each(loopback)("a Service does not lead to %s", async (address) => {
    const name = `to-${address.replaceAll(/[.:]/g, "-").replace(/-+$/, "")}`.toLowerCase();
    await service(name, address, (backend.address() as AddressInfo).port);
    const before = seen.length;
    const { status, text } = await victim.send(guest, "GET", `/api/v1/namespaces/web/services/${name}:http/proxy/`);
    // An address that no Endpoints may hold is not even stored.
    expect([status, status === 400 ? "address not allowed" : "no endpoints available"].join()).toSatisfy((line: string) => text.includes(line.split(",")[1]!));
    expect(seen.length).toBe(before);
  });
  it.each(loopback)("a pod that says that it is %s is not believed", async (podIP) => {
    const name = `p-${loopback.indexOf(podIP)}`;
    const { kube } = victim.cluster;
    await kube.request("POST", "/api/v1/namespaces/web/serviceaccounts", { metadata: { name: "default" } });
    expect((await kube.request("POST", "/api/v1/namespaces/web/pods", { metadata: { name }, spec: { automountServiceAccountToken: false, containers: [{ name: "c", image: "i" }] } })).status).toBe(201);
    const pod = (await kube.request("GET", `/api/v1/namespaces/web/pods/${name}`)).body as { status: object };
    await kube.request("PUT", `/api/v1/namespaces/web/pods/${name}/status`, { ...pod, status: { ...pod.status, podIP, podIPs: [{ ip: podIP }] } });
    const before = seen.length;
    const { status } = await victim.send(guest, "GET", `/api/v1/namespaces/web/pods/${name}:${(backend.address() as AddressInfo).port}/proxy/`);
    expect([status, seen.length]).toEqual([400, before]);
  });
  test("a node that says that it is the metadata service is not believed", async () => {
    const { kube } = victim.cluster;
    for (const [name, type, address] of [["n1", "InternalIP", "169.254.169.254"], ["n2", "InternalIP", "127.0.0.1"], ["n3", "Hostname", "localhost"]] as const) {
      await kube.request("POST", "/api/v1/nodes", { metadata: { name } });
      const node = (await kube.request("GET", `/api/v1/nodes/${name}`)).body as object;
      await kube.request("PUT", `/api/v1/nodes/${name}/status`, { ...node, status: { addresses: [{ type, address }] } });
      const before = seen.length;
      const { status, body } = await victim.send(root, "GET", `/api/v1/nodes/${name}:${(backend.address() as AddressInfo).port}/proxy/`);
      expect([name, status, body?.message, seen.length]).toEqual([name, 400, "address not allowed", before]);
    }
  });
  it.each(["javascript:x:80", "file:x:80", "gopher:x:80", "http:x:80:90"])("the scheme of %s is none", async (target) => {
    expect((await victim.send(guest, "GET", `/api/v1/namespaces/web/services/${target}/proxy/`)).status).toBe(400);
  });

  describe.skipIf(!own)(`of a Service within reach${own ? "" : " (skipped: this machine has no address but loopback)"}`, () => {
    const proxied = (path: string, who: Identity = guest) => victim.send(who, "GET", `/api/v1/namespaces/web/services/inside:http/proxy${path}`);
    it("the backend gets neither the client's credentials nor words of his identity", async () => {
      const { status, text } = await proxied("/hello?x=1", { ...guest, headers: { "X-Remote-User": "root", "X-Other": "stays" } });
      expect([status, text]).toEqual([200, expect.stringContaining('"x-other":"stays"')]);
      expect(text).toMatch(/^backend \/hello\?x=1 /);
      expect(text).not.toMatch(/authorization|x-remote-user|impersonate/i);
    });
    it("a redirect is told to the client, and not followed", async () => {
      const { status, headers } = await proxied("/away");
      expect([status, headers.location]).toEqual([302, "http://169.254.169.254/latest/meta-data/"]);
    });
    it.each(["/../../../../../default/secrets/treasure", "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/default/secrets/treasure", "/..%2f..%2f..%2fsecrets", "//evil.example/x", "/@evil.example"])("the path %s leads to the backend alone", async (path) => {
      const { text } = await proxied(path);
      expect(text).not.toContain(root64);
      if (text.startsWith("backend")) expect(text).toMatch(/^backend \//);
    });
    it("a line break in the path or query reaches no header of the backend", async () => {
      const { text } = await proxied("/a%0d%0aX-Evil:%201?b=%0d%0aX-Evil:%201");
      expect(text).not.toMatch(/"x-evil"/i);
    });
  });
});
