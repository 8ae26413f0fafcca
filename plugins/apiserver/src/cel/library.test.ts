/** Expressions and their values: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-cel-libraries */
import { describe, expect, test } from "vitest";
import { celEnvironment, compile } from "./environment.ts";

const environment = celEnvironment({});
const evaluate = (expression: string): unknown => {
  const value = compile(environment, expression).evaluate({});
  return value instanceof Map ? Object.fromEntries(value) : value;
};

const tables: Readonly<Record<string, readonly (readonly [expression: string, value: unknown])[]>> = {
  "conversions": [
    ["string(duration('1h30m'))", "5400s"],
    ["string(duration('1500ms'))", "1.5s"], ["string(timestamp('2026-01-02T03:04:05Z'))", "2026-01-02T03:04:05Z"],
    ["string(timestamp('2026-01-02T03:04:05.5Z'))", "2026-01-02T03:04:05.5Z"], ["int(timestamp('1970-01-01T00:00:10Z'))", 10n],
    ["timestamp(10) == timestamp('1970-01-01T00:00:10Z')", true], ["int('5')", 5n], ["int(5.9)", 5n], ["uint('5') == 5u", true],
    ["double('1.5')", 1.5], ["bool('true')", true], ["string(1.5)", "1.5"], ["string(b'abc')", "abc"], ["bytes('a') == b'a'", true],
    ["string(5u)", "5"], ["string(true)", "true"], ["duration('60s') == duration('1m')", true],
  ],
  "times": [
    ["timestamp('2026-01-02T03:04:05Z') + duration('1h') == timestamp('2026-01-02T04:04:05Z')", true],
    ["timestamp('2026-01-02T03:04:05Z') - timestamp('2026-01-02T02:04:05Z') == duration('1h')", true],
    ["duration('1h') + duration('30m') == duration('90m')", true], ["duration('1h') > duration('59m')", true],
    ["timestamp('2026-01-02T03:04:05Z') < timestamp('2027-01-02T03:04:05Z')", true],
  ],
  "parts of times": [
    ["timestamp('2026-01-02T03:04:05Z').getFullYear()", 2026n], ["timestamp('2026-01-02T03:04:05Z').getMonth()", 0n],
    ["timestamp('2026-01-02T03:04:05Z').getDate()", 2n], ["timestamp('2026-01-02T03:04:05Z').getDayOfMonth()", 1n],
    ["timestamp('2026-01-02T03:04:05Z').getDayOfWeek()", 5n], ["timestamp('2026-01-02T03:04:05Z').getDayOfYear()", 1n],
    ["timestamp('2026-01-02T03:04:05Z').getHours()", 3n], ["timestamp('2026-01-02T03:04:05.123Z').getMilliseconds()", 123n],
    ["duration('1h30m').getMinutes()", 90n], ["duration('1h30m').getHours()", 1n], ["duration('1h').getSeconds()", 3600n],
    ["duration('1.5s').getMilliseconds()", 1500n], ["timestamp('2026-01-02T03:04:05Z').getHours('Europe/Berlin')", 4n],
  ],
  "the language": [
    ["size('naïve')", 5n], ["size([1,2])", 2n], ["size({'a':1})", 1n], ["size(b'abc')", 3n], ["'abc'.size()", 3n], ["'a' in {'a':1}", true],
    ["1 in [1,2]", true], ["type(1) == int", true], ["type('a') == string", true], ["type([]) == list", true], ["type({}) == map", true],
    ["type(null) == null_type", true], ["'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.contains('b')", true], ["'abc'.matches('^a.c$')", true],
    ["5 / 2", 2n], ["-7 % 3", -1n], ["5.0 / 2.0", 2.5], ["1 < 1.5", true], ["'a' + 'b'", "ab"], ["[1] + [2]", [1n, 2n]], ["[1,2][1]", 2n],
    ["{'a': 1}.a", 1n], ["{'a': 1}['a']", 1n], ["true ? 1 : 2", 1n], ["!true || false", false],
  ],
  "macros": [
    ["[1,2,3].all(i, i > 0)", true], ["[1,2,3].exists(i, i == 2)", true], ["[1,2,3].exists_one(i, i > 2)", true],
    ["[1,2,3].map(i, i * 2)", [2n, 4n, 6n]], ["[1,2,3].map(i, i > 1, i * 2)", [4n, 6n]], ["[1,2,3].filter(i, i > 1)", [2n, 3n]],
    ["{'a': 1, 'b': 2}.all(k, k != 'c')", true], ["{'a': 1}.map(k, k)", ["a"]],
  ],
  "macros of two variables": [
    ["[1,2].all(i, v, i < v)", true], ["{'a': 1}.all(k, v, k == 'a' && v == 1)", true], ["[1,2].exists(i, v, i == 1 && v == 2)", true],
    ["[1,2,3].existsOne(i, v, v == 2)", true], ["[1,2,3].exists_one(i, v, v == 2)", true], ["[1,2,3].transformList(i, v, i + v)", [1n, 3n, 5n]],
    ["[1,2,3].transformList(i, v, i > 0, v)", [2n, 3n]], ["{'a': 1, 'b': 2}.transformMap(k, v, v + 1)", { a: 2n, b: 3n }],
    ["{'a': 1, 'b': 2}.transformMap(k, v, k == 'b', v + 1)", { b: 3n }], ["{'a': 'x'}.transformMapEntry(k, v, {v: k})", { x: "a" }],
    ["{'a': 'x', 'b':'y'}.transformMapEntry(k, v, k == 'b', {v: k})", { y: "b" }], ["['a'].transformMapEntry(i, v, {v: i})", { a: 0n }],
  ],
  "strings": [
    ["'tacocat'.charAt(3)", "o"], ["'hello'.indexOf('l')", 2n], ["'hello'.indexOf('l', 3)", 3n], ["'hello'.lastIndexOf('l')", 3n],
    ["['a','b'].join('-')", "a-b"], ["['a','b'].join()", "ab"], ["'AbC'.lowerAscii()", "abc"], ["'AbC'.upperAscii()", "ABC"],
    ["'aaa'.replace('a','b')", "bbb"], ["'aaa'.replace('a','b', 2)", "bba"], ["'a,b,c'.split(',')", ["a", "b", "c"]],
    ["'a,b,c'.split(',', 2)", ["a", "b,c"]], ["'hello'.substring(1)", "ello"], ["'hello'.substring(1,3)", "el"], ["' a '.trim()", "a"],
    ["'abc'.reverse()", "cba"], ["strings.quote('a\"b')", "\"a\\\"b\""],
  ],
  "format of strings": [
    ["'%s %d %.2f %x %b %o %e %%'.format(['a', 5, 1.234, 255, 5, 8, 1234.5])", "a 5 1.23 ff 101 10 1.234500e+03 %"],
    ["'%s'.format([[1,'a',true]])", "[1, a, true]"], ["'%s'.format([{'b': 1, 'a': 2}])", "{a: 2, b: 1}"], ["'%s'.format([duration('1h')])", "3600s"],
    ["'%X'.format(['hi'])", "6869"], ["'%s'.format([null])", "null"],
  ],
  "lists": [
    ["[1,2].isSorted()", true], ["[2,1].isSorted()", false], ["[1,2,3].sum()", 6n], ["[1.5,2.5].sum()", 4], ["[3,1,2].min()", 1n],
    ["[3,1,2].max()", 3n], ["[1,2,3].indexOf(2)", 1n], ["[1,2,2].lastIndexOf(2)", 2n], ["[1,2,3].slice(1,3)", [2n, 3n]],
    ["[[1],[2,3]].flatten()", [1n, 2n, 3n]], ["[[1,[2]],[3]].flatten(2)", [1n, 2n, 3n]], ["lists.range(3)", [0n, 1n, 2n]],
    ["[1,2,2].distinct()", [1n, 2n]], ["[3,1,2].sort()", [1n, 2n, 3n]], ["[{'n': 2}, {'n': 1}].sortBy(e, e.n)[0].n", 1n],
    ["[1,2].reverse()", [2n, 1n]], ["[duration('1s'), duration('2s')].sum() == duration('3s')", true], ["[1,2,3].first().value()", 1n],
    ["[1,2,3].last().value()", 3n],
  ],
  "regular expressions": [
    ["'abc 123'.find('[0-9]+')", "123"], ["'1 2 3'.findAll('[0-9]')", ["1", "2", "3"]], ["'1 2 3'.findAll('[0-9]', 2)", ["1", "2"]],
  ],
  "URLs": [
    ["url('https://a.example:80/p/q?x=1&x=2').getScheme()", "https"], ["url('https://a.example:80/p').getHost()", "a.example:80"],
    ["url('https://a.example:443/p').getHost()", "a.example:443"], ["url('https://[::1]:80/').getHostname()", "::1"],
    ["url('https://[::1]/').getHost()", "[::1]"], ["url('https://a.example:80/').getPort()", "80"],
    ["url('https://a.example/with space/').getEscapedPath()", "/with%20space/"],
    ["url('https://a/p?x=1&x=2&y=z').getQuery()", { x: ["1", "2"], y: ["z"] }], ["isURL('https://a')", true], ["isURL('nope')", false],
    ["isURL('../rel')", false], ["isURL('/abs')", true], ["url('/abs').getScheme()", ""], ["url('HTTPS://A.example/').getHost()", "A.example"],
    ["url('https://a').getEscapedPath()", ""],
  ],
  "quantities": [
    ["isQuantity('1.3Gi')", true], ["isQuantity('1.3G1')", false], ["quantity('1G') == quantity('1000M')", true],
    ["quantity('150Mi').isGreaterThan(quantity('100Mi'))", true], ["quantity('50k').add(20).asInteger()", 50020n],
    ["quantity('50k').sub(quantity('10k')).asInteger()", 40000n], ["quantity('200M').compareTo(quantity('0.2G'))", 0n],
    ["quantity('1.5').isInteger()", false], ["quantity('-5').sign()", -1n], ["quantity('50.7k').asApproximateFloat()", 50700],
    ["quantity('50').isLessThan(quantity('51'))", true],
  ],
  "IP addresses": [
    ["ip('192.168.0.1').family()", 4n], ["ip('::1').isLoopback()", true], ["isIP('127.0.0.256')", false], ["ip.isCanonical('127.0.0.1')", true],
    ["ip.isCanonical('2001:DB8::ABCD')", false], ["ip.isCanonical('2001:db8::abcd')", true], ["string(ip('2001:db8::1'))", "2001:db8::1"],
    ["ip('10.0.0.1').isGlobalUnicast()", true], ["ip('169.254.0.1').isLinkLocalUnicast()", true], ["ip('224.0.0.1').isLinkLocalMulticast()", true],
    ["ip('0.0.0.0').isUnspecified()", true], ["ip('1.2.3.4') == ip('1.2.3.4')", true],
  ],
  "CIDR blocks": [
    ["cidr('192.168.0.0/24').containsIP('192.168.0.1')", true], ["cidr('192.168.0.0/24').containsIP(ip('192.168.1.1'))", false],
    ["cidr('192.168.0.0/24').containsCIDR('192.168.0.0/25')", true], ["cidr('192.168.1.5/24').masked() == cidr('192.168.1.0/24')", true],
    ["cidr('192.168.1.5/24').prefixLength()", 24n], ["string(cidr('192.168.1.5/24').ip())", "192.168.1.5"], ["isCIDR('192.168.0.0/33')", false],
    ["string(cidr('192.168.1.0/24'))", "192.168.1.0/24"], ["cidr('10.0.0.0/8').ip().family()", 4n],
  ],
  "formats": [
    ["format.dns1123Label().validate('a-b').hasValue()", false], ["format.dns1123Label().validate('A_b').hasValue()", true],
    ["format.named('dns1123Label').hasValue()", true], ["format.named('nope').hasValue()", false],
    ["format.dns1123Label().validate('a').orValue([])", []], ["format.qualifiedName().validate('a.b/c').hasValue()", false],
    ["format.labelValue().validate('a b').hasValue()", true], ["format.uri().validate('https://a').hasValue()", false],
    ["format.date().validate('2026-01-02').hasValue()", false], ["format.datetime().validate('x').hasValue()", true],
    ["format.byte().validate('aGk=').hasValue()", false], ["format.dns1035LabelPrefix().validate('a-').hasValue()", false],
    ["format.dns1123Subdomain().validate('a.b').hasValue()", false],
  ],
  "semantic versions": [
    ["semver('1.2.3').major()", 1n], ["semver('1.2.3').minor()", 2n], ["semver('1.2.3').patch()", 3n], ["isSemver('1.0')", false],
    ["isSemver('v1.0', true)", true], ["isSemver('hello')", false], ["semver('v1.0', true) == semver('1.0.0')", true],
    ["semver('1.2.3').compareTo(semver('1.2.3-alpha'))", 1n], ["semver('1.2.3').isGreaterThan(semver('1.2.2'))", true],
    ["semver('1.2.3').isLessThan(semver('1.2.4'))", true], ["semver('01.2.3', true) == semver('1.2.3')", true],
  ],
  "sets": [
    ["sets.contains([1,2,3],[1])", true], ["sets.equivalent([1,2],[2,1,1])", true], ["sets.intersects([1],[2])", false],
  ],
  "optional values": [
    ["optional.of(1).value()", 1n], ["optional.none().orValue(2)", 2n], ["optional.ofNonZeroValue(0).hasValue()", false],
    ["{'a': 1}.?a.orValue(0)", 1n], ["{'a': 1}.?b.orValue(0)", 0n], ["[1][?5].orValue(7)", 7n], ["optional.of(1).optMap(v, v + 1).value()", 2n],
    ["optional.of(1).optFlatMap(v, optional.of(v + 2)).value()", 3n], ["optional.none().or(optional.of(5)).value()", 5n],
    ["{'a': {'b': 1}}.?a.?b.value()", 1n],
  ],
  "the rest": [
    ["cel.bind(v, 5, v + v)", 10n], ["dyn(1) == 1", true], ["has({'a': 1}.a)", true], ["has({'a': 1}.b)", false], ["'\\u00e9' == 'é'", true],
    ["r'\\d' == '\\\\d'", true], ["1u + 2u == 3u", true], ["0x1F", 31n], ["1e3", 1000], ["-5", -5n], ["[1,2,3].exists(i, i/0 == 1) || true", true],
  ],
};

describe.each(Object.entries(tables))("%s", (_, rows) => {
  test.each(rows)("%s", (expression, value) => expect(evaluate(expression)).toEqual(value));
});

test.each<[string, string]>([
  ["[1].sum() + ''", "no such overload"], ["quantity('x')", "quantities must match the regular expression"], ["ip('x')", "unable to parse IP"], ["cidr('x')", "netip.ParsePrefix"],
  ["url('x y')", "invalid URI for request"], ["semver('1')", "semver parse error"], ["[].min()", "min called on empty list"], ["{'a': 1, 'b': 1}.transformMapEntry(k, v, {'x': v}) == {}", "insert failed: key \"x\" already exists"],
  ["[1].transformList(i + 1, v, v)", "argument must be a simple name"], ["[1].all(i, v, 5)", "no such overload"], ["optional.none().value()", "optional value is not present"], ["{'a': 1}.b", "no such key: b"], ["1 / 0", "division by zero"], ["[1][5]", "ndex out of"],
  ["'%q'.format([1])", "unrecognized formatting clause"], ["lists.range(100).all(a, b, lists.range(100).all(c, d, lists.range(100).all(e, f, lists.range(100).all(g, h, true))))", "actual cost limit exceeded"],
])("%s fails: %s", (expression, message) => {
  expect(() => evaluate(expression)).toThrow(message);
});

test("an expression of a policy that has spent its budget is not evaluated", () => {
  const budget = { left: 10 };
  const program = compile(environment, "[1, 2, 3].all(i, i > 0) && [1, 2, 3].all(i, v, v > 0)");
  expect(program.evaluate({}, budget)).toBe(true);
  expect(budget.left).toBeLessThan(0);
  expect(() => program.evaluate({}, budget)).toThrow("validation failed due to running out of cost budget, no further validation rules will be run");
});

test("loops of two variables see outer ones, stop when decided, and forgive errors that do not decide", () => {
  expect(evaluate("[1, 2].all(i, v, {'a': 1}.exists(k, w, w <= v && k == 'a'))")).toBe(true);
  expect(evaluate("[0, 1].exists(i, v, 1 / v == 1)")).toBe(true);
  expect(() => evaluate("[0, 1].all(i, v, 1 / v == 1)")).toThrow("division by zero");
});
