import { expect, test } from "vitest";
import { findCondition, setCondition } from "./conditions.ts";
import { apiError, conflict, invalid, isConflict, isNotFound, notFound } from "./errors.ts";
import { eventRecorder } from "./events.ts";
import { fakeKube } from "./fake.ts";
import { controllerRef, keyOf, splitKey } from "./meta.ts";
import { parseFieldSelector, parseLabelSelector } from "./parse-selector.ts";
import { canonicalQuantity, compareQuantity, quantityMilli, quantityValue } from "./quantity.ts";
import { events } from "./resources.ts";
import { formatSelector, matches, matchesSelector } from "./selectors.ts";
import { workQueue } from "./workqueue.ts";

test.each([
  ["100m", 1, 100], ["0.5", 1, 500], ["2", 2, 2000], ["1Ki", 1024, 1_024_000], ["1.5Gi", 1_610_612_736, 1_610_612_736_000],
  ["1e3", 1000, 1_000_000], ["1k", 1000, 1_000_000], ["100u", 1, 1], ["-1", -1, -1000], [3, 3, 3000],
])("quantity %s is %d whole and %d milli units, rounded up", (text, value, milli) => {
  expect(quantityValue(text)).toBe(value);
  expect(quantityMilli(text)).toBe(milli);
});

test.each([["1024Mi", "1Gi"], ["0.5", "500m"], ["1000m", "1"], ["1500m", "1500m"], ["0", "0"], ["1000k", "1M"], ["1.5Gi", "1536Mi"]])("%s is written %s", (text, canonical) => {
  expect(canonicalQuantity(text)).toBe(canonical);
});

test.each(["", "x", "1.2.3", "1 Gi", "Mi"])("%j is not a quantity", (text) => {
  expect(() => quantityValue(text)).toThrow("is not a quantity");
});

test("quantities compare exactly", () => {
  expect(compareQuantity("1000m", "1")).toBe(0);
  expect(compareQuantity("1023Mi", "1Gi")).toBe(-1);
});

test.each([
  ["a=b", { a: "b" }, true], ["a==b,c", { a: "b" }, false], ["a!=b", {}, true], ["a in (b, c)", { a: "c" }, true],
  ["a notin (b)", { a: "b" }, false], ["!a", {}, true], ["a", { a: "" }, true], ["n>3", { n: "4" }, true], ["", { x: "y" }, true],
])("selector %j on %j: %s", (text, labels, result) => {
  expect(matches(parseLabelSelector(text), labels as Record<string, string>)).toBe(result);
});

const NAME = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character " +
  "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character " +
  "(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const OPERATORS = ", expected: in, notin, =, ==, !=, gt, lt";

test.each([
  ["a in b", "unable to parse requirement: found 'b' expected: '('"],
  ["a in", "unable to parse requirement: found '' expected: '('"],
  ["a in (b", "unable to parse requirement: found '', expected: ',' or ')'"],
  ["a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"],
  ["a in (b,", "unable to parse requirement: found '', expected: ',', or identifier"],
  ["a in (=", "unable to parse requirement: found '=', expected: ',', ')' or identifier"],
  ["a b", `unable to parse requirement: found 'b'${OPERATORS}`],
  ["a (b)", `unable to parse requirement: found '('${OPERATORS}`],
  ["a constructor", `unable to parse requirement: found 'constructor'${OPERATORS}`],
  ["a==>", "unable to parse requirement: found '>', expected: identifier"],
  ["!", "unable to parse requirement: found '', expected: identifier"],
  ["!a=b", "found '=', expected: ',' or 'end of string'"],
  ["a=b c", "found 'c', expected: ',' or 'end of string'"],
  ["a,", "found '', expected: identifier after ','"],
  [",a", "found ',', expected: !, identifier, or 'end of string'"],
  ["a>b", "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer"],
  ["-a=b", `unable to parse requirement: <nil>: Invalid value: "-a": name part ${NAME}`],
  ["/a", 'unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be non-empty'],
  ["x/y/z", `unable to parse requirement: <nil>: Invalid value: "x/y/z": a qualified name ${NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`],
  ["a=-b", `unable to parse requirement: values[0][a]: Invalid value: "-b": ${VALUE}`],
  ["a in (c,-b)", `unable to parse requirement: values[0][a]: Invalid value: "-b": ${VALUE}`],
  [`a=${"x".repeat(64)}`, `unable to parse requirement: values[0][a]: Invalid value: "${"x".repeat(64)}": must be no more than 63 bytes`],
])("selector %j is refused in upstream's words", (text, message) => {
  expect(() => parseLabelSelector(text)).toThrow(new SyntaxError(message));
});

test("a selector takes operators as values, empty values, and white space anywhere", () => {
  const values = (text: string) => parseLabelSelector(text).map((r) => r.values);
  expect(values(" in in ( in ,\tnotin,,in ) , b = , c!=,d notin (),e in (,)")).toEqual([["", "in", "notin"], [""], [""], [""], [""]]);
});

test.each([
  ["x", "invalid selector: 'x'; can't understand 'x'"], ["a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"],
  ["a=b=c", "invalid field selector: unescaped character in value: 61"], ["a=b\\c", "invalid field selector: invalid escape sequence: \\c"],
  ["a=b\\", "invalid field selector: invalid escape sequence: \\"],
])("field selector %j is refused in upstream's words", (text, message) => {
  expect(() => parseFieldSelector(text)).toThrow(new SyntaxError(message));
});

test("a field selector takes what a backslash stands before", () => {
  expect(parseFieldSelector("a=b\\,c\\=d\\\\,,e!=f,g==")).toEqual([
    { path: "a", equal: true, value: "b,c=d\\" }, { path: "e", equal: false, value: "f" }, { path: "g", equal: true, value: "" },
  ]);
});

test("the object form: undefined matches nothing, empty matches all", () => {
  expect([matchesSelector(undefined, {}), matchesSelector({}, {})]).toEqual([false, true]);
  expect(formatSelector({ matchLabels: { a: "b" }, matchExpressions: [{ key: "c", operator: "NotIn", values: ["y", "x"] }] })).toBe("a=b,c notin (x,y)");
});

test("a condition keeps its transition time until its status changes", () => {
  const first = setCondition<{ type: string; status: string; reason?: string; lastTransitionTime?: string }>([], { type: "Ready", status: "False", reason: "A" }, "t1");
  const second = setCondition(first, { type: "Ready", status: "False", reason: "B" }, "t2");
  expect(findCondition(second, "Ready")).toMatchObject({ reason: "B", lastTransitionTime: "t1" });
  expect(setCondition(second, { type: "Ready", status: "False", reason: "B" }, "t3")).toBe(second);
  expect(findCondition(setCondition(second, { type: "Ready", status: "True", reason: "B" }, "t3"), "Ready")?.lastTransitionTime).toBe("t3");
});

test("errors are Status objects in upstream's words", () => {
  expect(notFound({ group: "apps", plural: "deployments" }, "x").message).toBe('deployments.apps "x" not found');
  expect(isNotFound(notFound({ group: "", plural: "pods" }, "x"))).toBe(true);
  expect(isConflict(conflict({ group: "", plural: "pods" }, "x"))).toBe(true);
  const error = invalid("apps", "Deployment", "x", [{ type: "FieldValueRequired", field: "spec.selector", message: "Required value" }]);
  expect([error.code, error.message]).toEqual([422, 'Deployment.apps "x" is invalid: spec.selector: Required value']);
  expect(isNotFound(apiError(500, "InternalError", "x"))).toBe(false);
});

test("what is found twice is said once, and counted twice", () => {
  const error = { type: "FieldValueInvalid", field: "spec.scopes", message: "Invalid value" } as const;
  const { status } = invalid("", "ResourceQuota", "x", [error, error]);
  expect(status.message).toBe('ResourceQuota "x" is invalid: spec.scopes: Invalid value');
  expect(status.details?.causes).toHaveLength(2);
});

test("keys and owners", () => {
  expect(keyOf({ metadata: { namespace: "a", name: "b" } })).toBe("a/b");
  expect([splitKey("a/b"), splitKey("b")]).toEqual([["a", "b"], ["", "b"]]);
  expect(controllerRef({ apiVersion: "v1", kind: "X", metadata: { name: "n", uid: "u" } })).toMatchObject({ controller: true, uid: "u" });
});

test("equal events in quick succession become one that counts", async () => {
  const kube = fakeKube();
  const recorder = eventRecorder(kube, { component: "test" });
  const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "p", namespace: "default", uid: "u" } };
  for (let i = 0; i < 3; i++) recorder.record(pod, "Warning", "BackOff", "again");
  recorder.record(pod, "Normal", "Started", "once");
  await new Promise((resolve) => setTimeout(resolve, 10));
  const { items } = await kube.list(events, { namespace: "default" });
  expect(items.map((e) => [e.reason, e.count])).toEqual([["BackOff", 3], ["Started", 1]]);
});

test("the work queue runs a key once at a time, again when it was added meanwhile, and retries failures", async () => {
  const runs: string[] = [];
  const gate = Promise.withResolvers<void>();
  const queue = workQueue({
    name: "q", backoff: [1, 2],
    reconcile: async (key) => {
      runs.push(key);
      if (key === "slow" && runs.length === 1) await gate.promise;
      if (key === "bad" && runs.filter((k) => k === "bad").length < 3) throw new Error("not yet");
    },
  });
  queue.add("slow");
  await Promise.resolve();
  queue.add("slow");
  queue.add("slow");
  gate.resolve();
  queue.add("bad");
  await new Promise((resolve) => setTimeout(resolve, 40));
  expect(runs.filter((k) => k === "slow")).toHaveLength(2);
  expect(runs.filter((k) => k === "bad")).toHaveLength(3);
  await queue.stop();
  queue.add("late");
  expect(queue.size).toBe(0);
});

test("the work queue may be stopped twice while a key is being worked on", async () => {
  const gate = Promise.withResolvers<void>();
  const queue = workQueue({ name: "q", reconcile: () => gate.promise });
  queue.add("slow");
  await Promise.resolve();
  const stops = [queue.stop(), queue.stop()];
  gate.resolve();
  await Promise.all(stops);
}, 1_000);
