/** The DNS message format (RFC 1035, RFC 6891): queries and upstream answers in, compressed and truncated answers out. */

/** Bytes of a resource's data, and domain names in it; names are decompressed when read and may be compressed when written. */
export type Rdata = readonly (Buffer | string)[];

export interface Rr {
  /** Without the final dot; a dot inside a label is written `\.`. */
  readonly name: string;
  readonly type: number;
  readonly ttl: number;
  readonly rdata: Rdata;
}

export interface Query {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  /** Lower case. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** The question section as it came, to be echoed with its letter case. */
  readonly question: Buffer;
  readonly edns: { readonly size: number; readonly version: number; readonly dnssecOk: boolean } | undefined;
}

export interface Message {
  readonly id: number;
  readonly rcode: number;
  readonly response: boolean;
  readonly truncated: boolean;
  readonly authoritative: boolean;
  readonly answers: readonly Rr[];
  readonly authority: readonly Rr[];
  readonly additional: readonly Rr[];
}

export interface Answer {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: readonly Rr[];
  readonly authority: readonly Rr[];
  readonly additional: readonly Rr[];
}

export const Type = Object.freeze({
  A: 1, NS: 2, CNAME: 5, SOA: 6, PTR: 12, HINFO: 13, MX: 15, TXT: 16, AAAA: 28, SRV: 33, OPT: 41, ANY: 255,
});
export const Rcode = Object.freeze({ NoError: 0, FormErr: 1, ServFail: 2, NxDomain: 3, NotImp: 4, Refused: 5, BadVers: 16 });
export const CLASS_IN = 1;

/** UDP answers never exceed this, so that none is fragmented (the value of DNS flag day 2020). */
const UDP_LIMIT = 1232;

/** Throws RangeError on anything that is not one well-formed question. */
export function parseQuery(packet: Buffer): Query {
  const flags = packet.readUInt16BE(2);
  if (packet.readUInt16BE(4) !== 1) throw new RangeError("not one question");
  const name = readName(packet, 12);
  const end = name.end + 4;
  const query = {
    id: packet.readUInt16BE(0), opcode: (flags >> 11) & 15, recursionDesired: (flags & 0x100) !== 0,
    checkingDisabled: (flags & 0x10) !== 0, name: name.value.toLowerCase(),
    type: packet.readUInt16BE(name.end), class: packet.readUInt16BE(name.end + 2), question: packet.subarray(12, end),
  };
  const others = packet.readUInt16BE(6) + packet.readUInt16BE(8);
  const extra = packet.readUInt16BE(10);
  if (others === 0 && extra === 0) return { ...query, edns: undefined };
  let offset = end;
  let edns: Query["edns"];
  for (let i = 0; i < others + extra; i++) {
    const owner = readName(packet, offset);
    const type = packet.readUInt16BE(owner.end);
    if (type === Type.OPT) {
      edns = {
        size: packet.readUInt16BE(owner.end + 2), version: packet.readUInt8(owner.end + 5),
        dnssecOk: (packet.readUInt16BE(owner.end + 6) & 0x8000) !== 0,
      };
    }
    offset = owner.end + 10 + packet.readUInt16BE(owner.end + 8);
  }
  return { ...query, edns };
}

/** Throws RangeError on a malformed message. The OPT record is left out: it belongs to one hop. */
export function parseMessage(packet: Buffer): Message {
  const flags = packet.readUInt16BE(2);
  let offset = 12;
  for (let i = packet.readUInt16BE(4); i > 0; i--) offset = readName(packet, offset).end + 4;
  const section = (count: number): Rr[] => {
    const records: Rr[] = [];
    for (let i = 0; i < count; i++) {
      const owner = readName(packet, offset);
      const type = packet.readUInt16BE(owner.end);
      const start = owner.end + 10;
      offset = start + packet.readUInt16BE(owner.end + 8);
      if (offset > packet.length) throw new RangeError("record runs over the end");
      if (type !== Type.OPT) records.push({ name: owner.value, type, ttl: packet.readInt32BE(owner.end + 4) >>> 0, rdata: readRdata(packet, type, start, offset) });
    }
    return records;
  };
  return {
    id: packet.readUInt16BE(0), response: (flags & 0x8000) !== 0, authoritative: (flags & 0x400) !== 0,
    truncated: (flags & 0x200) !== 0, rcode: flags & 15,
    answers: section(packet.readUInt16BE(6)), authority: section(packet.readUInt16BE(8)), additional: section(packet.readUInt16BE(10)),
  };
}

/** How many bytes of fixed data precede the names in a type's data, and how many names there are. */
const namesIn: Readonly<Record<number, readonly [before: number, names: number]>> = {
  [Type.NS]: [0, 1], [Type.CNAME]: [0, 1], [Type.PTR]: [0, 1], [Type.SOA]: [0, 2], [Type.MX]: [2, 1], [Type.SRV]: [6, 1],
};
/** RFC 3597: only the types of RFC 1035 may be compressed. */
const compressible = new Set<number>([Type.NS, Type.CNAME, Type.PTR, Type.SOA, Type.MX]);

function readRdata(packet: Buffer, type: number, start: number, end: number): Rdata {
  const layout = namesIn[type];
  if (!layout) return [Buffer.from(packet.subarray(start, end))];
  const parts: (Buffer | string)[] = layout[0] ? [Buffer.from(packet.subarray(start, start + layout[0]))] : [];
  let offset = start + layout[0];
  for (let i = 0; i < layout[1]; i++) {
    const name = readName(packet, offset);
    parts.push(name.value);
    offset = name.end;
  }
  if (offset > end) throw new RangeError("name runs over the record");
  return offset < end ? [...parts, Buffer.from(packet.subarray(offset, end))] : parts;
}

function readName(packet: Buffer, from: number): { readonly value: string; readonly end: number } {
  let value = "";
  let offset = from;
  let end = -1;
  for (let hops = 0; ; ) {
    const length = packet.readUInt8(offset);
    if (length === 0) break;
    if ((length & 0xc0) === 0xc0) {
      if (end < 0) end = offset + 2;
      const target = packet.readUInt16BE(offset) & 0x3fff;
      if (target >= offset || ++hops > 64) throw new RangeError("bad compression pointer");
      offset = target;
      continue;
    }
    if (length > 63 || offset + 1 + length > packet.length) throw new RangeError("bad label");
    const label = packet.toString("latin1", offset + 1, offset + 1 + length);
    value += (value && ".") + (/[.\\]/.test(label) ? label.replace(/[.\\]/g, "\\$&") : label);
    if (value.length > 1024) throw new RangeError("name too long");
    offset += 1 + length;
  }
  return { value, end: end < 0 ? offset + 1 : end };
}

export const labelsOf = (name: string): string[] =>
  !name ? [] : !name.includes("\\") ? name.split(".") : name.match(/(?:\\.|[^.\\])+/g)!.map((label) => label.replace(/\\(.)/g, "$1"));

/** Grows to the largest message and is reused: encoding never yields. */
let scratch = Buffer.allocUnsafe(4096);

class Writer {
  offset = 12;
  readonly #seen = new Map<string, number>();

  ensure(bytes: number): void {
    if (this.offset + bytes <= scratch.length) return;
    const bigger = Buffer.allocUnsafe(Math.max(scratch.length * 2, this.offset + bytes));
    scratch.copy(bigger, 0, 0, this.offset);
    scratch = bigger;
  }

  bytes(data: Buffer): void {
    this.ensure(data.length);
    data.copy(scratch, this.offset);
    this.offset += data.length;
  }

  uint16(value: number): void {
    this.ensure(2);
    this.offset = scratch.writeUInt16BE(value, this.offset);
  }

  name(name: string, compress: boolean): void {
    const labels = labelsOf(name);
    this.ensure(name.length + 2);
    for (let i = 0; i < labels.length; i++) {
      const suffix = labels.slice(i).join(".").toLowerCase();
      const seen = this.#seen.get(suffix);
      if (seen !== undefined && compress) return this.uint16(0xc000 | seen);
      if (seen === undefined && this.offset < 0x3fff) this.#seen.set(suffix, this.offset);
      const label = labels[i]!;
      scratch.writeUInt8(label.length, this.offset);
      this.offset += 1 + scratch.write(label, this.offset + 1, "latin1");
    }
    this.ensure(1);
    scratch.writeUInt8(0, this.offset++);
  }

  /** The question stands at offset 12; owners of answers point into it. */
  question(question: Buffer, name: string): void {
    this.bytes(question);
    const labels = labelsOf(name);
    for (let i = 0, at = 12; i < labels.length; at += labels[i++]!.length + 1) this.#seen.set(labels.slice(i).join(".").toLowerCase(), at);
  }

  record(rr: Rr): void {
    this.name(rr.name, true);
    this.ensure(10);
    scratch.writeUInt16BE(rr.type, this.offset);
    scratch.writeUInt16BE(CLASS_IN, this.offset + 2);
    scratch.writeUInt32BE(rr.ttl, this.offset + 4);
    const lengthAt = this.offset + 8;
    this.offset += 10;
    for (const part of rr.rdata) {
      if (typeof part === "string") this.name(part, compressible.has(rr.type));
      else this.bytes(part);
    }
    scratch.writeUInt16BE(this.offset - lengthAt - 2, lengthAt);
  }
}

/** Largest answer that the client takes over UDP. */
export const udpLimit = (query: Query): number => Math.min(Math.max(query.edns?.size ?? 512, 512), query.edns ? UDP_LIMIT : 512);

/** The answer as bytes; what does not fit is left out: additional records silently, others with the TC bit. */
export function encodeAnswer(query: Query, answer: Answer, limit = 65_535): Buffer {
  const writer = new Writer();
  writer.question(query.question, query.name);
  const room = limit - (query.edns ? 11 : 0);
  const counts = [0, 0, 0];
  let truncated = false;
  const put = (section: number, rr: Rr): boolean => {
    const before = writer.offset;
    writer.record(rr);
    if (writer.offset <= room) return (counts[section]!++, true);
    writer.offset = before;
    return false;
  };
  truncated = !answer.answers.every((rr) => put(0, rr)) || !answer.authority.every((rr) => put(1, rr));
  if (!truncated) answer.additional.every((rr) => put(2, rr));
  if (query.edns) writeOpt(writer, query.edns, answer.rcode);
  scratch.writeUInt16BE(query.id, 0);
  scratch.writeUInt16BE(flagsOf(query, answer, truncated), 2);
  scratch.writeUInt16BE(1, 4);
  scratch.writeUInt16BE(counts[0]!, 6);
  scratch.writeUInt16BE(counts[1]!, 8);
  scratch.writeUInt16BE(counts[2]! + (query.edns ? 1 : 0), 10);
  return Buffer.from(scratch.subarray(0, writer.offset));
}

function flagsOf(query: Query, answer: Answer, truncated: boolean): number {
  return 0x8080 | (query.opcode << 11) | (answer.authoritative ? 0x400 : 0) | (truncated ? 0x200 : 0) |
    (query.recursionDesired ? 0x100 : 0) | (query.checkingDisabled ? 0x10 : 0) | (answer.rcode & 15);
}

function writeOpt(writer: Writer, edns: NonNullable<Query["edns"]>, rcode: number): void {
  writer.ensure(11);
  scratch.writeUInt8(0, writer.offset);
  scratch.writeUInt16BE(Type.OPT, writer.offset + 1);
  scratch.writeUInt16BE(UDP_LIMIT, writer.offset + 3);
  scratch.writeUInt32BE(((rcode >> 4) << 24) | (edns.dnssecOk ? 0x8000 : 0), writer.offset + 5);
  scratch.writeUInt16BE(0, writer.offset + 9);
  writer.offset += 11;
}

/** A query of our own to an upstream server. */
export function encodeQuery(id: number, name: string, type: number, dnssecOk: boolean, checkingDisabled = false): Buffer {
  const writer = new Writer();
  writer.name(name, false);
  writer.uint16(type);
  writer.uint16(CLASS_IN);
  writeOpt(writer, { size: UDP_LIMIT, version: 0, dnssecOk }, 0);
  scratch.writeUInt16BE(id, 0);
  scratch.writeUInt16BE(0x100 | (checkingDisabled ? 0x10 : 0), 2);
  scratch.writeUInt16BE(1, 4);
  scratch.writeUInt32BE(0, 6);
  scratch.writeUInt16BE(1, 10);
  return Buffer.from(scratch.subarray(0, writer.offset));
}

/** A header-only answer to a packet that could not be read as a query; undefined when it is not even a query. */
export function encodeFormErr(packet: Buffer): Buffer | undefined {
  if (packet.length < 12 || packet.readUInt8(2) & 0x80) return undefined;
  const reply = Buffer.alloc(12);
  packet.copy(reply, 0, 0, 2);
  reply.writeUInt16BE(0x8000 | (packet.readUInt16BE(2) & 0x7900) | Rcode.FormErr, 2);
  return reply;
}
