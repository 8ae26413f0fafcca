/** The bytes of DNS (RFC 1035): a question in, an answer out; names are written in full. */
import type { DnsRecord, Zone } from "./dns-zone.ts";

const types = { A: 1, CNAME: 5, PTR: 12, AAAA: 28, SRV: 33 } as const;
const codes = { ok: 0, noName: 3 } as const;
const flags = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionAsked: 0x0100, recursion: 0x0080 };

/** Undefined when the message is no question. An answer larger than `limit` is sent empty, so that the client comes by TCP. */
export function answer(message: Buffer, zone: Zone, limit: number): Buffer | undefined {
  const asked = question(message);
  if (!asked) return undefined;
  const found = zone(asked.name);
  const wanted = Object.entries(types).find(([, code]) => code === asked.type)?.[0];
  const records = (found ?? []).filter((record) => record.type === wanted || record.type === "CNAME");
  const full = reply(message, asked.end, found ? codes.ok : codes.noName, records, 0);
  return full.length <= limit ? full : reply(message, asked.end, codes.ok, [], flags.truncated);
}

function question(message: Buffer): { readonly name: string; readonly type: number; readonly end: number } | undefined {
  if (message.length < 17 || message.readUInt16BE(2) & flags.response || message.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (let size = message[at++] ?? 0; size; size = message[at++] ?? 0) {
    if (size > 63 || at + size > message.length) return undefined;
    labels.push(message.toString("latin1", at, at + size).toLowerCase());
    at += size;
  }
  return at + 4 <= message.length ? { name: labels.join("."), type: message.readUInt16BE(at), end: at + 4 } : undefined;
}

function reply(message: Buffer, end: number, code: number, records: readonly DnsRecord[], more: number): Buffer {
  const head = Buffer.alloc(12);
  message.copy(head, 0, 0, 2);
  const recursionAsked = message.readUInt16BE(2) & flags.recursionAsked;
  head.writeUInt16BE(flags.response | flags.authoritative | flags.recursion | recursionAsked | more | code, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, message.subarray(12, end), ...records.map(encode)]);
}

function encode({ type, ttl, data }: DnsRecord): Buffer {
  const body = bodyOf(type, data);
  const head = Buffer.alloc(12);
  // A pointer to the name in the question.
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(types[type], 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(ttl, 6);
  head.writeUInt16BE(body.length, 10);
  return Buffer.concat([head, body]);
}

function bodyOf(type: DnsRecord["type"], data: string): Buffer {
  if (type === "A") return Buffer.from(data.split(".").map(Number));
  if (type === "AAAA") return ipv6(data);
  if (type !== "SRV") return nameBytes(data);
  const [port, target = ""] = data.split(" ");
  const head = Buffer.alloc(6);
  head.writeUInt16BE(100, 2);
  head.writeUInt16BE(Number(port), 4);
  return Buffer.concat([head, nameBytes(target)]);
}

const nameBytes = (name: string): Buffer =>
  Buffer.concat([...name.split(".").filter(Boolean).map((label) => Buffer.from([label.length, ...Buffer.from(label, "latin1")])), Buffer.from([0])]);

function ipv6(ip: string): Buffer {
  const [left = "", right] = ip.split("::");
  const groups = (text = "") => text.split(":").filter(Boolean);
  const fill = right === undefined ? [] : Array.from({ length: 8 - groups(left).length - groups(right).length }, () => "0");
  return Buffer.from([...groups(left), ...fill, ...groups(right)].flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]));
}
