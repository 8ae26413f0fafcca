import { expect, it } from "vitest";
import { celEnvironment, compile } from "./environment.ts";
import { estimateCost } from "./estimate.ts";
import { schemaTypes } from "./schema-types.ts";
import { maxSize, minSize, mostValues, type SizedSchema } from "./sizes.ts";

const text: SizedSchema = { type: "string" };
const list = (items: SizedSchema, maxItems?: number): SizedSchema => ({ type: "array", items, ...(maxItems !== undefined && { maxItems }) });
const map = (values: SizedSchema, maxProperties?: number): SizedSchema => ({ type: "object", additionalProperties: values, ...(maxProperties !== undefined && { maxProperties }) });
const object = (properties: Readonly<Record<string, SizedSchema>>, required: readonly string[] = []): SizedSchema => ({ type: "object", properties, required });
const number: SizedSchema = { type: "number" };
const short: SizedSchema = { type: "string", maxLength: 10 };

const cost = (rule: string, schema: SizedSchema): number => {
  const base = celEnvironment({});
  const self = schemaTypes({ environment: base }).typeOf(schema);
  const environment = base.clone().registerVariable("self", self).registerVariable("oldSelf", "dyn");
  return estimateCost(compile(environment, rule).ast, schema, (name) => name);
};

it.each<[string, SizedSchema, number]>([
  ["true", number, 0], ["self == 1.0", number, 1], ["self > 1.0", number, 2], ["self == oldSelf", object({}), 2],
  ["self.all(x, true)", list(number), 4718591], ["self.all(x, true)", list(number, 10), 32], ["self.all(x, true)", list(text), 3145727], ["self.all(x, true)", list(text, 10), 32],
  ["self.exists(x, x == 1.0)", list(number, 10), 52], ["self.exists_one(x, true)", list(number, 10), 24],
  ["self.filter(x, true).size() > 0", list(number, 10), 144], ["self.map(x, x + 1.0).all(y, y > 0.0)", list(number, 10), 203],
  ["self.contains('test')", text, 314574], ["self.contains('test')", short, 5], ["self.startsWith('test')", text, 2],
  ["self.matches('^[a-z]+$')", text, 629147], ["self.matches('^[a-z]+$')", short, 11],
  ["self == 'test'", text, 2], ["self == oldSelf", text, 314575], ["self + 'x' == 'test'", short, 7], ["self in ['a', 'b']", text, 13],
  ["has(self.a) && self.a.size() > 1", object({ a: text }), 5], ["self.a.b.startsWith('x') ? self.a.b == 'yy' : false", object({ a: object({ b: short }) }), 8],
  ["self.all(k, self[k] == 'a')", map(text, 10), 72], ["self.all(k, k.matches('^[a-z]+$'))", map(text, 10), 62],
  ["self.all(k, v, v.contains('abcdefghijk'))", map(short, 10), 122], ["self.all(x, x.name == 'a')", list(object({ name: short }), 10), 62],
  ["self.isSorted()", list(short, 10), 51], ["self.join(',').contains('aaaaaaaaaaaa')", list(short, 10), 124], ["self.split(',').all(x, x == 'a')", short, 210],
  ["sets.contains(self, ['a', 'b'])", list(short, 10), 31], ["self.?a.orValue('').contains('abcdefghijk')", object({ a: short }), 11],
  ["cel.bind(x, self, x == 'a')", short, 14], ["self.trim().contains('abcdefghijk')", short, 13], ["url(self).getHost() == 'a'", short, 7],
])("%s over %j costs %d", (rule, schema, want) => expect(cost(rule, schema)).toBe(want));

it("what nothing bounds has no bound", () => {
  expect(cost("self.map(x, x.lowerAscii()).all(y, self.exists(z, z == y))", list(text))).toBeGreaterThan(1e15);
  expect(Number.isNaN(cost("self.all(x, x.matches(''))", list(text)))).toBe(false);
});

it.each<[SizedSchema, number, number, number]>([
  [text, 2, 3145726, 1048576], [short, 2, 40, 1048576], [{ type: "string", format: "byte", maxLength: 10 }, 2, 10, 1048576], [{ type: "string", enum: ["a", "bcd"] }, 2, 3, 1048576],
  [{ type: "string", format: "date-time" }, 22, 32, 136770], [{ type: "integer" }, 1, 0, 1572864], [{ type: "boolean" }, 4, 0, 629145],
  [list(number), 2, 1572863, 1048576], [map(text), 2, 393215, 1048576], [object({ ab: text, c: number }, ["ab"]), 10, 0, 285975], [object({ a: { ...text, default: "" } }, ["a"]), 2, 0, 1048576],
])("sizes of %j: at least %d bytes, at most %d items, %d times in a request", (schema, min, max, most) => {
  expect([minSize(schema), maxSize(schema), mostValues(schema)]).toEqual([min, max, most]);
});
