/** The OpenAPI v2 document in gnostic's protobuf form (openapi.v2.Document), which kubectl before 1.27 asks for. */

type Json = Readonly<Record<string, unknown>>;
type Encoder<T> = (out: Writer, value: T) => void;

/** Field numbers of `openapi.v2.Document`, `Operation`, `Schema` and the rest are those of gnostic's OpenAPIv2.proto. */
export function encodeDocument(document: Json): Buffer {
  const { swagger, info, paths, definitions, security, securityDefinitions } = document as Record<string, Json>;
  const out = createWriter();
  out.string(1, swagger);
  out.nested(2, info, encodeInfo);
  out.nested(8, paths, encodePaths);
  out.nested(9, definitions, named(encodeSchema));
  out.many(12, security, named(encodeStrings));
  out.nested(13, securityDefinitions, named((inner, item: Json) => inner.nested(2, item, encodeApiKey)));
  return out.finish();
}

const encodeInfo: Encoder<Json> = (out, { title, version }) => {
  out.string(1, title);
  out.string(2, version);
};

const encodeApiKey: Encoder<Json> = (out, key) => {
  ["type", "name", "in", "description"].forEach((name, index) => out.string(index + 1, key[name]));
};

const encodeStrings: Encoder<readonly string[]> = (out, values) => out.strings(1, values);

const encodePaths: Encoder<Json> = (out, paths) => {
  for (const [name, item] of Object.entries(paths)) pair(out, 2, name, item as Json, encodePathItem);
};

const methods = [[2, "get"], [3, "put"], [4, "post"], [5, "delete"], [8, "patch"]] as const;

const encodePathItem: Encoder<Json> = (out, item) => {
  for (const [field, method] of methods) out.nested(field, item[method], encodeOperation);
};

const encodeOperation: Encoder<Json> = (out, operation) => {
  out.strings(1, operation["tags"]);
  out.string(3, operation["description"]);
  out.string(5, operation["operationId"]);
  out.strings(6, operation["produces"]);
  out.strings(7, operation["consumes"]);
  out.many(8, operation["parameters"], (inner, parameter: Json) => inner.nested(1, parameter, encodeParameter));
  out.nested(9, operation["responses"], encodeResponses);
  out.strings(10, operation["schemes"]);
  encodeExtensions(out, 13, operation);
};

const encodeParameter: Encoder<Json> = (out, parameter) => {
  if (parameter["in"] === "body") return out.nested(1, parameter, encodeBody);
  const inPath = parameter["in"] === "path";
  return out.nested(2, parameter, (inner, p: Json) => inner.nested(inPath ? 4 : 3, p, (place, q: Json) => {
    place.bool(1, q["required"]);
    place.string(2, q["in"]);
    place.string(3, q["description"]);
    place.string(4, q["name"]);
    // The two kinds of parameter differ by one field in the middle.
    place.string(inPath ? 5 : 6, q["type"]);
    place.bool(inPath ? 19 : 20, q["uniqueItems"]);
  }));
};

const encodeBody: Encoder<Json> = (out, body) => {
  out.string(1, body["description"]);
  out.string(2, body["name"]);
  out.string(3, body["in"]);
  out.bool(4, body["required"]);
  out.nested(5, body["schema"], encodeSchema);
};

const encodeResponses: Encoder<Json> = (out, responses) => {
  for (const [code, response] of Object.entries(responses)) {
    pair(out, 1, code, response as Json, (inner, r) => inner.nested(1, r, (answer, value: Json) => {
      answer.string(1, value["description"]);
      answer.nested(2, value["schema"], (item, schema: Json) => item.nested(1, schema, encodeSchema));
    }));
  }
};

const encodeSchema: Encoder<Json> = (out, schema) => {
  out.string(1, schema["$ref"]);
  out.string(2, schema["format"]);
  out.string(3, schema["title"]);
  out.string(4, schema["description"]);
  out.nested(5, schema["default"], encodeAny);
  out.double(7, schema["maximum"]);
  out.double(9, schema["minimum"]);
  out.int(11, schema["maxLength"]);
  out.int(12, schema["minLength"]);
  out.string(13, schema["pattern"]);
  out.int(14, schema["maxItems"]);
  out.int(15, schema["minItems"]);
  out.bool(16, schema["uniqueItems"]);
  out.strings(19, schema["required"]);
  out.many(20, schema["enum"], encodeAny);
  out.nested(21, schema["additionalProperties"], encodeAdditional);
  out.nested(22, schema["type"], (inner, type: string) => inner.string(1, type));
  out.nested(23, schema["items"], (inner, item: Json) => inner.nested(1, item, encodeSchema));
  out.many(24, schema["allOf"], encodeSchema);
  out.nested(25, schema["properties"], named(encodeSchema));
  encodeExtensions(out, 31, schema);
};

const encodeAdditional: Encoder<unknown> = (out, value) => {
  if (typeof value === "boolean") out.bool(2, value, true);
  else out.nested(1, value, encodeSchema);
};

/** `Any` as YAML text, of which JSON is a part. */
const encodeAny: Encoder<unknown> = (out, value) => out.string(2, `${JSON.stringify(value)}\n`);

function encodeExtensions(out: Writer, field: number, object: Json): void {
  for (const key in object) if (key.startsWith("x-")) pair(out, field, key, object[key], encodeAny);
}

/** A message of pairs of name and value in field 1. */
const named = <T>(encode: Encoder<T>): Encoder<Json> => (out, object) => {
  for (const [name, value] of Object.entries(object)) pair(out, 1, name, value as T, encode);
};

function pair<T>(out: Writer, field: number, name: string, value: T, encode: Encoder<T>): void {
  out.nested(field, value, (inner, item: T) => {
    inner.string(1, name);
    inner.nested(2, item, encode);
  });
}

/** Absent values are left out, as proto3 leaves out what has its default. */
interface Writer {
  string(field: number, value: unknown): void;
  strings(field: number, values: unknown): void;
  bool(field: number, value: unknown, always?: boolean): void;
  int(field: number, value: unknown): void;
  double(field: number, value: unknown): void;
  nested<T>(field: number, value: unknown, encode: Encoder<T>): void;
  many<T>(field: number, values: unknown, encode: Encoder<T>): void;
  finish(): Buffer;
}

const FIRST_SIZE = 1 << 20;

/** Writes forwards; a message's length is put before it when it is known, and moves it by the bytes that it needs. */
function createWriter(): Writer {
  let buffer = Buffer.allocUnsafe(FIRST_SIZE);
  let at = 0;
  const room = (size: number): void => {
    if (at + size <= buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + size));
    buffer.copy(larger, 0, 0, at);
    buffer = larger;
  };
  const varint = (value: number): void => {
    room(10);
    let rest = value;
    for (; rest > 127; rest = Math.floor(rest / 128)) buffer[at++] = (rest % 128) | 128;
    buffer[at++] = rest;
  };
  const text = (field: number, value: string): void => {
    const length = Buffer.byteLength(value);
    varint((field << 3) | 2);
    varint(length);
    room(length);
    at += buffer.write(value, at);
  };
  const writer: Writer = {
    string(field, value) {
      if (typeof value === "string" && value !== "") text(field, value);
    },
    strings(field, values) {
      for (const value of (values as readonly string[] | undefined) ?? []) text(field, value);
    },
    bool(field, value, always = false) {
      if (value !== true && !(always && value === false)) return;
      varint(field << 3);
      varint(value ? 1 : 0);
    },
    int(field, value) {
      if (typeof value !== "number" || value <= 0) return;
      varint(field << 3);
      varint(value);
    },
    double(field, value) {
      if (typeof value !== "number") return;
      varint((field << 3) | 1);
      room(8);
      at = buffer.writeDoubleLE(value, at);
    },
    nested(field, value, encode) {
      if (value === undefined) return;
      varint((field << 3) | 2);
      room(1);
      const start = ++at;
      encode(writer, value as never);
      const length = at - start;
      const extra = length < 128 ? 0 : Math.floor(Math.log2(length) / 7);
      if (extra > 0) {
        room(extra);
        buffer.copyWithin(start + extra, start, at);
      }
      at = start - 1;
      varint(length);
      at += length;
    },
    many(field, values, encode) {
      for (const value of (values as readonly unknown[] | undefined) ?? []) writer.nested(field, value, encode);
    },
    finish: () => buffer.subarray(0, at),
  };
  return writer;
}
