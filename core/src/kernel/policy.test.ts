import { expect, test } from "vitest";
import { createCrashPolicy } from "./policy.ts";

function policyAt(random = 0.5) {
  const time = { now: 0 };
  return { time, policy: createCrashPolicy({ now: () => time.now }, () => random) };
}

test("the second crash waits longer than the first, and the third in five minutes is the last", () => {
  const { policy } = policyAt();
  expect([policy.crashed(), policy.crashed(), policy.crashed()]).toEqual([
    { action: "restart", delay: 1000 }, { action: "restart", delay: 2000 }, { action: "quarantine" },
  ]);
});

test("crashes that keep coming, but slower than the limit, wait up to a minute", () => {
  const { policy, time } = policyAt();
  const delays = Array.from({ length: 9 }, () => {
    time.now += 160_000;
    return policy.crashed();
  });
  expect(delays.map((v) => (v.action === "restart" ? v.delay / 1000 : "quarantine"))).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
});

test.each([[0, 750], [0.999, 1250]])("a chance of %s makes the first delay %s ms", (random, delay) => {
  expect(policyAt(random).policy.crashed()).toEqual({ action: "restart", delay });
});

test("five calm minutes, or forgiveness, start over", () => {
  const { policy, time } = policyAt();
  policy.crashed();
  policy.crashed();
  time.now += 300_000;
  expect(policy.crashed()).toEqual({ action: "restart", delay: 1000 });
  policy.crashed();
  policy.forgive();
  expect(policy.crashed()).toEqual({ action: "restart", delay: 1000 });
});
