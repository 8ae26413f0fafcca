/** When a process counts as hung. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { watchBeat } from "./heartbeat.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** `delays`: after how many milliseconds each beat is answered; without one, never. */
function watch(...delays: readonly (number | undefined)[]) {
  const said: string[] = [];
  let asked = 0;
  const ask = () => new Promise<void>((resolve) => {
    const delay = delays[asked++];
    if (delay !== undefined) setTimeout(resolve, delay);
  });
  const end = watchBeat({ ask, every: 10_000, misses: 3, onSilent: (why) => void said.push(why) });
  return { said, end, asked: () => asked };
}

test("three beats in a row without an answer are told once, and no more are asked for", async () => {
  const { said, asked } = watch(0);
  await vi.advanceTimersByTimeAsync(48_999);
  expect(said).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(said).toEqual(["its process did not answer for 30 s"]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect([said.length, asked()]).toEqual([1, 4]);
});

test("an answer, and a late one too, is a sign of life: the count starts over", async () => {
  const { said } = watch(undefined, undefined, 0, undefined, 9500, undefined, undefined, 0);
  await vi.advanceTimersByTimeAsync(85_000);
  expect(said).toEqual([]);
});

test("nothing is told after the end", async () => {
  const { said, end, asked } = watch();
  await vi.advanceTimersByTimeAsync(30_000);
  end();
  await vi.advanceTimersByTimeAsync(60_000);
  expect([said, asked()]).toEqual([[], 3]);
});
