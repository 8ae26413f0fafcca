/** A minimal DER writer and reader: just what X.509 certificates are made of. */

export const der = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), lengthOf(body.length), body]);
};

function lengthOf(n: number): Buffer {
  if (n < 128) return Buffer.from([n]);
  const bytes: number[] = [];
  for (let rest = n; rest > 0; rest >>= 8) bytes.unshift(rest & 255);
  return Buffer.from([128 | bytes.length, ...bytes]);
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);
export const set = (...parts: readonly Uint8Array[]): Buffer => der(0x31, ...parts);
export const octets = (bytes: Uint8Array): Buffer => der(0x04, bytes);
export const bits = (bytes: Uint8Array): Buffer => der(0x03, Buffer.from([0]), bytes);
export const boolean = (value: boolean): Buffer => der(0x01, Buffer.from([value ? 255 : 0]));
export const utf8 = (text: string): Buffer => der(0x0c, Buffer.from(text, "utf8"));
export const explicit = (n: number, ...parts: readonly Uint8Array[]): Buffer => der(0xa0 | n, ...parts);
export const implicit = (n: number, bytes: Uint8Array): Buffer => der(0x80 | n, bytes);

/** Unsigned big-endian bytes; a leading zero keeps the number positive. */
export function integer(bytes: Uint8Array): Buffer {
  const trimmed = bytes.subarray(Math.max(0, bytes.findIndex((b) => b !== 0)));
  return der(0x02, trimmed[0]! & 128 ? Buffer.from([0, ...trimmed]) : trimmed);
}

export function oid(dotted: string): Buffer {
  const [a = 0, b = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [a * 40 + b];
  for (const part of rest) {
    const groups = [part & 127];
    for (let n = part >>> 7; n > 0; n >>>= 7) groups.unshift((n & 127) | 128);
    bytes.push(...groups);
  }
  return der(0x06, Buffer.from(bytes));
}

/** RFC 5280: UTCTime until 2049, GeneralizedTime after. */
export function time(date: Date): Buffer {
  const text = date.toISOString().replace(/[-:T]/g, "").replace(/\.\d+/, "");
  return date.getUTCFullYear() < 2050 ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text));
}

/** Where the content of a value begins. */
function headerLength(value: Uint8Array): number {
  return value[1]! < 128 ? 2 : 2 + (value[1]! & 127);
}

export const content = (value: Uint8Array): Buffer => Buffer.from(value.subarray(headerLength(value)));

/** The values that a constructed one is made of, each with its header; throws a RangeError when one ends too early. */
export function parts(value: Uint8Array): Buffer[] {
  const rest = content(value);
  const found: Buffer[] = [];
  for (let at = 0; at < rest.length; ) {
    const header = headerLength(rest.subarray(at));
    const size = header === 2 ? rest[at + 1]! : rest.readUIntBE(at + 2, header - 2);
    if (at + header + size > rest.length) throw new RangeError("a DER value ends before it should");
    found.push(rest.subarray(at, at + header + size));
    at += header + size;
  }
  return found;
}

/** PEM (RFC 7468). */
export const pem = (label: string, value: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${Buffer.from(value).toString("base64").replace(/(.{64})/g, "$1\n").trimEnd()}\n-----END ${label}-----\n`;
