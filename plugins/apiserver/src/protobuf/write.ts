/** Writes JSON objects as protobuf messages, back to front, so that lengths are known when they are written. */
import type { Field, Message } from "./schema.ts";
import { specials } from "./special.ts";

type Json = Readonly<Record<string, unknown>>;

/** A buffer that fills from its end; it doubles when it is full. */
export class BackwardWriter {
  #buffer = Buffer.allocUnsafe(4096);
  #at = 4096;

  get length(): number {
    return this.#buffer.length - this.#at;
  }

  #room(n: number): void {
    if (this.#at >= n) return;
    const used = this.length;
    const next = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, used + n));
    this.#buffer.copy(next, next.length - used, this.#at);
    this.#at = next.length - used;
    this.#buffer = next;
  }

  bytes(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#at -= bytes.length;
    this.#buffer.set(bytes, this.#at);
  }

  string(text: string): void {
    const n = Buffer.byteLength(text);
    this.#room(n);
    this.#at -= n;
    this.#buffer.write(text, this.#at);
  }

  double(value: number): void {
    this.#room(8);
    this.#at -= 8;
    this.#buffer.writeDoubleLE(value, this.#at);
  }

  /** Integers beyond 32 bits and negative ones (two's complement of 64 bits) go through BigInt. */
  varint(value: number): void {
    if (value >= 0 && value < 0x8000_0000) return this.#small(value);
    const groups: number[] = [];
    let rest = BigInt.asUintN(64, BigInt(Math.trunc(value)));
    for (; rest > 127n; rest >>= 7n) groups.push(Number(rest & 127n) | 128);
    groups.push(Number(rest));
    this.#room(groups.length);
    this.#at -= groups.length;
    this.#buffer.set(groups, this.#at);
  }

  #small(value: number): void {
    const n = value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5;
    this.#room(n);
    let at = (this.#at -= n);
    let rest = value;
    for (; rest > 127; rest >>>= 7) this.#buffer[at++] = (rest & 127) | 128;
    this.#buffer[at] = rest;
  }

  tag(number: number, wire: number): void {
    this.varint(number * 8 + wire);
  }

  /** Writes what `body` writes, then its length and tag. */
  delimited(number: number, body: () => void): void {
    const before = this.length;
    body();
    this.close(number, before);
  }

  /** Length and tag of what has been written since the writer was `before` long. */
  close(number: number, before: number): void {
    this.varint(this.length - before);
    this.tag(number, 2);
  }

  finish(): Buffer {
    return this.#buffer.subarray(this.#at);
  }
}

export function encodeMessage(message: Message, json: unknown): Buffer {
  const writer = new BackwardWriter();
  writeMessage(writer, message, json);
  return writer.finish();
}

export function writeMessage(writer: BackwardWriter, message: Message, json: unknown): void {
  const special = specials[message.name];
  const object = (special ? special.set(json) : json) as Json;
  if (typeof object !== "object" || object === null) throw new SyntaxError(`${message.name}: an object is expected`);
  for (let i = message.fields.length - 1; i >= 0; i--) {
    const field = message.fields[i]!;
    if (!field.inline) {
      const value = object[field.json];
      if (value !== undefined && value !== null) writeField(writer, field, value);
      continue;
    }
    const before = writer.length;
    writeMessage(writer, field.message(), object);
    writer.close(field.number, before);
  }
}

function writeField(writer: BackwardWriter, field: Field, value: unknown): void {
  if (field.shape === "one") return writeOne(writer, field, field.number, value);
  if (field.shape === "list") {
    const list = value as readonly unknown[];
    for (let i = list.length - 1; i >= 0; i--) writeOne(writer, field, field.number, list[i]);
    return;
  }
  // Sorted keys, as upstream writes them.
  for (const key of Object.keys(value as Json).sort().reverse()) {
    const before = writer.length;
    writeOne(writer, field, 2, (value as Json)[key]);
    const end = writer.length;
    writer.string(key);
    writer.close(1, end);
    writer.close(field.number, before);
  }
}

function writeOne(writer: BackwardWriter, field: Field, number: number, value: unknown): void {
  const before = writer.length;
  switch (field.scalar) {
    case "s":
      writer.string(String(value));
      return writer.close(number, before);
    case "y":
      writer.bytes(Buffer.from(String(value), "base64"));
      return writer.close(number, before);
    case "b":
      writer.varint(value ? 1 : 0);
      return writer.tag(number, 0);
    case "i":
      writer.varint(Number(value));
      return writer.tag(number, 0);
    case "d":
      writer.double(Number(value));
      return writer.tag(number, 1);
    default:
      writeMessage(writer, field.message(), value);
      return writer.close(number, before);
  }
}
