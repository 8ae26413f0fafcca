/** The OpenAPI v2 document in gnostic's protobuf form (openapi.v2.Document), which kubectl before 1.27 asks for. */

type Json = Readonly<Record<string, unknown>>;
type Encoder<T> = (value: T) => Buffer;

/** Field numbers of `openapi.v2.Document`, `Operation`, `Schema` and the rest, from gnostic's OpenAPIv2.proto. */
export function encodeDocument(document: Json): Buffer {
  const { swagger, info, paths, definitions, security, securityDefinitions } = document as Record<string, Json>;
  return message(
    string(1, swagger), nested(2, info, encodeInfo), nested(8, paths, encodePaths),
    nested(9, definitions, named(encodeSchema)),
    many(12, security as unknown as Json[], (requirement) => named(encodeStrings)(requirement)),
    nested(13, securityDefinitions, named((item: Json) => nested(2, item, encodeApiKey))),
  );
}

const encodeInfo: Encoder<Json> = ({ title, version }) => message(string(1, title), string(2, version));
const encodeApiKey: Encoder<Json> = (key) =>
  message(string(1, key["type"]), string(2, key["name"]), string(3, key["in"]), string(4, key["description"]));
const encodeStrings: Encoder<readonly string[]> = (values) => strings(1, values);

const encodePaths: Encoder<Json> = (paths) =>
  message(...Object.entries(paths).map(([name, item]) => pair(2, name, item as Json, encodePathItem)));

const encodePathItem: Encoder<Json> = (item) => message(
  nested(2, item["get"], encodeOperation), nested(3, item["put"], encodeOperation), nested(4, item["post"], encodeOperation),
  nested(5, item["delete"], encodeOperation), nested(8, item["patch"], encodeOperation),
);

const encodeOperation: Encoder<Json> = (operation) => message(
  strings(1, operation["tags"]), string(3, operation["description"]), string(5, operation["operationId"]),
  strings(6, operation["produces"]), strings(7, operation["consumes"]),
  many(8, operation["parameters"] as Json[] | undefined, (parameter) => nested(1, parameter, encodeParameter)),
  nested(9, operation["responses"] as Json, encodeResponses), strings(10, operation["schemes"]), extensions(13, operation),
);

const encodeParameter: Encoder<Json> = (parameter) => {
  if (parameter["in"] === "body") {
    return nested(1, parameter, (p: Json) => message(
      string(1, p["description"]), string(2, p["name"]), string(3, p["in"]), bool(4, p["required"]), nested(5, p["schema"], encodeSchema)));
  }
  const inPath = parameter["in"] === "path";
  // The two kinds of parameter differ by one field in the middle.
  const [type, unique] = inPath ? [5, 19] : [6, 20];
  return nested(2, parameter, (p: Json) => nested(inPath ? 4 : 3, p, (q: Json) => message(
    bool(1, q["required"]), string(2, q["in"]), string(3, q["description"]), string(4, q["name"]), string(type!, q["type"]), bool(unique!, q["uniqueItems"]))));
};

const encodeResponses: Encoder<Json> = (responses) => message(...Object.entries(responses).map(([code, response]) =>
  pair(1, code, response as Json, (r: Json) => nested(1, r, (value: Json) => message(
    string(1, value["description"]), nested(2, value["schema"], (schema: Json) => nested(1, schema, encodeSchema)))))));

const encodeSchema: Encoder<Json> = (schema) => {
  const { type, items, properties, additionalProperties } = schema as Record<string, Json | undefined>;
  return message(
    string(1, schema["$ref"]), string(2, schema["format"]), string(3, schema["title"]), string(4, schema["description"]),
    nested(5, schema["default"], encodeAny), double(7, schema["maximum"]), double(9, schema["minimum"]),
    int(11, schema["maxLength"]), int(12, schema["minLength"]), string(13, schema["pattern"]), int(14, schema["maxItems"]),
    int(15, schema["minItems"]), bool(16, schema["uniqueItems"]), strings(19, schema["required"]),
    many(20, schema["enum"] as unknown[] | undefined, encodeAny),
    additionalProperties === undefined ? empty : nested(21, { value: additionalProperties }, encodeAdditional),
    type === undefined ? empty : nested(22, [type as unknown as string].flat(), encodeStrings),
    items === undefined ? empty : nested(23, items, (item: Json) => nested(1, item, encodeSchema)),
    many(24, schema["allOf"] as Json[] | undefined, encodeSchema),
    properties === undefined ? empty : nested(25, properties, named(encodeSchema)), extensions(31, schema),
  );
};

const encodeAdditional: Encoder<{ value: unknown }> = ({ value }) =>
  (typeof value === "boolean" ? bool(2, value, true) : nested(1, value as Json, encodeSchema));

/** `Any` as YAML text, of which JSON is a part. */
const encodeAny: Encoder<unknown> = (value) => string(2, `${JSON.stringify(value)}\n`);

const extensions = (field: number, object: Json): Buffer => message(...Object.entries(object)
  .filter(([key]) => key.startsWith("x-")).map(([key, value]) => pair(field, key, value, encodeAny)));

/** A message of pairs of name and value in field 1. */
const named = <T>(encode: Encoder<T>): Encoder<Json> => (object) =>
  message(...Object.entries(object).map(([name, value]) => pair(1, name, value as T, encode)));

const pair = <T>(field: number, name: string, value: T, encode: Encoder<T>): Buffer =>
  bytes(field, message(string(1, name), bytes(2, encode(value))));

const empty = Buffer.alloc(0);
const message = (...parts: readonly Buffer[]): Buffer => Buffer.concat(parts);

function nested<T>(field: number, value: unknown, encode: Encoder<T>): Buffer {
  return value === undefined ? empty : bytes(field, encode(value as T));
}

const many = <T>(field: number, values: readonly T[] | undefined, encode: Encoder<T>): Buffer =>
  message(...(values ?? []).map((value) => bytes(field, encode(value))));
const strings = (field: number, values: unknown): Buffer => many(field, values as string[] | undefined, (value) => Buffer.from(value));
const string = (field: number, value: unknown): Buffer => (typeof value === "string" && value !== "" ? bytes(field, Buffer.from(value)) : empty);

function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);
}

const bool = (field: number, value: unknown, always = false): Buffer =>
  (value === true || (always && value === false) ? Buffer.concat([varint(field << 3), varint(value ? 1 : 0)]) : empty);
const int = (field: number, value: unknown): Buffer =>
  (typeof value === "number" && value > 0 ? Buffer.concat([varint(field << 3), varint(value)]) : empty);

function double(field: number, value: unknown): Buffer {
  if (typeof value !== "number") return empty;
  const number = Buffer.alloc(8);
  number.writeDoubleLE(value);
  return Buffer.concat([varint((field << 3) | 1), number]);
}

function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  while (rest > 127) {
    out.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...out, rest]);
}
