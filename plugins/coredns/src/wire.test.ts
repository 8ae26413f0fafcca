import { decode, encode, type Packet } from "dns-packet";
import { expect, test } from "vitest";
import { address, answerOf, soa, srv, txt } from "./records.ts";
import { encodeAnswer, encodeFormErr, encodeQuery, parseMessage, parseQuery, udpLimit } from "./wire.ts";

const query = (name: string, more: Partial<Packet> = {}) =>
  parseQuery(encode({ type: "query", id: 4711, flags: 256, questions: [{ name, type: "A" }], ...more }));
const opt = { type: "OPT", name: ".", udpPayloadSize: 4096, flags: 1 << 15, extendedRcode: 0, ednsVersion: 0, flag_do: true, options: [] } as any;

test("reads a query with and without EDNS", () => {
  expect(query("Web.Default")).toMatchObject({ id: 4711, name: "web.default", type: 1, class: 1, recursionDesired: true, edns: undefined });
  expect(query("a", { additionals: [opt] }).edns).toEqual({ size: 4096, version: 0, dnssecOk: true });
  expect(udpLimit(query("a"))).toBe(512);
  expect(udpLimit(query("a", { additionals: [opt] }))).toBe(1232);
});

test("compresses names, also those inside records", () => {
  const answers = Array.from({ length: 20 }, (_, i) => address("web.default.svc.cluster.local", 5, `10.0.0.${i}`));
  const bytes = encodeAnswer(query("web.default.svc.cluster.local"), answerOf(answers), 512);
  expect(bytes.length).toBeLessThan(400);
  expect(decode(bytes).answers!.map((a: any) => `${a.name} ${a.data}`)).toEqual(answers.map((_, i) => `web.default.svc.cluster.local 10.0.0.${i}`));
});

test("every record survives an independent decoder", () => {
  const reply = decode(encodeAnswer(query("x.y"), answerOf([
    srv("x.y", 5, 10, 80, "a.x.y"), txt("x.y", 5, "hello", "world"), address("x.y", 5, "fd00::1"),
  ], { authority: [soa("y", 5, 42)] })));
  expect(reply.answers).toMatchObject([
    { type: "SRV", data: { priority: 0, weight: 10, port: 80, target: "a.x.y" } }, { type: "TXT", data: [Buffer.from("hello"), Buffer.from("world")] },
    { type: "AAAA", data: "fd00::1" },
  ]);
  expect(reply.authorities).toMatchObject([{ type: "SOA", data: { mname: "ns.dns.y", rname: "hostmaster.y", serial: 42, minimum: 5 } }]);
});

test("truncates to what the client takes, and keeps the OPT record", () => {
  const answers = Array.from({ length: 100 }, (_, i) => address("a", 5, `10.0.0.${i}`));
  const plain = encodeAnswer(query("a"), answerOf(answers), 512);
  expect(plain.length).toBeLessThanOrEqual(512);
  expect(decode(plain).flag_tc).toBe(true);
  const edns = encodeAnswer(query("a", { additionals: [opt] }), answerOf(answers), 1232);
  expect(edns.length).toBeLessThanOrEqual(1232);
  expect(decode(edns)).toMatchObject({ flag_tc: true, additionals: [{ type: "OPT" }] });
  expect(decode(encodeAnswer(query("a"), answerOf(answers))).answers).toHaveLength(100);
  const spill = encodeAnswer(query("a"), answerOf([answers[0]!], { additional: answers }), 512);
  expect(decode(spill).flag_tc).toBe(false);
});

test("reads an upstream's compressed message", () => {
  const bytes = encode({
    type: "response", id: 1, questions: [{ name: "example.com", type: "MX" }],
    answers: [{ name: "example.com", type: "MX", ttl: 60, data: { preference: 10, exchange: "mail.example.com" } }, { name: "a.example.com", type: "CAA", ttl: 60, data: { flags: 0, tag: "issue", value: "ca.example" } } as any],
    additionals: [opt],
  });
  const message = parseMessage(bytes);
  expect(message.answers).toMatchObject([{ name: "example.com", type: 15, ttl: 60, rdata: [Buffer.from([0, 10]), "mail.example.com"] }, { type: 257 }]);
  expect(message.additional).toEqual([]);
  const again = decode(encodeAnswer(query("example.com"), { ...message, authoritative: false, rcode: 0 }));
  expect(again.answers).toMatchObject([{ data: { exchange: "mail.example.com" } }, { data: { value: "ca.example" } }]);
});

test("a name with a dot inside a label survives", () => {
  const packet = encodeQuery(1, "a\\.b.c", 1, false);
  expect(packet.subarray(12, 19)).toEqual(Buffer.from("\x03a.b\x01c\0", "latin1"));
  expect(parseQuery(packet).name).toBe("a\\.b.c");
});

test.each([
  ["short", Buffer.alloc(5)], ["no question", Buffer.alloc(12)],
  ["label over the end", Buffer.concat([Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 60]), Buffer.alloc(5)])],
  ["pointer to itself", Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1])],
])("refuses a malformed query: %s", (_name, packet) => {
  expect(() => parseQuery(packet)).toThrow(RangeError);
});

test("random bytes never hang or crash the reader", () => {
  let seed = 42;
  const next = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) & 255;
  for (let i = 0; i < 5000; i++) {
    const packet = Buffer.from(Array.from({ length: 12 + (i % 60) }, next));
    for (const read of [parseQuery, parseMessage]) {
      try {
        read(packet);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }
  }
});

test("answers FORMERR to a broken query, and nothing to a response", () => {
  expect(encodeFormErr(Buffer.from([9, 9, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0]))!.readUInt16BE(2) & 15).toBe(1);
  expect(encodeFormErr(Buffer.from([9, 9, 0x81, 0, 0, 1, 0, 0, 0, 0, 0, 0]))).toBeUndefined();
});
