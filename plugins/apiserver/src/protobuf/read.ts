/** Reads protobuf messages into the JSON objects that they stand for. Bad bytes throw SyntaxError, never more. */
import type { Field, Message } from "./schema.ts";
import { specials } from "./special.ts";

const MAX_DEPTH = 100;

interface Cursor {
  readonly bytes: Buffer;
  at: number;
  readonly end: number;
}

export function decodeMessage(message: Message, bytes: Buffer): unknown {
  return readMessage(message, { bytes, at: 0, end: bytes.length }, 0);
}

function readMessage(message: Message, cursor: Cursor, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new SyntaxError("proto: nested too deep");
  const object: Record<string, unknown> = {};
  while (cursor.at < cursor.end) {
    const tag = varint(cursor);
    const field = message.byNumber.get(Math.floor(tag / 8));
    const wire = tag & 7;
    if (field) readField(object, field, wire, cursor, depth);
    else skip(cursor, wire);
  }
  const special = specials[message.name];
  return special ? special.get(object) : object;
}

function readField(object: Record<string, unknown>, field: Field, wire: number, cursor: Cursor, depth: number): void {
  if (field.shape === "map") {
    const [key, value] = readEntry(field, delimited(cursor, wire), depth);
    const map = (object[field.json] ??= {}) as Record<string, unknown>;
    // A key such as __proto__ is data, not a prototype.
    Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
    return;
  }
  if (field.shape === "list") {
    const list = (object[field.json] ??= []) as unknown[];
    if (wire === 2 && (field.scalar === "i" || field.scalar === "b")) {
      const packed = delimited(cursor, wire);
      while (packed.at < packed.end) list.push(readValue(field, 0, packed, depth));
    } else list.push(readValue(field, wire, cursor, depth));
    return;
  }
  const value = readValue(field, wire, cursor, depth);
  if (field.inline) Object.assign(object, value);
  else if (value !== undefined && (field.keepZero || !field.scalar || !isZero(value))) object[field.json] = value;
}

const isZero = (value: unknown): boolean => value === "" || value === 0 || value === false;

function readEntry(field: Field, cursor: Cursor, depth: number): readonly [string, unknown] {
  let key = "";
  let value: unknown = field.scalar === "i" ? 0 : field.scalar === "b" ? false : field.scalar ? "" : {};
  while (cursor.at < cursor.end) {
    const tag = varint(cursor);
    if (tag >> 3 === 1) key = text(delimited(cursor, tag & 7));
    else if (tag >> 3 === 2) value = readValue(field, tag & 7, cursor, depth);
    else skip(cursor, tag & 7);
  }
  return [key, value];
}

function readValue(field: Field, wire: number, cursor: Cursor, depth: number): unknown {
  switch (field.scalar) {
    case "s":
      return text(delimited(cursor, wire));
    case "y": {
      const { bytes, at, end } = delimited(cursor, wire);
      return bytes.toString("base64", at, end);
    }
    case "b":
      return expectWire(wire, 0) || varint(cursor) !== 0;
    case "i":
      expectWire(wire, 0);
      return varint(cursor, true);
    case "d":
      expectWire(wire, 1);
      return need(cursor, 8).bytes.readDoubleLE(cursor.at - 8);
    default:
      return readMessage(field.message(), delimited(cursor, wire), depth + 1);
  }
}

function expectWire(wire: number, wanted: number): false {
  if (wire !== wanted) throw new SyntaxError(`proto: wrong wireType = ${wire}`);
  return false;
}

function need(cursor: Cursor, n: number): Cursor {
  cursor.at += n;
  if (cursor.at > cursor.end || n < 0) throw new SyntaxError("proto: unexpected EOF");
  return cursor;
}

function delimited(cursor: Cursor, wire: number): Cursor {
  expectWire(wire, 2);
  const n = varint(cursor);
  const at = cursor.at;
  need(cursor, n);
  return { bytes: cursor.bytes, at, end: cursor.at };
}

const text = ({ bytes, at, end }: Cursor): string => bytes.toString("utf8", at, end);

/** Up to 64 bits; `signed` reads two's complement. Small values, the usual ones, stay in number arithmetic. */
function varint(cursor: Cursor, signed = false): number {
  let value = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = need(cursor, 1).bytes[cursor.at - 1]!;
    value |= (byte & 127) << shift;
    if (byte < 128) return value;
  }
  let big = BigInt(value);
  for (let shift = 28n; shift < 70n; shift += 7n) {
    const byte = need(cursor, 1).bytes[cursor.at - 1]!;
    big |= BigInt(byte & 127) << shift;
    if (byte < 128) return Number(signed ? BigInt.asIntN(64, big) : BigInt.asUintN(64, big));
  }
  throw new SyntaxError("proto: integer overflow");
}

function skip(cursor: Cursor, wire: number): void {
  if (wire === 0) varint(cursor);
  else if (wire === 1) need(cursor, 8);
  else if (wire === 2) delimited(cursor, 2);
  else if (wire === 5) need(cursor, 4);
  else throw new SyntaxError(`proto: wrong wireType = ${wire}`);
}
