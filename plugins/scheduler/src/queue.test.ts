import { expect, it } from "vitest";
import { podInfo } from "./pod-info.ts";
import { feasibleEnough } from "./placement.ts";
import { createQueue } from "./queue.ts";
import { podObject } from "./test-cluster.ts";

const info = (name: string, priority = 0) => podInfo(podObject(name, { priority }));
const nobody: ReadonlySet<string> = new Set(["NodeResourcesFit"]);

function manual() {
  let now = 0;
  let readied = 0;
  const timers = new Set<{ due: number; fn: () => void }>();
  const clock = {
    now: () => now,
    setTimer: (fn: () => void, ms: number) => {
      const timer = { due: now + ms, fn };
      timers.add(timer);
      return timer as unknown as NodeJS.Timeout;
    },
  };
  const queue = createQueue(clock, () => readied++);
  return {
    queue,
    readied: () => readied,
    advance(ms: number) {
      now += ms;
      for (const timer of [...timers]) if (timer.due <= now && timers.delete(timer)) timer.fn();
    },
    /** Names in the order in which they are popped. */
    drain() {
      const names: string[] = [];
      for (let item = queue.pop(); item; item = queue.pop()) names.push(item.info.name);
      return names;
    },
  };
}

it("gives pods by priority, then by age", () => {
  const { queue, drain } = manual();
  for (const [name, priority] of [["old", 0], ["vip", 10], ["young", 0], ["vip2", 10], ["lowest", -5]] as const) queue.add(info(name, priority), false);
  expect(drain()).toEqual(["vip", "vip2", "old", "young", "lowest"]);
});

it("forgets a removed pod even when it was active", () => {
  const { queue, drain } = manual();
  queue.add(info("a"), false);
  queue.add(info("b"), false);
  queue.remove("uid-of-a");
  expect([queue.ready, drain()]).toEqual([1, ["b"]]);
});

it("runs a parked pod again at once, and slows it down only after several failures", () => {
  const { queue, advance, drain } = manual();
  queue.add(info("a"), false);
  for (let attempt = 1; attempt <= 3; attempt++) {
    const item = queue.pop()!;
    queue.park(item, nobody);
    queue.activate(item);
    expect(queue.ready).toBe(1);
  }
  const item = queue.pop()!;
  queue.park(item, nobody);
  queue.activate(item);
  expect(queue.ready).toBe(0);
  advance(1_000);
  expect(drain()).toEqual(["a"]);
});

it("runs a pod at once when its last failure is long ago", () => {
  const { queue, advance } = manual();
  queue.add(info("a"), false);
  for (let attempt = 1; attempt <= 10; attempt++) {
    const item = queue.pop()!;
    queue.park(item, nobody);
    advance(10_000);
    queue.activate(item);
    expect(queue.ready).toBe(1);
  }
});

it("backs off from 1 s to 10 s when bindings fail", () => {
  const { queue, advance } = manual();
  queue.add(info("a"), false);
  for (const delay of [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
    queue.retry(queue.pop()!);
    advance(delay - 1);
    expect(queue.ready).toBe(0);
    advance(1);
    expect(queue.ready).toBe(1);
  }
});

it("tries a parked pod again after five minutes without an event", () => {
  const { queue, advance } = manual();
  queue.add(info("a"), false);
  queue.park(queue.pop()!, nobody);
  advance(299_999);
  expect(queue.ready).toBe(0);
  advance(1);
  expect(queue.ready).toBe(1);
});

it("runs a pod whose own spec changed, whatever its history", () => {
  const { queue, drain } = manual();
  queue.add(info("a"), false);
  queue.retry(queue.pop()!);
  queue.renew("uid-of-a");
  expect(drain()).toEqual(["a"]);
});

it.each([[50, 0, 50], [100, 0, 100], [1_000, 0, 420], [5_000, 0, 500], [10_000, 0, 500], [1_000, 30, 300], [1_000, 100, 1_000], [200, 10, 100]])(
  "of %i nodes at %i %% it wants %i feasible ones",
  (total, percentage, expected) => expect(feasibleEnough(total, percentage)).toBe(expected),
);
