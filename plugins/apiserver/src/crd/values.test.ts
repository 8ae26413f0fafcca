import { describe, expect, it } from "vitest";
import type { Obj } from "../resources/types.ts";
import { validateEmbedded, validateLists } from "./lists.ts";
import { fillDefaults, isComplete, prune } from "./prune.ts";
import { validateRules } from "./rules.ts";
import { readSchema, type SchemaProps } from "./schema.ts";
import { cronTabSchema } from "./testing.ts";
import { validateValues } from "./values.ts";

const object = (value: object): Obj => value as Obj;
/** The schema of a field `spec.x`. */
const field = (x: SchemaProps): SchemaProps => ({ type: "object", properties: { spec: { type: "object", properties: { x } } } });
const lines = (errors: readonly { field: string; message: string }[]): string[] => errors.map((e) => `${e.field}: ${e.message}`);
const findings = (x: SchemaProps, value: unknown): string[] => lines(validateValues(readSchema(field(x)), { spec: { x: value } }));

describe("a value is judged with upstream's words", () => {
  it.each<[string, SchemaProps, unknown, string[]]>([
    ["type", { type: "integer" }, "a", ['spec.x: Invalid value: "string": spec.x in body must be of type integer: "string"']],
    ["type of null", { type: "string" }, null, ['spec.x: Invalid value: "null": spec.x in body must be of type string: "null"']],
    ["nullable", { type: "string", nullable: true }, null, []],
    ["integer as number", { type: "number" }, 1, []],
    ["number as integer", { type: "integer" }, 1.5, ['spec.x: Invalid value: "number": spec.x in body must be of type integer: "number"']],
    ["object for list", { type: "array", items: { type: "string" } }, {}, ['spec.x: Invalid value: "object": spec.x in body must be of type array: "object"']],
    ["item", { type: "array", items: { type: "string" } }, ["a", 1], ['spec.x[1]: Invalid value: "integer": spec.x[1] in body must be of type string: "integer"']],
    ["map value", { type: "object", additionalProperties: { type: "string" } }, { k: true }, ['spec.x.k: Invalid value: "boolean": spec.x.k in body must be of type string: "boolean"']],
    ["int or string", { "x-kubernetes-int-or-string": true }, 5, []],
    ["neither", { "x-kubernetes-int-or-string": true }, true, ['spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean"']],
    ["minimum", { type: "integer", minimum: 1 }, 0, ["spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1"]],
    ["exclusive minimum", { type: "integer", minimum: 1, exclusiveMinimum: true }, 1, ["spec.x: Invalid value: 1: spec.x in body should be greater than 1"]],
    ["maximum", { type: "number", maximum: 1.5 }, 2, ["spec.x: Invalid value: 2: spec.x in body should be less than or equal to 1.5"]],
    ["exclusive maximum", { type: "integer", maximum: 3, exclusiveMaximum: true }, 3, ["spec.x: Invalid value: 3: spec.x in body should be less than 3"]],
    ["multiple", { type: "number", multipleOf: 0.1 }, 0.25, ["spec.x: Invalid value: 0.25: spec.x in body should be a multiple of 0.1"]],
    ["good multiple", { type: "number", multipleOf: 0.1 }, 0.3, []],
    ["maxLength", { type: "string", maxLength: 2 }, "abc", ["spec.x: Too long: may not be more than 2 bytes"]],
    ["maxLength in characters", { type: "string", maxLength: 2 }, "äö", []],
    ["minLength", { type: "string", minLength: 2 }, "a", ['spec.x: Invalid value: "a": spec.x in body should be at least 2 chars long']],
    ["pattern", { type: "string", pattern: "^a$" }, "b", ['spec.x: Invalid value: "b": spec.x in body should match \'^a$\'']],
    ["enum", { type: "string", enum: ["A", "B"] }, "C", ['spec.x: Unsupported value: "C": supported values: "A", "B"']],
    ["enum of numbers", { type: "integer", enum: [1, 2] }, 3, ['spec.x: Unsupported value: 3: supported values: "1", "2"']],
    ["maxItems", { type: "array", maxItems: 1, items: { type: "string" } }, ["a", "b"], ["spec.x: Too many: 2: must have at most 1 items"]],
    ["minItems", { type: "array", minItems: 1, items: { type: "string" } }, [], ["spec.x: Invalid value: 0: spec.x in body should have at least 1 items"]],
    ["maxProperties", { type: "object", maxProperties: 1, additionalProperties: { type: "string" } }, { a: "", b: "" }, ["spec.x: Too many: 2: must have at most 1 items"]],
    ["minProperties", { type: "object", minProperties: 1 }, {}, ["spec.x: Invalid value: 1: spec.x in body should have at least 1 properties"]],
    ["required", { type: "object", required: ["a"], properties: { a: { type: "string" } } }, {}, ["spec.x.a: Required value"]],
    ["format", { type: "string", format: "date-time" }, "now", ['spec.x: Invalid value: "now": spec.x in body must be of type date-time: "now"']],
    ["int32", { type: "integer", format: "int32" }, 2 ** 31, ['<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.x']],
    ["unknown format", { type: "string", format: "k8s-name" }, "X", []],
    ["anyOf", { type: "string", anyOf: [{ enum: ["a"] }, { enum: ["b"] }] }, "c",
      ['<nil>: Invalid value: "": "spec.x" must validate at least one schema (anyOf)', 'spec.x: Unsupported value: "c": supported values: "a"']],
    ["oneOf none", { type: "object", oneOf: [{ required: ["a"] }, { required: ["b"] }] }, {},
      ['<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid', "spec.x.a: Required value"]],
    ["oneOf both", { type: "object", oneOf: [{ required: ["a"] }, { required: ["b"] }] }, { a: 1, b: 1 },
      ['<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives']],
    ["allOf", { type: "integer", allOf: [{ minimum: 1 }, { maximum: 5 }] }, 9,
      ["spec.x: Invalid value: 9: spec.x in body should be less than or equal to 5", '<nil>: Invalid value: "": "spec.x" must validate all the schemas (allOf)']],
    ["not", { type: "string", not: { enum: ["a"] } }, "a", ['<nil>: Invalid value: "": "spec.x" must not validate the schema (not)']],
  ])("%s", (_, schema, value, want) => {
    expect(findings(schema, value)).toEqual(want);
  });

  it.each([
    ["date-time", "2026-01-02T03:04:05.5Z", "2026-13-02T03:04:05Z"], ["date", "2024-02-29", "2023-02-29"], ["duration", "1h30m", "soon"], ["byte", "YQ==", "a"],
    ["ipv4", "1.2.3.4", "1.2.3"], ["ipv6", "::1", "1.2.3.4"], ["cidr", "10.0.0.0/8", "10.0.0.0"], ["uuid", "123e4567-e89b-12d3-a456-426614174000", "123"],
    ["email", "a@b.example", "a"], ["uri", "https://a.example", "a b"], ["hostname", "a.example", "-a"], ["mac", "01:23:45:67:89:ab", "01:23"],
    ["isbn", "9780306406157", "9780306406158"], ["isbn10", "0306406152", "0306406153"], ["creditcard", "4111 1111 1111 1111", "4111111111111112"],
    ["hexcolor", "#a0b1c2", "#a0b1"], ["rgbcolor", "rgb(1,2,255)", "rgb(1,2,256)"], ["ssn", "111-22-3333", "1"], ["uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"],
  ])("format %s takes %s and not %s", (format, good, bad) => {
    expect(findings({ type: "string", format }, good)).toEqual([]);
    expect(findings({ type: "string", format }, bad)).toHaveLength(1);
  });

  it("leaves alone what has not changed", () => {
    const schema = readSchema(cronTabSchema);
    const old = { spec: { cronSpec: "bad", replicas: 50, env: [{ name: "a", value: 1 }] } };
    const next = { spec: { ...old.spec, replicas: 60 } };
    expect(lines(validateValues(schema, next, old))).toEqual(["spec.replicas: Invalid value: 60: spec.replicas in body should be less than or equal to 10"]);
    expect(validateValues(schema, old, structuredClone(old))).toEqual([]);
    expect(lines(validateValues(schema, { spec: { ...old.spec, env: [{ name: "b", value: 1 }, { name: "a", value: 1 }] } }, old))).toEqual([
      'spec.env[0].value: Invalid value: "integer": spec.env[0].value in body must be of type string: "integer"',
    ]);
  });
});

describe("lists", () => {
  const schema = readSchema(cronTabSchema);
  it.each([
    [{ tags: ["a", "b", "a", "a"] }, ['spec.tags[2]: Duplicate value: "a"']],
    [{ env: [{ name: "a" }, { name: "b" }, { name: "a" }] }, ['spec.env[2]: Duplicate value: {"name":"a"}']],
    [{ env: [{ name: "a" }, "b"] }, ['spec.env[1]: Invalid value: "b": must be an object for an array of list-type map']],
    [{ tags: ["a"], env: [] }, []],
  ])("%j", (spec, want) => {
    expect(lines(validateLists(schema, { spec }))).toEqual(want);
  });
});

describe("pruning", () => {
  it.each<[string, object, object, string[]]>([
    ["unknown fields", { a: 1, spec: { cronSpec: "x", b: 1, env: [{ name: "n", c: 1 }] } }, { spec: { cronSpec: "x", env: [{ name: "n" }] } }, ["a", "spec.b", "spec.env[0].c"]],
    ["free parts stay", { spec: { free: { any: [{ thing: 1 }] }, labels: { k: "v" } } }, { spec: { free: { any: [{ thing: 1 }] }, labels: { k: "v" } } }, []],
    ["metadata", { kind: "K", metadata: { name: "n", foo: 1 } }, { kind: "K", metadata: { name: "n" } }, ["metadata.foo"]],
  ])("%s", (_, body, want, unknown) => {
    const copy = object(structuredClone(body));
    expect(prune(readSchema(cronTabSchema), copy)).toEqual(unknown);
    expect(copy).toEqual(want);
  });

  it("knows embedded resources", () => {
    const schema = readSchema(field({ type: "object", "x-kubernetes-embedded-resource": true, properties: { spec: { type: "object" } } }));
    const copy = object({ spec: { x: { apiVersion: "v1", kind: "Pod", metadata: { name: "p", bad: 1 }, spec: { gone: 1 }, other: 1 } } });
    expect(prune(schema, copy)).toEqual(["spec.x.metadata.bad", "spec.x.spec.gone", "spec.x.other"]);
    expect(copy["spec"].x).toEqual({ apiVersion: "v1", kind: "Pod", metadata: { name: "p" }, spec: {} });
    expect(lines(validateEmbedded(schema, { spec: { x: { metadata: {} } } }))).toEqual([
      "spec.x.apiVersion: Required value: must not be empty", "spec.x.kind: Required value: must not be empty",
    ]);
  });
});

describe("defaulting", () => {
  const schema = readSchema(cronTabSchema);
  it.each<[object, object]>([
    [{ spec: { cronSpec: "x" } }, { spec: { cronSpec: "x", image: "busybox", replicas: 1 } }],
    [{ spec: { image: null, replicas: 2, note: null } }, { spec: { image: "busybox", replicas: 2, note: null } }],
    [{ spec: { policy: null, env: [{ name: "a" }] } }, { spec: { image: "busybox", replicas: 1, env: [{ name: "a", value: "" }] } }],
    [{}, {}],
  ])("%j", (body, want) => {
    expect(isComplete(schema, body)).toBe(JSON.stringify(body) === JSON.stringify(want));
    const copy = object(structuredClone(body));
    fillDefaults(schema, copy);
    expect(copy).toEqual(want);
    expect(isComplete(schema, copy)).toBe(true);
  });

  it("fills what a default brings", () => {
    const nested = readSchema(field({ type: "object", default: {}, properties: { a: { type: "integer", default: 1 }, m: { type: "object", additionalProperties: { type: "integer", default: 2 } } } }));
    const copy = object({ spec: {} });
    fillDefaults(nested, copy);
    expect(copy).toEqual({ spec: { x: { a: 1 } } });
    copy["spec"].x.m = { k: null };
    fillDefaults(nested, copy);
    expect(copy["spec"].x.m).toEqual({ k: 2 });
  });
});

describe("CEL rules", () => {
  const rule = (text: string, more: object = {}) => ({ "x-kubernetes-validations": [{ rule: text, ...more }] });
  it.each<[string, SchemaProps, unknown, unknown, string[]]>([
    ["holds", { type: "integer", ...rule("self > 1") }, 2, undefined, []],
    ["fails", { type: "integer", ...rule("self > 1") }, 1, undefined, ['spec.x: Invalid value: "integer": failed rule: self > 1']],
    ["says its message", { type: "integer", ...rule("self > 1", { message: "too small" }) }, 1, undefined, ['spec.x: Invalid value: "integer": too small']],
    ["computes its message", { type: "integer", ...rule("self > 1", { messageExpression: "'got ' + string(self)" }) }, 1, undefined, ['spec.x: Invalid value: "integer": got 1']],
    ["reason and path", { type: "object", properties: { a: { type: "string" } }, ...rule("has(self.a)", { reason: "FieldValueRequired", fieldPath: ".a", message: "a is needed" }) }, {}, undefined, ["spec.x.a: Required value: a is needed"]],
    ["run-time error", { type: "object", properties: { a: { type: "string" } }, ...rule("self.a == 'b'") }, {}, undefined, ['spec.x: Invalid value: "object": no such key: a evaluating rule: self.a == \'b\'']],
    ["transition", { type: "string", ...rule("self == oldSelf", { message: "immutable" }) }, "b", "a", ['spec.x: Invalid value: "string": immutable']],
    ["no transition at creation", { type: "string", ...rule("self == oldSelf") }, "b", undefined, []],
    ["optional oldSelf", { type: "string", ...rule("oldSelf.hasValue() || self == 'first'", { optionalOldSelf: true }) }, "b", undefined, ['spec.x: Invalid value: "string": failed rule: oldSelf.hasValue() || self == \'first\'']],
    ["unchanged is let be", { type: "integer", ...rule("self > 1") }, 1, 1, []],
    ["items of a map list", { type: "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], items: { type: "object", properties: { k: { type: "string" }, v: { type: "integer", ...rule("self >= oldSelf") } } } },
      [{ k: "b", v: 0 }, { k: "a", v: 1 }], [{ k: "a", v: 2 }], ['spec.x[1].v: Invalid value: "integer": failed rule: self >= oldSelf']],
    ["values of a map", { type: "object", additionalProperties: { type: "string", ...rule("self != ''") } }, { k: "" }, undefined, ['spec.x[k]: Invalid value: "string": failed rule: self != \'\'']],
    ["escaped names", { type: "object", properties: { namespace: { type: "string" }, "a-b": { type: "integer" } }, ...rule("self.__namespace__ == 'n' && self.a__dash__b == 1") }, { namespace: "n", "a-b": 1 }, undefined, []],
    ["times", { type: "string", format: "date-time", ...rule("self < timestamp('2026-01-01T00:00:00Z')") }, "2025-01-01T00:00:00Z", undefined, []],
    ["durations", { type: "string", format: "duration", ...rule("self <= duration('1h')") }, "90m", undefined, ['spec.x: Invalid value: "string": failed rule: self <= duration(\'1h\')']],
    ["int or string", { "x-kubernetes-int-or-string": true, ...rule("type(self) == int ? self > 0 : self.matches('^[0-9]+%$')") }, "5%", undefined, []],
  ])("%s", (_, schema, value, before, want) => {
    const node = readSchema(field(schema));
    expect(lines(validateRules(node, { spec: { x: value } }, before === undefined ? undefined : { spec: { x: before } }))).toEqual(want);
  });

  it("sees of the metadata the name", () => {
    const node = readSchema({ type: "object", ...rule("self.metadata.name.startsWith('a') && !has(self.metadata.labels)") });
    expect(validateRules(node, { metadata: { name: "ab", labels: { x: "y" } } })).toEqual([]);
    expect(lines(validateRules(node, { metadata: { name: "b" } }))[0]).toMatch('<nil>: Invalid value: "object": failed rule: ');
  });
});

it("a rule that never ends is cut off", () => {
  const node = readSchema(field({ type: "array", items: { type: "integer" }, "x-kubernetes-validations": [{ rule: "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))" }] }));
  const [line] = lines(validateRules(node, { spec: { x: Array.from({ length: 2000 }, () => 1) } }));
  expect(line).toMatch(/^spec\.x: Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: /);
});
