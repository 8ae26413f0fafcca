import { expect, it } from "vitest";
import { wheel } from "./wheel.ts";

function clock() {
  let now = 0;
  const timers: { at: number; fn: () => void; off: boolean }[] = [];
  return {
    armed: () => timers.filter((t) => !t.off).length,
    now: () => now,
    after(ms: number, fn: () => void) {
      const timer = { at: now + ms, fn, off: false };
      timers.push(timer);
      return () => void (timer.off = true);
    },
    go(to: number) {
      for (;;) {
        const next = timers.filter((t) => !t.off && t.at <= to).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        now = next.at;
        next.off = true;
        next.fn();
      }
      now = to;
    },
  };
}

it("keeps one timer for any number of probes, and runs them in time", () => {
  const c = clock();
  const w = wheel(c);
  const ran: string[] = [];
  for (const [at, name] of [[2500, "b"], [1000, "a"], [2600, "c"], [9000, "d"]] as const) w.at(at, () => ran.push(`${name}@${c.now()}`));
  expect(c.armed()).toBe(1);
  c.go(5000);
  expect(ran).toEqual(["a@1000", "b@3000", "c@3000"]);
  expect([w.size, c.armed()]).toEqual([1, 1]);
  c.go(10_000);
  expect([ran.at(-1), c.armed()]).toEqual(["d@9000", 0]);
});

it("does not run what was cancelled", () => {
  const c = clock();
  const w = wheel(c);
  let ran = 0;
  const cancel = w.at(1000, () => ran++);
  cancel();
  c.go(2000);
  expect([ran, w.size]).toEqual([0, 0]);
});
