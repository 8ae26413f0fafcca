import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { decode, encode, type Packet } from "dns-packet";
import { afterEach, expect, test } from "vitest";
import { createCache } from "./cache.ts";
import { type ForwardOptions, forwardHandler } from "./forward.ts";
import type { Question, Reply } from "./handler.ts";
import { address, answerOf, failure, soa } from "./records.ts";
import { nameservers, resolvConf } from "./resolv.ts";
import { parseUpstream } from "./upstream.ts";
import { Type } from "./wire.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

/** A DNS server on loopback that answers as `reply` says; undefined stays silent. */
async function upstream(reply: (query: Packet, tcp: boolean) => Partial<Packet> | undefined) {
  const seen: string[] = [];
  const answer = (data: Buffer, tcp: boolean) => {
    const query = decode(data);
    seen.push(`${tcp ? "tcp" : "udp"} ${query.questions![0]!.name} ${query.questions![0]!.type}`);
    const body = reply(query, tcp);
    return body && encode({ type: "response", id: query.id!, flags: 384, questions: query.questions!, ...body });
  };
  const udp = createSocket("udp4").bind(0, "127.0.0.1");
  await once(udp, "listening");
  udp.on("message", (data, from) => {
    const packet = answer(data, false);
    if (packet) udp.send(packet, from.port, from.address);
  });
  const tcp = createServer((socket) => socket.on("data", (data: Buffer) => {
    const packet = answer(data.subarray(2), true);
    if (packet) socket.end(Buffer.concat([Buffer.from([packet.length >> 8, packet.length & 255]), packet]));
  })).listen(udp.address().port, "127.0.0.1");
  await once(tcp, "listening");
  cleanup.push(() => (udp.close(), tcp.close()));
  return { at: { address: "127.0.0.1", port: udp.address().port }, seen };
}

const asks = (name: string, type: number = Type.A): Question => ({ name, type, dnssecOk: false, checkingDisabled: false, depth: 0 });
const never = () => failure(2);

function handler(options: Partial<ForwardOptions>) {
  const forward = forwardHandler({
    zone: "", except: [], upstreams: () => [], policy: "sequential", forceTcp: false, maxConcurrent: 100, timeout: 200,
    cache: createCache({ capacity: 10, positiveTtl: 30, negativeTtl: 30 }), onLoop: () => undefined, ...options,
  });
  return { forward, ask: async (name: string, type?: number) => (await forward.answer(asks(name, type), never)) as Reply };
}
const probesApart = (seen: readonly string[]) => seen.filter((line) => !line.endsWith("HINFO"));
const www = { answers: [{ name: "www.example.com", type: "A" as const, ttl: 300, data: "192.0.2.1" }] };

test("asks the upstream once, and remembers the answer for at most the cache's time", async () => {
  const server = await upstream(() => www);
  const { ask } = handler({ upstreams: () => [server.at] });
  const replies = await Promise.all([ask("www.example.com"), ask("www.example.com")]);
  expect(replies[0]).toMatchObject({ rcode: 0, answers: [{ name: "www.example.com", type: 1, rdata: [Buffer.from([192, 0, 2, 1])] }] });
  expect((await ask("www.example.com")).answers[0]!.ttl).toBeLessThanOrEqual(30);
  expect(probesApart(server.seen)).toEqual(["udp www.example.com A"]);
});

test("remembers what does not exist, by the SOA", async () => {
  const server = await upstream(() => ({ flags: 384 | 3, authorities: [{ name: "example.com", type: "SOA", ttl: 60, data: { mname: "a", rname: "b", serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 60 } }] }));
  const { ask } = handler({ upstreams: () => [server.at] });
  expect((await ask("no.example.com")).rcode).toBe(3);
  expect((await ask("no.example.com")).rcode).toBe(3);
  expect(probesApart(server.seen)).toHaveLength(1);
});

test("asks again over TCP when the answer was truncated", async () => {
  const server = await upstream((_query, tcp) => (tcp ? www : { flags: 384 | 512 }));
  const { ask } = handler({ upstreams: () => [server.at] });
  expect((await ask("www.example.com")).answers).toHaveLength(1);
  expect(probesApart(server.seen)).toEqual(["udp www.example.com A", "tcp www.example.com A"]);
});

test("goes on to the next upstream when one is silent, and leaves that one alone for a while", async () => {
  const silent = await upstream(() => undefined);
  const good = await upstream(() => www);
  const { ask } = handler({ upstreams: () => [silent.at, good.at], cache: undefined });
  for (let i = 0; i < 4; i++) expect((await ask("www.example.com")).rcode).toBe(0);
  expect(probesApart(silent.seen)).toHaveLength(2);
  expect(probesApart(good.seen)).toHaveLength(4);
});

test("is SERVFAIL without upstreams, and when too many questions wait", async () => {
  expect((await handler({}).ask("a.b")).rcode).toBe(2);
  const silent = await upstream(() => undefined);
  const { forward, ask } = handler({ upstreams: () => [silent.at], maxConcurrent: 2 });
  const waiting = [ask("a.b"), ask("c.d")];
  expect((await ask("e.f")).rcode).toBe(2);
  expect(forward.inFlight).toBe(2);
  expect((await Promise.all(waiting)).map((r) => r.rcode)).toEqual([2, 2]);
  expect(forward.inFlight).toBe(0);
});

test("ignores an answer to another question", async () => {
  const server = await upstream((query) => ({ ...www, questions: [{ name: query.questions![0]!.name === "a.b" ? "evil.b" : "x", type: "A" }] }));
  expect((await handler({ upstreams: () => [server.at] }).ask("a.b")).rcode).toBe(2);
});

test("notices an upstream that leads back here", async () => {
  let forward: ReturnType<typeof handler>["forward"] | undefined;
  const loops: string[] = [];
  const mirror = await upstream((query) => {
    const { name, type } = query.questions![0]!;
    void forward!.answer(asks(name, type === "HINFO" ? Type.HINFO : Type.A), never);
    return undefined;
  });
  const made = handler({ upstreams: () => [mirror.at], onLoop: (names) => void loops.push(...names) });
  forward = made.forward;
  expect((await made.ask("www.example.com")).rcode).toBe(2);
  expect(loops).toEqual([`127.0.0.1:${mirror.at.port}`]);
  const before = mirror.seen.length;
  expect((await made.ask("other.example.com")).rcode).toBe(2);
  expect(mirror.seen).toHaveLength(before);
});

test("the cache is bounded and ages its answers", () => {
  let now = 1_000_000;
  const cache = createCache({ capacity: 2, positiveTtl: 30, negativeTtl: 10, now: () => now });
  cache.set("a", answerOf([address("a", 300, "192.0.2.1")]));
  now += 4000;
  expect(cache.get("a")!.answers[0]!.ttl).toBe(26);
  now += 27_000;
  expect(cache.get("a")).toBeUndefined();
  cache.set("no", answerOf([], { rcode: 3, authority: [soa("z", 3600, 1)] }));
  expect(cache.get("no")!.authority[0]!.ttl).toBe(10);
  for (const key of ["b", "c", "d"]) cache.set(key, answerOf([address(key, 5, "192.0.2.1")]));
  expect(cache.size).toBe(2);
  cache.set("odd", failure(5));
  expect(cache.get("odd")).toBeUndefined();
});

test("takes the node's servers by K3s's rule", () => {
  expect(nameservers("search x\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n nameserver fe80::1%eth0\n")).toEqual(["192.0.2.53", "fe80::1"]);
  expect(resolvConf(["/nonexistent"])().map((u) => u.address)).toEqual(["8.8.8.8", "2001:4860:4860::8888"]);
});

test.each([
  ["192.0.2.1", { address: "192.0.2.1", port: 53 }], ["192.0.2.1:5353", { address: "192.0.2.1", port: 5353 }], ["dns://192.0.2.1", { address: "192.0.2.1", port: 53 }],
  ["[2001:db8::1]:5353", { address: "2001:db8::1", port: 5353 }], ["2001:db8::1", { address: "2001:db8::1", port: 53 }],
  ["tls://9.9.9.9", { address: "9.9.9.9", port: 853, tls: { servername: "dns.quad9.net" } }], ["example.com", undefined],
])("upstream %s", (text, expected) => {
  expect(parseUpstream(text, "dns.quad9.net")).toEqual(expected);
});
