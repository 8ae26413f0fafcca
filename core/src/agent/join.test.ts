/** An agent at the door of its server: what it asks, what it believes, what it says, and when it gives up. */
import type { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { caHash, formatError, isK3spError, type Logger } from "@k3s-p/plugin-api";
import type { Pki } from "@k3s-p/plugin-api/slots";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { createPki } from "../pki/pki.ts";
import { readSettings } from "../plan.ts";
import { waitReason } from "./join-errors.ts";
import { joinCluster, type JoinOptions } from "./join.ts";

let dir: string;
let server: FakeServer | undefined;
let stop: AbortController;
/** `warn ...`, `info ...` */
let said: string[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "join-"));
  stop = new AbortController();
  said = [];
});
afterEach(async () => {
  stop.abort();
  await server?.close();
  server = undefined;
  rmSync(dir, { recursive: true });
});

interface FakeServer {
  readonly url: string;
  readonly ca: string;
  readonly pki: Pki;
  /** `GET /v1-k3s/config node`: with who asked. */
  readonly asked: string[];
  readonly headers: IncomingMessage["headers"][];
  /** Answers that go before its own, the first one first. */
  readonly before: { readonly status: number; readonly body: string }[];
  readonly config: Record<string, unknown>;
  password: string;
  close(): Promise<void>;
}

const PASSWORD = "s3cret";

/** As the supervisor of a k3s-p server, for one password and one node. */
async function fakeServer({ sans = ["127.0.0.1"], port = 0, tls = join(dir, "server-tls") } = {}): Promise<FakeServer> {
  const pki = createPki(tls);
  const { cert, key } = await pki.issue({ name: "serving", ca: "server-ca", commonName: "server", usage: "server", sans });
  const shared = { "cluster-cidr": ["10.9.0.0/16"], "service-cidr": ["10.43.0.0/16"], "cluster-dns": ["10.43.0.10"], "flannel-backend": "vxlan", disable: [] };
  const fake = {
    pki, ca: pki.ca("server-ca").cert, asked: [] as string[], headers: [] as IncomingMessage["headers"][], before: [] as FakeServer["before"], password: PASSWORD,
    config: { version: "0.1.0", kubernetes: "v1.36.0+k3sp1", shared, nodeSlots: {}, agentPlugins: [] },
  };
  async function answer(request: IncomingMessage): Promise<readonly [number, string]> {
    const { pathname } = new URL(request.url!, "https://x");
    const who = userOf(request, fake.password);
    fake.asked.push(`${request.method} ${pathname} ${who ?? "?"}`);
    fake.headers.push(request.headers);
    const scripted = pathname === "/cacerts" ? undefined : fake.before.shift();
    if (scripted) return [scripted.status, scripted.body];
    if (pathname === "/cacerts") return [200, fake.ca];
    if (!who) return [401, status("Unauthorized")];
    if (pathname === "/v1-k3s/config") return [200, JSON.stringify(fake.config)];
    if (pathname.endsWith("-ca.crt")) return [200, pki.ca(pathname.slice("/v1-k3s/".length, -".crt".length) as "client-ca").cert];
    const name = String(request.headers["k3s-node-name"]);
    return [200, await pki.certify(await text(request), { ca: "client-ca", commonName: `system:node:${name}`, organizations: ["system:nodes"], usage: "client" })];
  }
  const https: Server = createServer({ cert, key, ca: pki.ca("client-ca").cert, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    void answer(request).then(([code, body]) => response.writeHead(code).end(body));
  });
  https.listen(port, "127.0.0.1");
  await new Promise((resolve) => https.once("listening", resolve));
  const url = `https://127.0.0.1:${(https.address() as AddressInfo).port}`;
  server = Object.assign(fake, { url, close: () => new Promise<void>((resolve) => { https.close(() => resolve()); https.closeAllConnections(); }) });
  return server;
}

function userOf(request: IncomingMessage, password: string): string | undefined {
  const socket = request.socket as TLSSocket;
  const peer = socket.getPeerX509Certificate() as X509Certificate | undefined;
  if (peer && socket.authorized) return /CN=(.*)/.exec(peer.subject)?.[1];
  const [kind, value = ""] = (request.headers.authorization ?? "").split(" ");
  const credentials = kind === "Basic" ? Buffer.from(value, "base64").toString() : value;
  return [`node:${password}`, `server:${password}`, "abcdef.0123456789abcdef"].includes(credentials) ? credentials.split(/[.:]/)[0]! : undefined;
}

const status = (message: string): string => JSON.stringify({ kind: "Status", message });

async function text(request: IncomingMessage): Promise<string> {
  let all = "";
  for await (const chunk of request.setEncoding("utf8")) all += chunk;
  return all;
}

const log = { ...silentLogger, warn: (line: string) => void said.push(`warn ${line}`), info: (line: string) => void said.push(`info ${line}`) } as Logger;
const folders = () => ({ agent: join(dir, "data/agent"), node: join(dir, "node") });

function settingsOf(argv: readonly string[], env: Record<string, string> = {}, text = "") {
  writeFileSync(join(dir, "config.yaml"), text);
  return readSettings(["--config", join(dir, "config.yaml"), "--data-dir", join(dir, "data"), "--node-name", "node2", ...(argv.includes("--node-ip") ? [] : ["--node-ip", "192.0.2.7"]), ...argv], env, "agent");
}
const joined = (argv: readonly string[], env = {}, more: Partial<JoinOptions> = {}, text = "") =>
  joinCluster(settingsOf(argv, env, text), { log, signal: stop.signal, nodeFolder: folders().node, sleep: async () => {}, random: () => 0.5, ...more });
const to = (url: string, token = `node:${PASSWORD}`) => ["--server", url, "--token", token];
const whole = (fake: FakeServer, credentials = `node:${PASSWORD}`) => to(fake.url, `K10${caHash(fake.ca)}::${credentials}`);
/** What the user reads; no secret is in it, nor in any line before. */
async function refusal(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(() => { throw new Error("it joined"); }, (reason: unknown) => reason);
  if (!isK3spError(error)) throw error;
  for (const line of [formatError(error), ...said]) expect(line).not.toContain(PASSWORD);
  return `${error.code} ${error.message}\n${[...error.detail, error.fix].join("\n")}`;
}

describe("joining", () => {
  test("checks the CA, takes over the settings, and gets a certificate under the node's password", async () => {
    const fake = await fakeServer();
    const { settings, pki, server: told } = await joined(whole(fake));
    expect(fake.asked).toEqual([
      "GET /cacerts ?", "GET /v1-k3s/config node", expect.stringMatching(/-ca.crt node$/), expect.stringMatching(/-ca.crt node$/), "POST /v1-k3s/client-kubelet.crt node",
    ]);
    const password = readFileSync(join(folders().node, "password"), "utf8");
    expect(password).toMatch(/^[0-9a-f]{32}\n$/);
    expect(statSync(join(folders().node, "password")).mode & 0o777).toBe(0o600);
    expect(fake.headers.at(-1)).toMatchObject({ "k3s-node-name": "node2", "k3s-node-password": password.trim() });
    expect(settings.values.get("cluster-cidr")).toEqual({ value: ["10.9.0.0/16"], source: fake.url });
    expect(told).toMatchObject({ url: fake.url, kubernetes: "v1.36.0+k3sp1" });
    expect(pki.ca("server-ca").cert).toBe(fake.ca);
    expect(said).toEqual([
      `info k3s-p 0.1.0 agent starting on node node2 (192.0.2.7), data in ${dir}/data`, `info joined ${fake.url} (k3s-p 0.1.0, Kubernetes v1.36.0+k3sp1)`,
    ]);
  });

  test("makes no folder of a server", async () => {
    await joined(whole(await fakeServer()));
    expect([existsSync(folders().agent), existsSync(join(dir, "data/server"))]).toEqual([true, false]);
  });

  test("again needs no token, and asks as the node", async () => {
    const fake = await fakeServer();
    await joined(whole(fake));
    const password = readFileSync(join(folders().node, "password"), "utf8");
    fake.asked.length = 0;
    await joined(["--server", fake.url]);
    expect(fake.asked).toEqual(["GET /v1-k3s/config system:node:node2", expect.stringMatching(/-ca.crt system:node:node2$/), expect.stringMatching(/-ca.crt system:node:node2$/)]);
    expect(readFileSync(join(folders().node, "password"), "utf8")).toBe(password);
  });

  test("under another name begins anew: the certificate is of the old one", async () => {
    const fake = await fakeServer();
    await joined(whole(fake));
    fake.asked.length = 0;
    await joined([...whole(fake), "--node-name", "node3"]);
    expect(fake.asked.at(-1)).toBe("POST /v1-k3s/client-kubelet.crt node");
    await expect(joined(["--server", fake.url, "--node-name", "node4"])).rejects.toThrow("token: an agent needs the token of its server");
  });

  test("needs the token again when the server's CA is gone: without either it would believe anybody", async () => {
    const fake = await fakeServer();
    await joined(whole(fake));
    rmSync(join(dir, "data/agent/server-ca.crt"));
    await expect(joined(["--server", fake.url])).rejects.toThrow("token: an agent needs the token of its server");
  });

  test("goes back to the token when the server knows the certificate no more", async () => {
    const fake = await fakeServer();
    await joined(whole(fake));
    await fake.close();
    const other = await fakeServer({ tls: join(dir, "other-tls") });
    await joined(whole(other));
    expect(other.asked).toContain("POST /v1-k3s/client-kubelet.crt node");
  });

  test.each([["node:", "node"], ["", "node"], ["server:", "server"]])("takes a token in its short form, %spassword, with a warning", async (prefix, user) => {
    const fake = await fakeServer();
    await joined(to(fake.url, `${prefix}${PASSWORD}`));
    expect(fake.asked).toContain(`GET /v1-k3s/config ${user}`);
    expect(said[1]).toBe(`warn the token names no CA, so whoever answers at ${fake.url} is believed; use the whole token of the server's node-token`);
  });

  test("takes a bootstrap token, and one from a file", async () => {
    const fake = await fakeServer();
    writeFileSync(join(dir, "token"), `K10${caHash(fake.ca)}::abcdef.0123456789abcdef\n`);
    await joined(["--server", fake.url, "--token-file", join(dir, "token")]);
    expect(fake.asked).toContain("GET /v1-k3s/config abcdef");
  });

  test("--with-node-id appends an id of the machine, the same at each start", async () => {
    const fake = await fakeServer();
    const names = [];
    for (const _ of [1, 2]) names.push((await joined([...whole(fake), "--with-node-id"])).settings.values.get("node-name")!.value);
    expect(names).toEqual([expect.stringMatching(/^node2-[0-9a-f]{8}$/), names[0]]);
    expect(fake.headers.find((headers) => headers["k3s-node-name"])).toMatchObject({ "k3s-node-name": names[0] });
  });
});

describe("before anything is asked", () => {
  const fix = "copy /var/lib/rancher/k3s/server/node-token of the server as it is";
  test.each<readonly [readonly string[], Record<string, string>, string, string]>([
    [[], {}, "", "K3SP_FLAG_INVALID server: an agent needs the URL of a server\n--server https://HOST:6443 or K3S_URL"],
    [["--server", "https://a:6443"], {}, "", "K3SP_FLAG_INVALID token: an agent needs the token of its server\n--token, --token-file or K3S_TOKEN: see /var/lib/rancher/k3s/server/node-token on the server"],
    [["--server", "http://a:6443"], {}, "", `K3SP_FLAG_INVALID server: "http://a:6443" is not allowed\nfrom --server   a URL such as https://HOST:6443 is expected\n`],
    [[], { K3S_URL: "https://a:6443/path" }, "", `K3SP_CONFIG_INVALID server: "https://a:6443/path" is not allowed\nfrom K3S_URL   a URL such as https://HOST:6443 is expected\n`],
    [[], {}, "token: x\nserver: a:6443\n", `K3SP_CONFIG_INVALID server: "a:6443" is not allowed\nfrom $DIR/config.yaml:2:1   a URL such as https://HOST:6443 is expected\n`],
    [["--server", "https://user@a:6443"], {}, "", `K3SP_FLAG_INVALID server: "https://user@a:6443" is not allowed\n`],
    [to("https://a:6443", "K10abc::node:s3cret"), {}, "", `K3SP_FLAG_INVALID token: what was given begins like a whole token, and is not one\nfrom --token\n${fix}`],
    [["--server", "https://a:6443"], { K3S_TOKEN: "node:" }, "", `K3SP_CONFIG_INVALID token: what was given holds no password\nfrom K3S_TOKEN\n${fix}`],
    [["--server", "https://a:6443", "--token-file", "/nowhere/token"], {}, "", "K3SP_PERMISSION_DENIED token-file: /nowhere/token cannot be read\n"],
    [[...to("https://a:6443"), "--node-ip", "127.0.0.1"], {}, "", "K3SP_FLAG_INVALID node-ip: 127.0.0.1 is no address that other nodes reach\nfrom --node-ip\ngive --node-ip an address of this machine on their network"],
  ])("%j %j %j is refused", async (argv, env, text, expected) => {
    expect(await refusal(joined(argv, env, {}, text))).toContain(expected.replace("$DIR", dir));
    expect(existsSync(join(dir, "data"))).toBe(false);
  });

  test("an IPv6 address and the usual port are fine", async () => {
    await expect(joined(to("https://[::1]/"), {}, { sleep: () => Promise.reject(new Error("it waits")) })).rejects.toThrow("it waits");
    expect(said.at(-1)).toBe("warn waiting for https://[::1]: connect ECONNREFUSED ::1:443");
  });
});

describe("a server that is not the one of the token", () => {
  test("is left at once, with both hashes", async () => {
    const fake = await fakeServer();
    expect(await refusal(joined(to(fake.url, `K10${"a".repeat(64)}::node:${PASSWORD}`)))).toMatch(
      `K3SP_JOIN_UNTRUSTED token CA hash does not match the Cluster CA certificate hash: ${"a".repeat(64)} != ${caHash(fake.ca)}\n`,
    );
    expect(fake.asked).toEqual(["GET /cacerts ?"]);
  });

  test("or has a certificate of another CA than the one that it shows, gets no password", async () => {
    const fake = await fakeServer();
    Object.assign(fake, { ca: createPki(join(dir, "other")).ca("server-ca").cert });
    expect(await refusal(joined(whole(fake)))).toMatch(/^K3SP_JOIN_UNTRUSTED the certificate of https:\S+ is not from the cluster's CA \(\w+\)\nif the server has new CAs, give this node its token anew; else somebody is in between$/);
    expect(fake.asked).toEqual(["GET /cacerts ?"]);
  });

  test("is told from one whose certificate lacks the name", async () => {
    const fake = await fakeServer({ sans: ["server.example"] });
    expect(await refusal(joined(whole(fake)))).toBe(`K3SP_JOIN_UNTRUSTED the certificate of ${fake.url} is not for 127.0.0.1\nstart the server with --tls-san 127.0.0.1`);
  });

  test("has new CAs, and the node no token: it says so", async () => {
    const fake = await fakeServer();
    await joined(whole(fake));
    const { port } = new URL(fake.url);
    await fake.close();
    await fakeServer({ tls: join(dir, "other-tls"), port: Number(port) });
    expect(await refusal(joined(["--server", fake.url]))).toMatch(/^K3SP_JOIN_UNTRUSTED the certificate of \S+ is not from the cluster's CA/);
  });

  test("or none at all", async () => {
    const fake = await fakeServer();
    Object.assign(fake, { ca: "<html>" });
    expect(await refusal(joined(to(fake.url)))).toBe(`K3SP_JOIN_UNTRUSTED ${fake.url} is no server to join: it has no CA at /cacerts\ngive --server the URL of a k3s-p server`);
  });
});

describe("a server that refuses", () => {
  test("the token is asked three times, as it may still be starting, and then believed", async () => {
    const fake = await fakeServer();
    fake.password = "another";
    expect(await refusal(joined(whole(fake)))).toBe("K3SP_JOIN_REFUSED the server does not accept the token\ntake it anew from /var/lib/rancher/k3s/server/node-token on the server; bootstrap tokens expire");
    expect(fake.asked.filter((line) => line.includes("config"))).toHaveLength(3);
    fake.password = PASSWORD;
    fake.before.push({ status: 401, body: status("Unauthorized") }, { status: 403, body: status("no") });
    await joined(whole(fake));
  });

  const taken = "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry";
  test.each([
    [taken, "give this node another name with --node-name or --with-node-id; or, if it takes the place of the one that has it, kubectl delete node node2"],
    ['node name "node2" is one of the server\'s own: choose another with --node-name', "see what the server says"],
  ])("the name says why, at once: %s", async (message, fix) => {
    const fake = await fakeServer();
    const ok = { status: 200, body: JSON.stringify(fake.config) };
    fake.before.push(ok, { status: 200, body: fake.pki.ca("server-ca").cert }, { status: 200, body: fake.pki.ca("client-ca").cert }, { status: 403, body: status(message) });
    expect(await refusal(joined(whole(fake)))).toBe(`K3SP_JOIN_REFUSED ${message}\n${fix}`);
    expect(fake.asked.filter((line) => line.startsWith("POST"))).toHaveLength(1);
  });

  test.each([
    ["v1.37.2", "K3SP_JOIN_REFUSED this node's Kubernetes v1.37.2 is newer than the server's v1.36.0+k3sp1\nupgrade the server first"],
    ["v1.32.0", "K3SP_JOIN_REFUSED this node's Kubernetes v1.32.0 is more than three minor versions older than the server's v1.36.0+k3sp1\nupgrade this node"],
  ])("Kubernetes %s does not go with its own", async (kubernetes, expected) => {
    expect(await refusal(joined(whole(await fakeServer()), {}, { kubernetes }))).toBe(expected);
  });

  test("as pods would not find it: its address is the loopback one", async () => {
    const fake = await fakeServer();
    Object.assign(fake.config, { shared: { "advertise-address": "127.0.0.1" } });
    expect(await refusal(joined(whole(fake)))).toMatch(/^K3SP_JOIN_REFUSED the server advertises 127\.0\.0\.1, .*\nstart the server with --advertise-address /);
  });

  test.each(["v1.36.9", "v1.33.0"])("Kubernetes %s does", async (kubernetes) => {
    await joined(whole(await fakeServer()), {}, { kubernetes });
  });
});

describe("a server that is away", () => {
  test("is waited for with growing pauses, one line a reason, until it is there", async () => {
    const fake = await fakeServer();
    const { port } = new URL(fake.url);
    const argv = whole(fake);
    await fake.close();
    const pauses: number[] = [];
    const sleep = async (ms: number): Promise<void> => {
      pauses.push(ms);
      if (pauses.length === 7) (await fakeServer({ port: Number(port) })).before.push({ status: 503, body: "not yet\n" }, { status: 429, body: "" }, { status: 404, body: status("the server could not find the requested resource") });
    };
    await joined(argv, {}, { sleep });
    expect(pauses).toEqual([750, 1500, 3000, 6000, 12_000, 22_500, 22_500, 22_500, 22_500, 22_500]);
    expect(said.filter((line) => line.startsWith("warn"))).toEqual([
      `warn waiting for ${fake.url}: connect ECONNREFUSED 127.0.0.1:${port}`, `warn waiting for ${fake.url}: not yet`,
      `warn waiting for ${fake.url}: the server answered 429`, `warn waiting for ${fake.url}: the server could not find the requested resource`,
    ]);
  });

  test("a signal ends the waiting", async () => {
    const fake = await fakeServer();
    await fake.close();
    const waiting = joinCluster(settingsOf(whole(fake)), { log, signal: stop.signal, nodeFolder: folders().node });
    setTimeout(() => stop.abort(), 50);
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  });

  test("what is no trouble of the network is not waited for", async () => {
    const fake = await fakeServer();
    fake.before.push({ status: 200, body: "no JSON" });
    await expect(joined(whole(fake))).rejects.toBeInstanceOf(SyntaxError);
    mkdirSync(join(folders().agent, "client-ca.crt"), { recursive: true });
    await expect(joined(whole(fake))).rejects.toMatchObject({ code: "K3SP_PERMISSION_DENIED" });
    expect(waitReason(Object.assign(new Error("EROFS: read-only file system"), { code: "EROFS", path: "/x" }))).toBeUndefined();
  });
});
