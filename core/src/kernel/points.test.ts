import { expect, test } from "vitest";
import { definePoint } from "@k3s-p/plugin-api";
import { createPoints } from "./points.ts";
import type { Span } from "./span.ts";

interface Greeter {
  readonly name: string;
  greet?(who: string): string | Promise<string>;
}
const greeter = definePoint<Greeter>("test.greeter");

test("calls of what is contributed are in the plugin's name, and measured with their failures", async () => {
  const spans: Span[] = [];
  let running = "";
  const points = createPoints({ run: (plugin, fn) => { running = plugin; return fn(); }, onSpan: (span) => void spans.push(span) });
  class Polite implements Greeter {
    readonly #word = "hello";
    readonly name = "polite";
    greet(who: string): string { return `${this.#word} ${who}`; }
  }
  points.contribute(greeter, "a", new Polite());
  points.contribute(greeter, "b", { name: "slow", greet: async (who: string) => { await Promise.resolve(); throw new Error(`no ${who}`); } } satisfies Greeter);
  const [first, second] = points.contributions(greeter).list().map(({ impl }) => impl);
  expect([first!.greet!("you"), running, first!.greet === first!.greet]).toEqual(["hello you", "a", true]);
  await expect(second!.greet!("you")).rejects.toThrow("no you");
  expect(running).toBe("b");
  expect(spans.map(({ hook, plugin, error }) => [hook, plugin, error?.message])).toEqual([["test.greeter/greet", "a", undefined], ["test.greeter/greet", "b", "no you"]]);
});

test("what is frozen can be called, and copied with its functions", () => {
  const points = createPoints();
  points.contribute(greeter, "a", Object.freeze({ name: "cold", greet: (who: string) => `brr ${who}` }));
  const { impl } = points.contributions(greeter).list()[0]!;
  expect([impl.greet!("you"), { ...impl }.greet!("me"), "greet" in impl, Object.keys(impl)]).toEqual(["brr you", "brr me", true, ["name", "greet"]]);
});

test("plain data is what was contributed", () => {
  const points = createPoints();
  const data = { name: "data" };
  points.contribute(greeter, "a", data);
  expect(points.contributions(greeter).list()[0]!.impl).toBe(data);
});
