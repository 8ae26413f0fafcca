import { describe, expect, it } from "vitest";
import { celEnvironment, compile } from "./environment.ts";

const environment = celEnvironment({ self: "dyn", names: "list<string>" });
const variables = { self: { a: 1n, l: [1n, 2n], text: "x" }, names: ["n"] };
const run = (expression: string): unknown => compile(environment, expression).evaluate(variables);

describe("an optional element", () => {
  it.each<[string, unknown]>([
    ["[1, ?self.?a]", [1n, 1n]], ["[?self.?b, ? self.?c]", []], ["[?names[?0], ?names[?7], 'z']", ["n", "z"]], ["1 in [?self.?a]", true],
    ["{?'a': self.?a, ?'b': self.?b, 'c': 3}", { a: 1n, c: 3n }], ["{'x': [?self.?a, ?self.?b]}", { x: [1n] }], ["{?'b': self.?b}", {}],
    ["self.l.map(x, [?self.?a, x])", [[1n, 1n], [1n, 2n]]], ["[?(self.a == 1 ? self.?a : self.?b)]", [1n]], ["[?optional.none().or(self.?a)]", [1n]],
    ["['[?', \"{?\"] // , ?", ["[?", "{?"]], ["[!true, true ? false : true]", [false, false]], ["self.l[?1].value() + names.size()", 3n],
  ])("%s", (expression, want) => expect(run(expression)).toEqual(want));

  it.each([
    ["[?1]", "1:3: expected type 'optional_type(int)' but found 'int'\n | [?1]\n | ..^"],
    ["self.matches('a') ? [?true ? self.?a : self.?b] : []", "1:22: Syntax error: an optional element stands in a list or a map, and in parentheses when it has operators"],
    ["size(names, ?self)", "1:13: Syntax error: an optional element stands in a list or a map"], ["[?]", "1:3: Syntax error"],
  ])("is refused in %s", (expression, why) => expect(() => compile(environment, expression)).toThrow(why));

  it("is optional at run time, too", () => expect(() => run("[?self.a]")).toThrow("no such overload"));
  it("gives the literal the type of its value", () => expect(["[?names[?0]]", "{?'a': names[?0]}"].map((text) => compile(environment, text).type)).toEqual(["list<string>", "map<string, string>"]));
});

describe("the failure of a logical operator", () => {
  it.each([
    ["self.no == 1 || self.nada == 2", "no such key: no"], ["self.no == 1 && self.nada == 2", "no such key: no"], ["self.a == 2 || self.nada == 2", "no such key: nada"],
    ["self.no == 1 || false", "no such key: no"], ["self.text || false", "no such overload"], ["false || self.text", "no such overload"],
  ])("of %s is the first: %s", (expression, why) => expect(() => run(expression)).toThrow(new RegExp(`^${why}$`)));

  it.each([["self.no == 1 || true", true], ["true || self.no", true], ["self.no == 1 && false", false], ["self.l.exists(x, self.no == x || x == 2)", true], ["self.a == 1 && self.text == 'x'", true]])(
    "does not count when the other side decides: %s", (expression, want) => expect(run(expression)).toBe(want));
});
