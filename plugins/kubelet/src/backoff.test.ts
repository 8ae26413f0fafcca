import { describe, expect, it } from "vitest";
import { backoff, goDuration } from "./backoff.ts";

describe("back-off", () => {
  let now = 0;
  const clock = { now: () => now, after: () => () => {} };

  it("lets the first try through, then waits 10 s doubling to 5 min", () => {
    const b = backoff(clock);
    const waits: number[] = [];
    now = 0;
    for (let i = 0; i < 8; i++) {
      const exit = now;
      waits.push((b.waitUntil("k", exit) ?? exit) - exit);
      now = b.waitUntil("k", exit) ?? now;
      b.next("k", exit);
    }
    expect(waits).toEqual([0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
  });

  it("starts over after ten quiet minutes", () => {
    const b = backoff(clock);
    now = 0;
    b.next("k", 0);
    b.next("k", 0);
    now = 601_000;
    expect(b.waitUntil("k", now)).toBeUndefined();
    b.next("k", now);
    expect(b.delay("k")).toBe(10_000);
  });

  it("forgets the keys of one pod", () => {
    const b = backoff(clock);
    b.next("a/x", 0);
    b.next("b/x", 0);
    b.forget("a/");
    expect([b.delay("a/x"), b.delay("b/x")]).toEqual([0, 10_000]);
  });

  it.each([[500, "500ms"], [10_000, "10s"], [80_000, "1m20s"], [300_000, "5m0s"], [3_600_000, "1h0m0s"]])("prints %i ms as Go does", (ms, text) => {
    expect(goDuration(ms)).toBe(text);
  });
});
