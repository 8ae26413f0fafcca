import { execFileSync } from "node:child_process";
import dns from "node:dns";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { isNotFound } from "./errors.ts";
import { createHttpsClient, type HttpsClient, type HttpsClientOptions, type KubeConnection } from "./https.ts";
import { configMaps, nodes, pods } from "./resources.ts";

type Pair = Pick<Required<KubeConnection>, "cert" | "key">;
type Handler = (res: ServerResponse, req: IncomingMessage) => void;

const realTimeout = setTimeout;
let folder: string;
let cert: string;
let key: string;
let server: Server | undefined;
let kube: HttpsClient | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-https-"));
  ({ cert, key } = makePair("x"));
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  kube?.close();
  await stop();
});
afterAll(() => rmSync(folder, { recursive: true }));

function makePair(name: string): Pair {
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"], { cwd: folder, stdio: "pipe" });
  const [pairCert, pairKey] = ["cert.pem", "key.pem"].map((file) => readFileSync(join(folder, file), "utf8")) as [string, string];
  return { cert: pairCert, key: pairKey };
}

/** Resolves with the URL. */
async function serve(handler: Handler, port = 0): Promise<string> {
  server = createServer({ cert, key, requestCert: true, rejectUnauthorized: false }, (req, res) => handler(res, req));
  await new Promise<void>((resolve) => server!.listen(port, "127.0.0.1", resolve));
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function stop(): Promise<void> {
  server?.closeAllConnections();
  await new Promise((resolve) => (server?.listening ? server.close(resolve) : resolve(undefined)));
}

/** A client of a server that gives these answers, one after another, and the last for ever. */
async function clientOf(answers: readonly Handler[], options: HttpsClientOptions = {}): Promise<{ readonly kube: HttpsClient; readonly seen: string[] }> {
  const seen: string[] = [];
  const url = await serve((res, req) => {
    seen.push(`${req.method} ${req.url}`);
    answers[Math.min(seen.length, answers.length) - 1]!(res, req);
  });
  kube = createHttpsClient({ url, ca: cert, token: "t" }, options);
  return { kube, seen };
}

const busy = (code: number) => (res: ServerResponse) => void res.writeHead(code, { "retry-after": "0" }).end("later");
const found = (res: ServerResponse) => void res.writeHead(200, { "content-type": "application/json" }).end('{"metadata":{"name":"a"}}');

describe("the client over HTTPS", () => {
  test("comes again when the server is too busy, as often as it says so", async () => {
    const { kube, seen } = await clientOf([busy(429), busy(503), found]);
    expect((await kube.get(configMaps, "a", "default")).metadata.name).toBe("a");
    expect(seen).toEqual(Array.from({ length: 3 }, () => "GET /api/v1/namespaces/default/configmaps/a"));
  });

  test("gives up in the end", async () => {
    const { kube, seen } = await clientOf([busy(429)]);
    await expect(kube.get(configMaps, "a", "default")).rejects.toMatchObject({ code: 429, message: "later" });
    expect(seen).toHaveLength(11);
  });

  test("does not wait for what will not change", async () => {
    const { kube, seen } = await clientOf([(res) => void res.writeHead(404, { "retry-after": "0" }).end("404 page not found\n")]);
    const error: unknown = await kube.get(configMaps, "a", "default").catch((thrown: unknown) => thrown);
    expect([isNotFound(error), (error as Error).message, seen.length]).toEqual([true, "404 page not found", 1]);
  });
});

const silent: Handler = () => {};
const line = (type: string, name: string, version: number): string => `${JSON.stringify({ type, object: { metadata: { name, uid: name, resourceVersion: String(version) } } })}\n`;
const listOf = (version: number): Handler => (res) => void res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ metadata: { resourceVersion: String(version) }, items: [] }));
const watchOf = (...lines: readonly string[]): Handler => (res) => {
  res.writeHead(200).flushHeaders();
  for (const each of lines) res.write(each);
};
const cut = (handler: Handler): Handler => (res, req) => {
  handler(res, req);
  setTimeout(() => req.socket.destroy(), 50);
};
const connections = () => new Promise<number>((resolve) => server!.getConnections((_, count) => resolve(count)));
const fast: Parameters<typeof vi.useFakeTimers>[0] = { toFake: ["setTimeout", "clearTimeout"] };
/** The informers' clock runs a hundred times as fast. */
async function until(isSo: () => boolean): Promise<void> {
  for (; !isSo(); await new Promise((resolve) => realTimeout(resolve, 1))) if (vi.isFakeTimers()) vi.advanceTimersByTime(100);
}

describe("the client of a server that may go silent", () => {
  test("gives up a request that is not answered, and uses none of the old connections for the next", async () => {
    vi.useFakeTimers(fast);
    const ports: number[] = [];
    const answers = [found, found, silent, found];
    const { kube } = await clientOf([(res, req) => {
      ports.push(req.socket.remotePort!);
      answers.shift()!(res, req);
    }]);
    const get = () => kube.get(configMaps, "a", "default");
    await Promise.all([get(), get()]);
    const given = get().catch((error: unknown) => error);
    await until(() => ports.length === 3);
    vi.advanceTimersByTime(30_000);
    expect(await given).toMatchObject({ code: "ETIMEDOUT", message: expect.stringMatching(/^https:\S+ was silent for 30 s$/) });
    await get();
    expect([new Set(ports.slice(0, 2)).size, ports.indexOf(ports[2]!) < 2, ports.indexOf(ports[3]!)]).toEqual([2, true, 3]);
  });

  test("gives up an answer that stops in its midst, but not one that is slow", async () => {
    vi.useFakeTimers(fast);
    const open: ServerResponse[] = [];
    const { kube } = await clientOf([(res) => void open.push(res.writeHead(200, { "content-type": "application/json", "content-length": 25 }))]);
    /** Sends this, and lets it arrive. */
    const send = async (part: string): Promise<void> => {
      open.at(-1)!.write(part);
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    };
    const slow = kube.get(configMaps, "a", "default");
    await until(() => open.length === 1);
    for (const part of ['{"meta', 'data":{', '"name":', '"a"', "}}"]) {
      await send(part);
      vi.advanceTimersByTime(20_000);
    }
    expect((await slow).metadata.name).toBe("a");
    const cutOff = kube.get(configMaps, "a", "default").catch((error: unknown) => error);
    await until(() => open.length === 2);
    await send('{"meta');
    vi.advanceTimersByTime(30_000);
    expect(await cutOff).toMatchObject({ code: "ETIMEDOUT" });
  });

  test("ends a watch that has nothing to say for too long, as nobody may be there to say it", async () => {
    vi.useFakeTimers(fast);
    let response: ServerResponse | undefined;
    const { kube } = await clientOf([(res, req) => watchOf(line("ADDED", "a", 1))((response = res), req)]);
    const seen: string[] = [];
    const end = kube.watch(nodes, {}, ({ type }) => void seen.push(type)).catch((error: unknown) => error);
    await until(() => seen.length === 1);
    vi.advanceTimersByTime(140_000);
    response!.write(line("BOOKMARK", "", 2));
    await until(() => seen.length === 2);
    vi.advanceTimersByTime(140_000);
    response!.write(line("BOOKMARK", "", 3));
    await until(() => seen.length === 3);
    vi.advanceTimersByTime(150_000);
    expect(await end).toMatchObject({ code: "ETIMEDOUT", message: expect.stringContaining("was silent for 150 s") });
  });

  test.skipIf(process.platform !== "linux")("lets the system look, too, whether the other end of a watch is there", async () => {
    const { kube } = await clientOf([watchOf(line("ADDED", "a", 1))]);
    const seen: string[] = [];
    void kube.watch(nodes, {}, ({ type }) => void seen.push(type)).catch(() => {});
    await until(() => seen.length === 1);
    const port = (server!.address() as AddressInfo).port.toString(16).toUpperCase().padStart(4, "0");
    const [, , , , , timer = ""] = readFileSync("/proc/net/tcp", "utf8").split("\n").find((row) => row.includes(` 0100007F:${port} 01 `))!.trim().split(/\s+/);
    // Of timer 2, which sends probes, so many hundredths of a second are left.
    expect([timer.slice(0, 3), parseInt(timer.slice(3), 16) > 2500, parseInt(timer.slice(3), 16) <= 3000]).toEqual(["02:", true, true]);
  });

  test("does not take half a line for an event", async () => {
    const { kube } = await clientOf([(res) => void res.writeHead(200).end(`${line("ADDED", "a", 1)}{"type":"ADD`)]);
    const seen: string[] = [];
    await kube.watch(nodes, {}, ({ type }) => void seen.push(type));
    expect(seen).toEqual(["ADDED"]);
  });

  test("reads a line that comes in parts, also where these cut a letter", async () => {
    const bytes = Buffer.from(line("ADDED", "zürich-€", 1));
    const { kube } = await clientOf([async (res) => {
      res.writeHead(200).flushHeaders();
      for (const byte of bytes) {
        res.write(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      res.end();
    }]);
    const seen: (string | undefined)[] = [];
    await kube.watch(nodes, {}, ({ object }) => void seen.push((object as { metadata: { name?: string } }).metadata.name));
    expect(seen).toEqual(["zürich-€"]);
  });

  test("tells a watch that is cut from one that ends", async () => {
    const { kube } = await clientOf([cut(watchOf(line("ADDED", "a", 1))), (res) => void res.writeHead(200).end()]);
    await expect(kube.watch(nodes, {}, () => {})).rejects.toMatchObject({ code: "ECONNRESET" });
    await kube.watch(nodes, {}, () => {});
  });

  test("an informer goes on where it was after its connection went silent", async () => {
    vi.useFakeTimers(fast);
    const { kube, seen } = await clientOf([listOf(5), watchOf(line("ADDED", "a", 6)), watchOf(line("ADDED", "b", 7))]);
    const informer = kube.informer(nodes);
    await until(() => informer.list().length === 2);
    expect(seen.map((each) => each.replace(/.*\?/, ""))).toEqual([
      "GET /api/v1/nodes", "resourceVersion=5&watch=true&allowWatchBookmarks=true", "resourceVersion=6&watch=true&allowWatchBookmarks=true",
    ]);
  });

  test("tells once that the server is gone, whatever asks it, and again the next time", async () => {
    vi.useFakeTimers(fast);
    let round = 0;
    const answer: Handler = (res, req) => (req.url!.includes("watch") ? watchOf(line("ADDED", `round-${round}`, 6 + round)) : listOf(5))(res, req);
    const url = await serve(answer);
    const told: string[] = [];
    kube = createHttpsClient({ url, ca: cert }, { onError: (_, error) => void told.push(/ECONNREFUSED|lost/.exec(error.message)?.[0] ?? error.message) });
    const informers = [nodes, pods, configMaps].map((resource) => kube!.informer(resource as typeof pods));
    const areBack = () => informers.every((informer) => informer.list().length === round + 1);
    for (; round < 2; round++) {
      await until(areBack);
      await stop();
      await until(() => told.length >= 2 * round + 2);
      await serve(answer, Number(new URL(url).port));
    }
    await until(areBack);
    // First the connections are cut, then there is nobody.
    expect(told).toEqual(["lost", "ECONNREFUSED", "lost", "ECONNREFUSED"]);
  });
});

describe("the connection of a client", () => {
  test("is made anew for a renewed certificate, while what is under way goes on", async () => {
    const [first, second] = [makePair("first"), makePair("second")];
    const by: string[] = [];
    let watching: ServerResponse | undefined;
    const url = await serve((res, req) => {
      by.push(String((req.socket as TLSSocket).getPeerCertificate().subject?.CN));
      if (!req.url!.includes("watch")) return found(res);
      watching = res;
      watchOf(line("ADDED", "a", 1))(res, req);
    });
    let connection: KubeConnection = { url, ca: cert, ...first };
    kube = createHttpsClient(async () => connection);
    const seen: string[] = [];
    const watch = kube.watch(nodes, {}, ({ type }) => void seen.push(type));
    await until(() => seen.length === 1);
    await kube.get(configMaps, "a", "default");
    connection = { url, ca: cert, ...second };
    await kube.get(configMaps, "a", "default");
    // The watch, and the new one.
    await vi.waitUntil(async () => (await connections()) === 2);
    watching!.end(line("MODIFIED", "a", 2));
    await watch;
    expect([by, seen]).toEqual([["first", "first", "second"], ["ADDED", "MODIFIED"]]);
  });

  test("is what rejects a request when there is none to be had", async () => {
    kube = createHttpsClient(() => Promise.reject(new Error("no certificate")));
    await expect(kube.get(configMaps, "a", "default")).rejects.toThrow("no certificate");
  });

  test("has an error with words also when several addresses of a name were tried", async () => {
    const url = new URL(await serve(found));
    await stop();
    vi.spyOn(dns, "lookup").mockImplementation(((_: string, __: object, done: (error: null, found: object[]) => void) =>
      done(null, [{ address: "127.0.0.1", family: 4 }, { address: "127.0.0.2", family: 4 }])) as unknown as typeof dns.lookup);
    kube = createHttpsClient({ url: `https://server.example:${url.port}`, ca: cert });
    await expect(kube.get(configMaps, "a", "default")).rejects.toThrow(`connect ECONNREFUSED 127.0.0.1:${url.port}`);
  });

  test("is given up when it does not come about in ten seconds; the answer may take longer", async () => {
    const asked: ServerResponse[] = [];
    const url = await serve((res) => void asked.push(res));
    let isThere = false;
    const lookup = vi.spyOn(dns, "lookup").mockImplementation(((_: string, __: object, done: (error: null, found: object[]) => void) =>
      isThere && done(null, [{ address: "127.0.0.1", family: 4 }])) as unknown as typeof dns.lookup);
    vi.useFakeTimers(fast);
    const never = createHttpsClient({ url: url.replace("127.0.0.1", "localhost"), ca: cert }).get(configMaps, "a", "default").catch((error: Error) => error.message);
    await until(() => lookup.mock.calls.length === 1);
    vi.advanceTimersByTime(10_000);
    expect(await never).toMatch(/^https:\S+ was silent for 10 s$/);
    isThere = true;
    kube = createHttpsClient({ url, ca: cert });
    const late = kube.get(configMaps, "a", "default");
    await until(() => asked.length === 1);
    vi.advanceTimersByTime(20_000);
    found(asked[0]!);
    expect((await late).metadata.name).toBe("a");
  });

  test("is said to be lost when it is, before the answer and in its midst", async () => {
    const { kube } = await clientOf([(_, req) => void req.socket.destroy(), cut((res) => void res.writeHead(200, { "content-length": 9 }).write("{"))]);
    const lost = { code: "ECONNRESET", message: expect.stringMatching(/^the connection to https:\S+ was lost$/) };
    for (let i = 0; i < 2; i++) await expect(kube.get(configMaps, "a", "default")).rejects.toMatchObject(lost);
  });

  test("is gone after close, with all that was under way", async () => {
    const busyForLong: Handler = (res) => void res.writeHead(503, { "retry-after": "60" }).end();
    const { kube, seen } = await clientOf([listOf(5), watchOf(line("ADDED", "a", 6)), silent, busyForLong]);
    const informer = kube.informer(nodes);
    await until(() => informer.list().length === 1);
    const asked = [1, 2].map(() => kube.get(configMaps, "a", "default"));
    await until(() => seen.length === 4);
    kube.close();
    expect((await Promise.allSettled(asked)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    await expect(kube.get(configMaps, "a", "default")).rejects.toThrow("the client is closed");
    await vi.waitUntil(async () => (await connections()) === 0);
    expect(seen).toHaveLength(4);
  });
});
