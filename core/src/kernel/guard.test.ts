import { AsyncSeriesBailHook, AsyncSeriesHook, AsyncSeriesWaterfallHook, SyncHook } from "tapable";
import { expect, test } from "vitest";
import { Stage } from "@k3s-p/plugin-api";
import { createGuard } from "./guard.ts";

const run = <T>(_: string, fn: () => T): T => fn();
const later = () => new Promise<void>((resolve) => setTimeout(resolve, 1));

test("runs taps by stage, then registration, then before and after", async () => {
  const guard = createGuard({ run });
  const hook = new AsyncSeriesHook<[string[]]>(["log"], "boot");
  const tap = (plugin: string, order = {}) => guard.tap(hook, plugin, (log: string[]) => void log.push(plugin), order);
  tap("a");
  tap("last", { stage: Stage.Last });
  tap("b");
  tap("first", { stage: Stage.First });
  tap("before-a", { before: "a" });
  tap("after-a", { after: "a" });
  const log: string[] = [];
  await hook.promise(log);
  expect(log).toEqual(["first", "before-a", "a", "after-a", "b", "last"]);
});

test("a synchronous throw after an asynchronous tap rejects with the plugin's name, and does not hang", async () => {
  const guard = createGuard({ run });
  const hook = new AsyncSeriesHook<[]>(undefined, "serverReady");
  guard.tap(hook, "slow", later);
  guard.tap(hook, "broken", () => {
    throw new Error("boom");
  });
  await expect(hook.promise()).rejects.toMatchObject({ code: "K3SP_PLUGIN_HOOK_FAILED", plugin: "broken", message: 'broken failed in the hook "serverReady": boom' });
});

test("a tap that does not end is cut off", async () => {
  const guard = createGuard({ run, timeout: 5 });
  const hook = new AsyncSeriesHook<[]>(undefined, "stopping");
  guard.tap(hook, "stuck", () => new Promise(() => {}));
  await expect(hook.promise()).rejects.toThrow("stuck failed in the hook \"stopping\": did not end within 5 ms");
});

test("waterfall keeps the value of a silent tap, bail stops at the first answer", async () => {
  const guard = createGuard({ run });
  const waterfall = new AsyncSeriesWaterfallHook<[number]>(["n"], "w");
  guard.tap(waterfall, "a", (n: number) => n + 1);
  guard.tap(waterfall, "b", () => undefined);
  guard.tap(waterfall, "c", async (n: number) => n * 10);
  expect(await waterfall.promise(1)).toBe(20);
  const bail = new AsyncSeriesBailHook<[], string>(undefined, "b");
  guard.tap(bail, "a", () => undefined);
  guard.tap(bail, "b", () => "yes");
  guard.tap(bail, "c", () => "no");
  expect(await bail.promise()).toBe("yes");
});

test("a removed tap runs no more", () => {
  const guard = createGuard({ run });
  const hook = new SyncHook<[]>(undefined, "pluginReady");
  let calls = 0;
  const untap = guard.tap(hook, "a", () => void calls++);
  hook.call();
  untap();
  hook.call();
  expect(calls).toBe(1);
});

test("a synchronous hook refuses a tap that returns a promise", () => {
  const guard = createGuard({ run });
  const hook = new SyncHook<[]>(undefined, "pluginReady");
  guard.tap(hook, "a", async () => {});
  expect(() => hook.call()).toThrow("a tap of a synchronous hook returned a promise");
});
