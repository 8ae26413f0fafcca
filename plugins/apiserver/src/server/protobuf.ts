/**
 * Decodes bodies in Kubernetes' protobuf form, which kubectl sends for its imperative commands; answers are JSON,
 * which every client that sends protobuf accepts as well.
 *
 * `protobuf-fields.txt` has a line a message: its name, then its fields as `<number><flag><name>:<type>`. Flags:
 * `*` optional, `?` left out of JSON when zero, `!` always in JSON, `~` its fields belong to the parent. Types: `s`
 * string, `i` integer, `b` boolean, `d` double, `y` bytes, `V` list of strings in a message of its own, `T` Time, `U`
 * MicroTime, `Q` Quantity, `I` IntOrString, `R` raw JSON, `F` FieldsV1, `D` Duration, or a message's name (`.X` = of
 * the same group and version); `[` before it means a list, `{` a map with string keys.
 */
import { readFileSync } from "node:fs";
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";

interface Field {
  readonly flag: string;
  readonly name: string;
  readonly type: string;
}

type Fields = ReadonlyMap<number, Field>;
type Json = Record<string, any>;

const MAGIC = Buffer.from("k8s\0");

export function decodeProtobuf(bytes: Buffer): Json {
  if (!bytes.subarray(0, 4).equals(MAGIC)) {
    throw badRequest("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
  }
  try {
    return decodeEnvelope(bytes.subarray(4));
  } catch (error) {
    if (error instanceof RangeError) throw badRequest(`unable to decode protobuf: ${error.message}`);
    throw error;
  }
}

/** `runtime.Unknown`: the type's name, then the object. */
function decodeEnvelope(bytes: Buffer): Json {
  let apiVersion = "";
  let kind = "";
  let raw: Buffer = Buffer.alloc(0);
  for (const [number, value] of wire(bytes)) {
    if (number === 2) raw = value as Buffer;
    if (number !== 1) continue;
    for (const [field, text] of wire(value as Buffer)) {
      if (field === 1) apiVersion = (text as Buffer).toString("utf8");
      if (field === 2) kind = (text as Buffer).toString("utf8");
    }
  }
  const name = messageOf(apiVersion, kind);
  if (!messages().has(name)) {
    throw apiError(415, "UnsupportedMediaType", `the body of the request was in an unknown format: no protobuf form of ${apiVersion} ${kind} - ` +
      "accepted media types include: application/json, application/yaml");
  }
  return { apiVersion, kind, ...decodeMessage(raw, name) };
}

const metaKinds = new Set(["DeleteOptions", "Status"]);

function messageOf(apiVersion: string, kind: string): string {
  if (metaKinds.has(kind)) return `meta.${kind}`;
  const [group, version] = apiVersion.includes("/") ? apiVersion.split("/") : ["core", apiVersion];
  return `${group!.split(".")[0]}.${version}.${kind}`;
}

let loaded: Map<string, Fields> | undefined;

function messages(): Map<string, Fields> {
  return (loaded ??= new Map(
    readFileSync(new URL("./protobuf-fields.txt", import.meta.url), "utf8").trimEnd().split("\n").map(parseLine),
  ));
}

function parseLine(line: string): [string, Fields] {
  const [name = "", ...fields] = line.split(" ");
  const scope = name.slice(0, name.lastIndexOf("."));
  return [name, new Map(fields.filter(Boolean).map((text) => {
    const [, number, flag, field, type] = /^(\d+)([*?!~])(\w*):(.*)$/.exec(text)!;
    return [Number(number), { flag: flag!, name: field!, type: type!.replace(/^([[{]?)\./, `$1${scope}.`) }];
  }))];
}

function decodeMessage(bytes: Buffer, name: string): Json {
  const fields = messages().get(name)!;
  const result: Json = {};
  for (const [number, value] of wire(bytes)) {
    const field = fields.get(number);
    if (field) assign(result, field, value);
  }
  return result;
}

function assign(result: Json, { flag, name, type }: Field, value: Wire): void {
  if (flag === "~") {
    Object.assign(result, decodeValue(type, value));
  } else if (type.startsWith("[")) {
    const items = type === "[i" && Buffer.isBuffer(value) ? packed(value) : [decodeValue(type.slice(1), value)];
    (result[name] ??= []).push(...items);
  } else if (type.startsWith("{")) {
    let key = "";
    let item: unknown = emptyOf(type.slice(1));
    for (const [number, part] of wire(value as Buffer)) {
      if (number === 1) key = (part as Buffer).toString("utf8");
      else if (number === 2) item = decodeValue(type.slice(1), part);
    }
    (result[name] ??= {})[key] = item;
  } else {
    const decoded = decodeValue(type, value);
    if (decoded === undefined || (flag === "?" && (decoded === "" || decoded === 0 || decoded === false))) return;
    result[name] = decoded;
  }
}

const emptyOf = (type: string): unknown => (type === "s" || type === "y" ? "" : type === "Q" ? "0" : type === "i" ? 0 : {});

function decodeValue(type: string, value: Wire): unknown {
  switch (type) {
    case "s": return (value as Buffer).toString("utf8");
    case "y": return (value as Buffer).toString("base64");
    case "i": return Number(BigInt.asIntN(64, value as bigint));
    case "b": return value !== 0n;
    case "d": return (value as Buffer).length === 4 ? (value as Buffer).readFloatLE() : (value as Buffer).readDoubleLE();
    case "T": return decodeTime(value as Buffer, 0);
    case "U": return decodeTime(value as Buffer, 6);
    default: return type.length === 1 ? decodeSpecial(type, [...wire(value as Buffer)]) : decodeMessage(value as Buffer, type);
  }
}

function decodeSpecial(type: string, parts: readonly (readonly [number, Wire])[]): unknown {
  const text = (number: number): string => (parts.find(([n]) => n === number)?.[1] as Buffer | undefined)?.toString("utf8") ?? "";
  const integer = (number: number): number => Number(BigInt.asIntN(64, (parts.find(([n]) => n === number)?.[1] as bigint | undefined) ?? 0n));
  switch (type) {
    case "Q": return text(1);
    case "V": return parts.map(([, part]) => (part as Buffer).toString("utf8"));
    case "I": return integer(1) === 1 ? text(3) : integer(2);
    case "R":
    case "F": return text(1) ? (JSON.parse(text(1)) as unknown) : undefined;
    default: return `${integer(1) / 1e9}s`;
  }
}

/** Undefined for the zero time. */
function decodeTime(bytes: Buffer, digits: 0 | 6): string | undefined {
  let seconds = 0n;
  let nanos = 0n;
  for (const [number, value] of wire(bytes)) {
    if (number === 1) seconds = BigInt.asIntN(64, value as bigint);
    if (number === 2) nanos = BigInt.asIntN(64, value as bigint);
  }
  if (seconds === 0n && nanos === 0n) return undefined;
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return digits === 0 ? `${whole}Z` : `${whole}.${String(nanos / 1000n).padStart(6, "0")}Z`;
}

function packed(bytes: Buffer): number[] {
  const items: number[] = [];
  for (let at = 0; at < bytes.length;) {
    const [value, next] = varint(bytes, at);
    items.push(Number(BigInt.asIntN(64, value)));
    at = next;
  }
  return items;
}

/** A varint, or the bytes of every other wire type. */
type Wire = bigint | Buffer;

/** The fields of a message in their order; throws RangeError on bytes that are no message. */
function* wire(bytes: Buffer): Generator<readonly [number, Wire]> {
  let at = 0;
  while (at < bytes.length) {
    const [tag, start] = varint(bytes, at);
    const number = Number(tag >> 3n);
    const type = Number(tag & 7n);
    if (type === 0) {
      const [value, next] = varint(bytes, start);
      at = next;
      yield [number, value];
      continue;
    }
    const [length, from] = type === 2 ? varint(bytes, start) : [type === 1 ? 8n : type === 5 ? 4n : -1n, start];
    const end = from + Number(length);
    if (length < 0n || end > bytes.length) throw new RangeError(`unexpected end of field ${number}`);
    at = end;
    yield [number, bytes.subarray(from, end)];
  }
}

function varint(bytes: Buffer, at: number): [bigint, number] {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = bytes[at++];
    if (byte === undefined) throw new RangeError("unexpected end of data");
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return [value, at];
  }
  throw new RangeError("varint is too long");
}
