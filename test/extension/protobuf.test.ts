/** Protobuf against a codec of others: protobufjs, from the same table of fields, reads and writes the very same bytes. */
import { Writer, Field as PbField, MapField, Root, Type } from "protobufjs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { configMaps } from "@k3s-p/plugin-api/kube";
import { decodeProtobuf, encodeProtobuf, encodeProtobufList } from "../../plugins/apiserver/src/protobuf/index.ts";
import { type Field, type Message, protobufSchema } from "../../plugins/apiserver/src/protobuf/schema.ts";
import { builtinResources } from "../../plugins/apiserver/src/resources/index.ts";
import { createTestCluster, type TestCluster } from "../kit/index.ts";
import { openRaw, raw } from "./http.ts";

const TYPE = "application/vnd.kubernetes.protobuf";
const schema = protobufSchema();
const scalars = { s: "string", b: "bool", i: "int64", d: "double", y: "bytes" } as const;

/** Messages of protobufjs; fields are named by their numbers, as names in the table may be those of JSON. */
const root = new Root();
const types = new Map<string, Type>();
function typeOf(message: Message): Type {
  const known = types.get(message.name);
  if (known) return known;
  const type = new Type(message.name.replaceAll(/\W/g, "_"));
  types.set(message.name, type);
  root.add(type);
  for (const field of message.fields) {
    const name = `f${field.number}`;
    const kind = field.scalar ? scalars[field.scalar] : typeOf(field.message()).name;
    if (field.shape === "map") type.add(new MapField(name, field.number, "string", kind));
    else type.add(new PbField(name, field.number, kind, field.shape === "list" ? "repeated" : undefined, undefined, { packed: false }));
  }
  return type;
}

/** JSON of messages that are no objects of their fields. */
const special: Readonly<Record<string, unknown>> = {
  "meta.v1.Time": "2026-01-02T03:04:05Z", "meta.v1.MicroTime": "2026-01-02T03:04:05.123456Z", "api.resource.Quantity": "100m", "util.intstr.IntOrString": "25%",
  "runtime.RawExtension": { any: 1 }, "apiextensions.v1.JSON": [1, "a"], "meta.v1.FieldsV1": { "f:spec": {} },
  "authentication.v1.ExtraValue": ["x"], "authorization.v1.ExtraValue": ["x"], "certificates.v1.ExtraValue": ["x"],
  "apiextensions.v1.JSONSchemaPropsOrArray": { type: "string" }, "apiextensions.v1.JSONSchemaPropsOrBool": true, "apiextensions.v1.JSONSchemaPropsOrStringArray": ["a", "b"],
};

/** An object in which every field has a value; a message inside of itself is left empty. */
function full(message: Message, inside: readonly string[] = []): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  for (const field of message.fields) {
    if (field.inline) Object.assign(object, full(field.message(), [...inside, message.name]));
    else if (!(field.json in object)) object[field.json] = shaped(field, [...inside, message.name]);
  }
  return object;
}

function shaped(field: Field, inside: readonly string[]): unknown {
  const one = (salt: string): unknown => valueOf(field, inside, salt);
  return field.shape === "list" ? [one("a"), one("b")] : field.shape === "map" ? { a: one("a"), "b.c/d": one("b") } : one("");
}

function valueOf(field: Field, inside: readonly string[], salt: string): unknown {
  switch (field.scalar) {
    case "s": return `${field.json}${salt} é`;
    case "b": return true;
    case "i": return field.number % 2 ? -field.number : 2 ** 40 + field.number;
    case "d": return 1.5;
    case "y": return Buffer.from(`bytes${salt}`).toString("base64");
    default: {
      const message = field.message();
      if (message.name in special) return structuredClone(special[message.name]);
      return inside.includes(message.name) || inside.length > 12 ? {} : full(message, inside);
    }
  }
}

const kinds = [...new Map(builtinResources.flatMap(({ group, version, kind }) => {
  const apiVersion = group ? `${group}/${version}` : version;
  return [kind, `${kind}List`].filter((name) => schema.messageFor(apiVersion, name)).map((name) => [`${apiVersion} ${name}`, { apiVersion, kind: name }] as const);
})).entries()];

test("every built-in resource has a message, and its list", () => {
  const without = builtinResources.filter(({ group, version, kind }) => !schema.messageFor(group ? `${group}/${version}` : version, kind)).map(({ group, kind }) => `${group}/${kind}`);
  expect(without).toEqual([]);
  expect(kinds.length).toBeGreaterThan(100);
});

test.each(kinds)("%s is the same bytes for protobufjs, and the same object afterwards", (_, { apiVersion, kind }) => {
  const message = schema.messageFor(apiVersion, kind)!;
  const object = { ...full(message), apiVersion, kind };
  const bytes = encodeProtobuf(object);
  const envelope = typeOf(schema.message("runtime.Unknown"));
  const outer = envelope.decode(bytes.subarray(4)) as unknown as { f1: { f1: string; f2: string }; f2: Uint8Array };
  expect([outer.f1.f1, outer.f1.f2]).toEqual([apiVersion, kind]);
  const type = typeOf(message);
  const again = type.encode(type.decode(outer.f2)).finish();
  expect(Buffer.from(again).equals(Buffer.from(outer.f2))).toBe(true);
  expect(decodeProtobuf(bytes)).toEqual(object);
});

test("a list of items that were encoded before is the list encoded at once", () => {
  const items = ["a", "b"].map((name) => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { k: "v" } }));
  const whole = encodeProtobuf({ apiVersion: "v1", kind: "ConfigMapList", metadata: { resourceVersion: "5" }, items } as never);
  for (let i = 0; i < 2; i++) expect(encodeProtobufList("v1", "ConfigMap", { resourceVersion: "5" }, items.map((object) => ({ object }))).equals(whole)).toBe(true);
});

describe("over HTTP", () => {
  let cluster: TestCluster;
  const MAPS = "/api/v1/namespaces/default/configmaps";
  beforeAll(async () => { cluster = await createTestCluster(); });
  afterAll(() => cluster.stop());
  const send = (body: Buffer, accept = "application/json") => raw(cluster, MAPS, { method: "POST", body, headers: { "content-type": TYPE, accept } });
  const bodyOf = (name: string): Buffer => encodeProtobuf({ apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { a: "b" } } as never);
  const good = bodyOf("sent");

  test("a body in protobuf is taken, and the answer is what was asked for", async () => {
    const { status, bytes } = await send(good);
    expect([status, JSON.parse(bytes.toString()).data]).toEqual([201, { a: "b" }]);
    expect(decodeProtobuf((await send(bodyOf("other"), TYPE)).bytes)).toMatchObject({ kind: "ConfigMap", metadata: { name: "other" } });
    const list = decodeProtobuf((await raw(cluster, MAPS, { headers: { accept: TYPE } })).bytes) as unknown as { kind: string; items: { metadata: { name: string } }[] };
    expect([list.kind, list.items.map(({ metadata }) => metadata.name).filter((name) => name !== "kube-root-ca.crt")]).toEqual(["ConfigMapList", ["other", "sent"]]);
  });

  const length = (n: number): Buffer => Buffer.from(Writer.create().uint32(n).finish());
  const magic = good.subarray(0, 4);
  test.each<[string, Buffer]>([
    ["without the magic number", Buffer.concat([Buffer.from("k9s\0"), good.subarray(4)])], ["of the magic number alone", magic],
    ["cut off", good.subarray(0, good.length - 3)], ["cut off in its head", good.subarray(0, 9)],
    ["with a huge length", Buffer.concat([magic, Buffer.from([0x12]), length(0xffff_fff0), Buffer.from("x")])],
    ["with an endless number", Buffer.concat([magic, Buffer.alloc(20, 0xff)])], ["with a wrong wire type", Buffer.concat([magic, Buffer.from([0x0f, 1, 2, 3])])],
    ["of an unknown kind", Buffer.from("6b3873000a0c0a0276311206426f676f7573", "hex")],
    ["of noise", Buffer.concat([magic, Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 7919 + 3) % 256))])],
  ])("a body %s is refused with 400, and the server goes on", async (_, body) => {
    const { status, bytes } = await send(body);
    expect([status, JSON.parse(bytes.toString()).reason]).toEqual([400, "BadRequest"]);
    expect((await raw(cluster, `${MAPS}/sent`)).status).toBe(200);
  });

  test("a watch is frames of events", async () => {
    const res = await openRaw(cluster, `${MAPS}?watch=1&fieldSelector=metadata.name%3Dseen`, { headers: { accept: `${TYPE};stream=watch` } });
    expect(res.headers["content-type"]).toBe(`${TYPE};stream=watch`);
    await send(bodyOf("seen"));
    let buffer = Buffer.alloc(0);
    for await (const chunk of res) {
      buffer = Buffer.concat([buffer, chunk as Buffer]);
      if (buffer.length >= 4 && buffer.length >= 4 + buffer.readUInt32BE(0)) break;
    }
    res.destroy();
    const event = typeOf(schema.message("meta.v1.WatchEvent")).decode(buffer.subarray(4, 4 + buffer.readUInt32BE(0))) as unknown as { f1: string; f2: { f1: Uint8Array } };
    expect([event.f1, decodeProtobuf(Buffer.from(event.f2.f1))]).toMatchObject(["ADDED", { kind: "ConfigMap", metadata: { name: "seen" }, data: { a: "b" } }]);
  });

  test("a list costs no more than in JSON", async () => {
    for (let i = 0; i < 500; i++) await cluster.kube.create(configMaps, { metadata: { name: `m${i}`, namespace: "default", labels: { a: "b" } }, data: { a: "x".repeat(200), b: "y" } });
    const cost = async (accept: string): Promise<number> => {
      const begin = process.cpuUsage();
      for (let i = 0; i < 10; i++) expect((await raw(cluster, MAPS, { headers: { accept } })).status).toBe(200);
      const { user, system } = process.cpuUsage(begin);
      return user + system;
    };
    // In turns, and the least of each: a busy machine makes any one round dear.
    const rounds: { readonly json: number; readonly protobuf: number }[] = [];
    for (let i = 0; i < 6; i++) rounds.push({ json: await cost("application/json"), protobuf: await cost(TYPE) });
    const least = (of: (round: (typeof rounds)[number]) => number): number => Math.min(...rounds.map(of));
    expect(least(({ protobuf }) => protobuf)).toBeLessThan(1.2 * least(({ json }) => json));
  });
});
