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
    let rest = value >= 0 && value < 0x8000_0000 ? value : BigInt.asUintN(64, BigInt(Math.trunc(value)));
    const groups: number[] = [];
    if (typeof rest === "number") {
      for (; rest > 127; rest >>>= 7) groups.push((rest & 127) | 128);
      groups.push(rest);
    } else {
      for (; rest > 127n; rest >>= 7n) groups.push(Number(rest & 127n) | 128);
      groups.push(Number(rest));
    }
    this.#room(groups.length);
    this.#at -= groups.length;
    this.#buffer.set(groups, this.#at);
  }

  tag(number: number, wire: number): void {
    this.varint(number * 8 + wire);
  }

  /** Writes what `body` writes, then its length and tag. */
  delimited(number: number, body: () => void): void {
    const before = this.length;
    body();
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
    if (field.inline) writer.delimited(field.number, () => writeMessage(writer, field.message(), object));
    else writeField(writer, field, object[field.json]);
  }
}

function writeField(writer: BackwardWriter, field: Field, value: unknown): void {
  if (value === undefined || value === null) return;
  if (field.shape === "one") return writeOne(writer, field, value);
  if (field.shape === "list") {
    const list = value as readonly unknown[];
    for (let i = list.length - 1; i >= 0; i--) writeOne(writer, field, list[i]);
    return;
  }
  // Sorted keys, as upstream writes them.
  for (const key of Object.keys(value as Json).sort().reverse()) {
    writer.delimited(field.number, () => {
      writeOne(writer, { ...field, number: 2 }, (value as Json)[key]);
      writer.delimited(1, () => writer.string(key));
    });
  }
}

function writeOne(writer: BackwardWriter, field: Field, value: unknown): void {
  const { number } = field;
  switch (field.scalar) {
    case "s":
      return writer.delimited(number, () => writer.string(String(value)));
    case "y":
      return writer.delimited(number, () => writer.bytes(Buffer.from(String(value), "base64")));
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
      return writer.delimited(number, () => writeMessage(writer, field.message(), value));
  }
}
