import { expect, test } from "vitest";
import { findCondition, setCondition } from "./conditions.ts";
import { apiError, conflict, invalid, isConflict, isNotFound, notFound } from "./errors.ts";
import { eventRecorder } from "./events.ts";
import { fakeKube } from "./fake.ts";
import { controllerRef, keyOf, splitKey } from "./meta.ts";
import { canonicalQuantity, compareQuantity, quantityMilli, quantityValue } from "./quantity.ts";
import { events } from "./resources.ts";
import { formatSelector, matches, matchesSelector, parseFieldSelector, parseLabelSelector } from "./selectors.ts";
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

test("a bad selector is refused, in upstream's words", () => {
  expect(() => parseLabelSelector("a in (b")).toThrow("unable to parse requirement");
  expect(() => parseLabelSelector("a=b c")).toThrow("unable to parse requirement");
  expect(() => parseFieldSelector("x")).toThrow("invalid selector");
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
