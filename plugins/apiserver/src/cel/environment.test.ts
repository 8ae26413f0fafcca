import { describe, expect, it } from "vitest";
import { celEnvironment, compile } from "./environment.ts";
import { optional } from "./engine.ts";
import { goRegExp } from "./regexp.ts";

const environment = celEnvironment({ self: "dyn", oldSelf: "dyn" });
const run = (expression: string, variables: Readonly<Record<string, unknown>> = {}): unknown => compile(environment, expression).evaluate(variables);

describe("CEL", () => {
  it.each([
    ["self.a + 1 == 3", { self: { a: 2n } }],
    ["has(self[0].matches) && !has(self[0].other)", { self: [{ matches: [] }] }],
    ["self.matches('^(?i)ABC[[:digit:]]$')", { self: "abc1" }],
    ["self == 'a.matches(b) has(c)'", { self: "a.matches(b) has(c)" }],
    ["self.all(x, x.name != '') && self.exists_one(x, x.name == 'a')", { self: [{ name: "a" }, { name: "b" }] }],
    ["self.replace('a', 'b', 1) == 'bca'", { self: "aca" }],
    ["'%s has %d of %.2f'.format(['x', 2, 1.5]) == 'x has 2 of 1.50'", {}],
    ["self.findAll('[0-9]+') == ['1', '22']", { self: "a1b22" }],
    ["[1, 2, 3].sum() == 6 && [3, 1].min() == 1 && [1, 2].isSorted() && [1, 2].indexOf(2) == 1", {}],
    ["sets.contains([1, 2, 3], [2]) && sets.intersects([1], [1, 2]) && !sets.equivalent([1], [2])", {}],
    ["math.greatest(1, 3) == 3 && math.least([4, 2]) == 2", {}],
    ["quantity('1Gi').isGreaterThan(quantity('1000M')) && quantity('1500m').compareTo(quantity('1.5')) == 0", {}],
    ["quantity('2').sub(quantity('1')).asInteger() == 1 && isQuantity('5m') && !isQuantity('x')", {}],
    ["ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('10.0.0') && ip('127.0.0.1').isLoopback()", {}],
    ["cidr('10.0.0.0/8').containsIP('10.2.3.4') && !cidr('10.0.0.0/8').containsCIDR('11.0.0.0/16') && cidr('10.0.0.0/8').prefixLength() == 8", {}],
    ["url('https://a.example:8443/p?x=1').getPort() == '8443' && url('/p').getHost() == '' && !isURL('../x')", {}],
    ["oldSelf.orValue('none') == 'none'", { oldSelf: optional(undefined) }],
    ["oldSelf.hasValue() && oldSelf.value() == 'x'", { oldSelf: optional("x") }],
    ["self.?a.b.orValue(7) == 7", { self: {} }],
    ["duration(self) > duration('1m') && timestamp('2026-01-01T00:00:00Z').getFullYear() == 2026", { self: "1h" }],
  ])("%s", (expression, variables) => {
    expect(run(expression, variables)).toBe(true);
  });

  it.each([
    ["self.a == 1", { self: {} }, "no such key: a"],
    ["self[3] == 1", { self: [1n] }, "no such key: index out of bounds, index 3 >= size 1"],
    ["self / 0 == 1", { self: 1n }, "division by zero"],
  ])("fails at run time: %s", (expression, variables, message) => {
    expect(() => run(expression, variables)).toThrow(message);
  });

  it.each(["self.a +", "foo(self)", "other == 1", "has(self)"])("does not compile: %s", (expression) => {
    expect(() => compile(environment, expression)).toThrow();
  });

  it("knows what an expression speaks of", () => {
    expect(compile(environment, "self.all(x, x == oldSelf.y)").uses("oldSelf")).toBe(true);
    expect(compile(environment, "self.oldSelf == 'oldSelf'").uses("oldSelf")).toBe(false);
    expect(compile(environment, "1 + 1").type).toBe("int");
  });
});

describe("a pattern in Go's syntax", () => {
  it.each([
    ["^(?i)abc$", "ABC", true], ["(?i:a)b", "Ab", true], ["(?i:a)b", "AB", false], ["^[[:alpha:]]+$", "ab", true], ["^[[:alpha:]_-]+$", "a_-1", false],
    ["(?P<n>a)\\z", "ba", true], ["^\\pL+$", "äb", true], ["^\\_x\\-$", "_x-", true], ["\\Qa.b\\E", "a.b", true], ["\\Qa.b\\E", "axb", false],
    ["^a(?s).b$", "a\nb", true], ["^[]a]+$", "]a", true], ["^(a|(?i)b)c$", "Bc", true], ["^(a|(?i)b)c$", "bC", false], ["^\\x{41}$", "A", true],
  ])("%s on %j", (pattern, text, matches) => {
    expect(goRegExp(pattern).test(text)).toBe(matches);
  });

  it("is refused when it has no meaning", () => {
    expect(() => goRegExp("(a")).toThrow();
  });
});
