import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { forbidden } from "./errors.ts";
import { createOutage } from "./outage.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const refused = new Error("connect ECONNREFUSED");

test("one line for a server that is gone, however many ask it and however often; another when it is gone again", () => {
  const told: string[] = [];
  const outage = createOutage((what, { message }) => void told.push(`${what}: ${message}`));
  for (let round = 0; round < 3; round++) for (const what of ["watch of nodes", "watch of pods"]) outage.failed(what, refused);
  outage.worked("watch of nodes");
  outage.failed("watch of nodes", refused);
  expect(told).toEqual(["watch of nodes: connect ECONNREFUSED"]);
  for (const what of ["watch of nodes", "watch of pods"]) outage.worked(what);
  outage.failed("watch of pods", refused);
  expect(told.slice(1)).toEqual(["watch of pods: connect ECONNREFUSED"]);
});

test("a line for each reason, and for what is refused one each", () => {
  const told: string[] = [];
  const outage = createOutage((what, { message }) => void told.push(`${what}: ${message}`));
  const no = (plural: string) => forbidden({ group: "", plural }, "", "no");
  for (const error of [refused, new Error("silent"), refused]) outage.failed("watch of nodes", error);
  for (const plural of ["pods", "secrets", "pods", "secrets"]) outage.failed(`list of ${plural}`, no(plural));
  expect(told.map((line) => line.slice(0, 34))).toEqual(["watch of nodes: connect ECONNREFUS", "watch of nodes: silent", "watch of nodes: connect ECONNREFUS", 'list of pods: pods "" is forbidden', 'list of secrets: secrets "" is for']);
});

/** Milliseconds after which a pause is over, when the server answers after `answeredAt`. */
async function paused(error: Error | undefined, answeredAt: number, abortedAt = Infinity): Promise<number> {
  const outage = createOutage();
  const stop = new AbortController();
  const start = Date.now();
  let end: number | undefined;
  void outage.pause(16_000, error, stop.signal).then(() => (end = Date.now() - start));
  for (let now = 0; end === undefined; now += 500) {
    if (now === answeredAt) outage.answered();
    if (now === abortedAt) stop.abort();
    await vi.advanceTimersByTimeAsync(500);
  }
  expect(vi.getTimerCount()).toBe(0);
  return end;
}

test.each([
  ["what did not reach the server is tried when somebody reaches it", refused, 5000, Infinity, 5000],
  ["but not within a second", refused, 500, Infinity, 16_000],
  ["or in its turn", refused, Infinity, Infinity, 16_000],
  ["what the server refuses waits its time", forbidden({ group: "", plural: "pods" }, "", "no"), 5000, Infinity, 16_000],
  ["who stops does not wait", refused, Infinity, 500, 500],
  ["nor later", refused, Infinity, 3000, 3000],
])("%s", async (_, error, answeredAt, abortedAt, expected) => expect(await paused(error, answeredAt, abortedAt)).toBe(expected));
