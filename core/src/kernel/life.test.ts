/** What happens to a plugin after its start: health, crashes, swaps, and changes by hand. */
import { expect, test } from "vitest";
import { definePlugin, k3spError, type Plugin } from "@k3s-p/plugin-api";
import { cni, dns, type Cni } from "@k3s-p/plugin-api/slots";
import { healthCheck } from "@k3s-p/plugin-api/points";
import { kernelOf } from "./testing.ts";

const confList = (name: string) => ({ cniVersion: "1.0.0", name, plugins: [] });
const network = (name: string, more: object = {}): Plugin =>
  definePlugin({ provides: cni, start: () => ({ confList: confList(name), status: async () => ({ ready: true, message: name }) }), ...more });

/** A plugin that says when it starts and stops, and can be made to fail. */
function crashy(manifest: { readonly criticality?: "required" | "optional" } = {}) {
  const events: string[] = [];
  let fail: (error: Error) => void = () => {};
  const plugin = definePlugin({ start(ctx) {
    events.push("start");
    fail = ctx.fail;
    ctx.defer(() => void events.push("undo"));
  } });
  return { events, fail: (message = "boom") => fail(new Error(message)), fake: { plugin, manifest } };
}

test("a plugin that fails is undone and started again, alone, after a back-off", async () => {
  const crash = crashy();
  const calm = crashy();
  const { kernel, clock, state } = kernelOf({ crash: crash.fake, calm: calm.fake });
  await kernel.start();
  crash.fail();
  await clock.pass(999);
  expect([crash.events, state("crash")]).toEqual([["start", "undo"], "failed"]);
  await clock.pass(1);
  expect([crash.events, state("crash")]).toEqual([["start", "undo", "start"], "ready"]);
  expect(kernel.status().find((s) => s.id === "crash")?.restarts).toBe(1);
  expect(calm.events).toEqual(["start"]);
});

test("three crashes in five minutes quarantine it, the server is not ready, and a restart by hand forgives", async () => {
  const crash = crashy();
  let checks: (() => Promise<{ ok: boolean; message?: string }>)[] = [];
  const reader = definePlugin({ start: (ctx) => void (checks = ctx.contributions(healthCheck).list().map(({ impl }) => impl.check)) });
  const { kernel, clock, state, lines } = kernelOf({ crash: crash.fake, reader: { plugin: reader } });
  await kernel.start();
  expect(await checks[0]!()).toEqual({ ok: true });
  for (let i = 0; i < 3; i++) {
    crash.fail();
    await clock.pass(10_000);
  }
  expect(state("crash")).toBe("quarantined");
  expect(await checks[0]!()).toEqual({ ok: false, message: "crash crashed 3 times within 5 minutes; the last time: crash failed: boom" });
  expect(lines).toContain("crash: K3SP_PLUGIN_QUARANTINED crash crashed 3 times within 5 minutes; the last time: crash failed: boom; fix: k3s-p plugin enable crash");
  await clock.pass(600_000);
  expect(state("crash")).toBe("quarantined");
  await kernel.restart("crash");
  expect([state("crash"), await checks[0]!()]).toEqual(["ready", { ok: true }]);
});

test("a quarantined optional plugin leaves the server ready", async () => {
  const crash = crashy({ criticality: "optional" });
  let check: (() => Promise<{ ok: boolean }>) | undefined;
  const reader = definePlugin({ start: (ctx) => void (check = ctx.contributions(healthCheck).list()[0]!.impl.check) });
  const { kernel, clock, state } = kernelOf({ crash: crash.fake, reader: { plugin: reader } });
  await kernel.start();
  for (let i = 0; i < 3; i++) {
    crash.fail();
    await clock.pass(10_000);
  }
  expect([state("crash"), await check!()]).toEqual(["quarantined", { ok: true }]);
});

test("an optional plugin that cannot start is tried again under the same policy", async () => {
  let tries = 0;
  const plugin = definePlugin({ start() {
    if (++tries < 3) throw new Error("not yet");
  } });
  const { kernel, clock, state } = kernelOf({ slow: { plugin, manifest: { criticality: "optional" } } });
  await kernel.start();
  expect(state("slow")).toBe("failed");
  await clock.pass(3000);
  expect([tries, state("slow")]).toEqual([3, "ready"]);
});

test.each<[string, () => never, string]>([
  ["a wrong value in its config file", () => { throw k3spError("K3SP_CONFIG_INVALID", { message: '/etc/x.yaml: mirrors.a.endpoint: "x" is no URL', detail: ["  line 3"], fix: "correct the fields that are named" }); },
    'K3SP_CONFIG_INVALID /etc/x.yaml: mirrors.a.endpoint: "x" is no URL; it is optional, so the start goes on without it; line 3; fix: correct the fields that are named, then k3s-p plugin reload slow'],
  ["a right that is not approved", () => { throw k3spError("K3SP_PLUGIN_UNAPPROVED", { message: "slow asks for more" }); },
    "K3SP_PLUGIN_UNAPPROVED slow asks for more; it is optional, so the start goes on without it; fix: look at what it asks for, then k3s-p plugin approve NAME"],
])("%s is no matter of another attempt: one line says what to do, and a restart by hand tries again", async (_, wrong, line) => {
  let tries = 0;
  let right = false;
  const plugin = definePlugin({ start: () => void (tries++, right || wrong()) });
  const { kernel, clock, state, lines } = kernelOf({ slow: { plugin, manifest: { criticality: "optional" } } });
  await kernel.start();
  await clock.pass(600_000);
  expect([tries, state("slow"), lines.filter((each) => each.startsWith("slow: "))]).toEqual([1, "quarantined", [`slow: ${line}`]]);
  expect(line).toContain(kernel.status().find(({ id }) => id === "slow")!.error!);
  await expect(kernel.restart("slow")).rejects.toThrow();
  await clock.pass(600_000);
  expect([tries, state("slow")]).toEqual([2, "quarantined"]);
  right = true;
  await kernel.restart("slow");
  expect(state("slow")).toBe("ready");
});

test("a module that cannot be loaded is not loaded again, and one that needs what its manifest does not say neither", async () => {
  const loads: string[] = [];
  const optional = { criticality: "optional" } as const;
  const modules: Readonly<Record<string, () => unknown>> = {
    gone: () => { throw new Error("Cannot find module '/gone/plugin.ts'"); },
    greedy: () => definePlugin({ needs: { cni }, start() {} }),
  };
  const { kernel, clock, state, defaults } = kernelOf({ gone: { plugin: {}, manifest: optional }, greedy: { plugin: {}, manifest: optional } }, {
    load: async ({ id }) => (id in modules ? (loads.push(id), modules[id]!()) : defaults[id]!.plugin),
  });
  await kernel.start();
  await clock.pass(600_000);
  expect([loads.sort(), state("gone"), state("greedy")]).toEqual([["gone", "greedy"], "quarantined", "quarantined"]);
});

test("errors of a run that is over are not charged to the next one", async () => {
  const crash = crashy();
  const { kernel, clock, state } = kernelOf({ crash: crash.fake });
  await kernel.start();
  const late = crash.fail;
  crash.fail();
  crash.fail("again");
  late("and again");
  await clock.pass(1000);
  expect([crash.events, state("crash")]).toEqual([["start", "undo", "start"], "ready"]);
});

test("a stray error is charged to the plugin that was running", async () => {
  const crash = crashy();
  const { kernel, clock, state } = kernelOf({ crash: crash.fake });
  await kernel.start();
  expect([kernel.blame("crash", new Error("stray")), kernel.blame("store", new Error("stray")), kernel.blame("nobody", new Error("stray"))]).toEqual([true, false, false]);
  expect(state("crash")).toBe("failed");
  await clock.pass(1000);
  expect(state("crash")).toBe("ready");
});

test("three failed health checks make it degraded, one good one ready; the last five are kept", async () => {
  let answer: () => object | Promise<object> = () => ({ ok: true });
  const { kernel, clock, state, lines } = kernelOf({ net: { plugin: network("net", { health: () => answer() }) } });
  await kernel.start();
  await clock.pass(10_000);
  answer = () => ({ ok: false, message: "no link" });
  await clock.pass(20_000);
  expect(state("net")).toBe("ready");
  answer = () => { throw new Error("thrown"); };
  await clock.pass(10_000);
  expect([state("net"), lines.at(-1)]).toEqual(["degraded", "net: degraded: thrown"]);
  answer = () => ({ ok: true });
  await clock.pass(20_000);
  expect([state("net"), lines.at(-1)]).toEqual(["ready", "net: healthy again"]);
  expect(kernel.status().find((s) => s.id === "net")?.health.map((h) => h.ok)).toEqual([false, false, false, true, true]);
});

test("a health check that hangs counts as failed", async () => {
  const { kernel, clock } = kernelOf({ net: { plugin: network("net", { health: () => new Promise(() => {}) }) } });
  await kernel.start();
  await clock.pass(20_000);
  expect(kernel.status().find((s) => s.id === "net")?.health).toEqual([{ ok: false, message: "no answer within 10 s" }]);
});

/** A dependant that keeps a handle of the network and notes each swap. */
function holder() {
  const seen: string[] = [];
  let handle!: Cni;
  const plugin = definePlugin({ needs: { cni }, start(ctx) {
    seen.push("start");
    handle = ctx.needs.cni;
    ctx.onReplaced(cni, () => void seen.push(`replaced by ${handle.confList.name}`));
  } });
  return { seen, plugin: { plugin }, handle: () => handle };
}

test("while a provider is away its handles reject, and then they reach it again; dependants are told and run on", async () => {
  const user = holder();
  let fail!: (error: Error) => void;
  const net = definePlugin({ provides: cni, start: (ctx) => ((fail = ctx.fail), { confList: confList("net"), status: async () => ({ ready: true }) }) });
  const { kernel, clock } = kernelOf({ net: { plugin: net }, user: user.plugin });
  await kernel.start();
  fail(new Error("boom"));
  await clock.pass(0);
  await expect(user.handle().status()).rejects.toMatchObject({ code: "K3SP_SLOT_UNAVAILABLE" });
  await clock.pass(1000);
  expect(await user.handle().status()).toEqual({ ready: true });
  expect(user.seen).toEqual(["start", "replaced by net"]);
});

test.each([["a crash of the provider", "one"], ["another provider", "two"]])("after %s, a plugin that asks for it is started again, once, and those behind it are told", async (_, next) => {
  const log: string[] = [];
  let fail!: (error: Error) => void;
  const one = definePlugin({ provides: cni, start: (ctx) => ((fail = ctx.fail), { confList: confList("one"), status: async () => ({ ready: true }) }) });
  const user = definePlugin({ needs: { cni }, provides: dns, start(ctx) {
    log.push(`start on ${ctx.needs.cni.confList.name}`);
    ctx.defer(() => void log.push("undo"));
    return {} as never;
  } });
  const last = definePlugin({ needs: { dns }, start: (ctx) => ctx.onReplaced(dns, () => void log.push("told")) });
  const fakes = { one: { plugin: one }, user: { plugin: user, manifest: { onDependencyRestart: "restart" as const } }, last: { plugin: last } };
  const { kernel, clock, planOf, state } = kernelOf(fakes);
  await kernel.start();
  if (next === "two") await kernel.apply(planOf({ ...fakes, two: { plugin: network("two") } }, [], { cni: "two" }), new Map());
  else fail(new Error("boom"));
  await clock.pass(1000);
  await clock.pass(1000);
  expect([log, state("user"), kernel.status().find((s) => s.id === "user")?.restarts]).toEqual([["start on one", "undo", `start on ${next}`, "told"], "ready", 0]);
});

test("a plugin that asks for a restart gets one in good order, however often: nothing is counted against it", async () => {
  const events: string[] = [];
  let again!: (why: string) => void;
  const plugin = definePlugin({ start(ctx) {
    events.push("start");
    again = ctx.restart;
    ctx.defer((why) => void events.push(why));
  } });
  const { kernel, clock, state, lines } = kernelOf({ net: { plugin } });
  await kernel.start();
  for (let i = 1; i <= 4; i++) {
    again(`another range, ${i}`);
    await clock.pass(0);
  }
  expect([events, state("net"), kernel.status().find(({ id }) => id === "net")?.restarts]).toEqual([["start", ...Array(4).fill(["restarting", "start"]).flat()], "ready", 0]);
  expect(lines.filter((line) => line.startsWith("net:"))).toEqual([1, 2, 3, 4].map((i) => `net: restart: another range, ${i}`));
});

test("a restart that is asked for before the plugin is ready comes when it is, and is that of the present run alone", async () => {
  const log: string[] = [];
  const asks: ((why: string) => void)[] = [];
  const opened = Promise.withResolvers<void>();
  const plugin = definePlugin({ async start(ctx) {
    log.push("start");
    asks.push(ctx.restart);
    await opened.promise;
  } });
  const { kernel, clock, state } = kernelOf({ net: { plugin } });
  const starting = kernel.start();
  await clock.pass(0);
  asks[0]!("another range");
  await clock.pass(0);
  expect(log).toEqual(["start"]);
  opened.resolve();
  await starting;
  await clock.pass(0);
  expect([log, state("net")]).toEqual([["start", "start"], "ready"]);
  asks[0]!("too late");
  await clock.pass(0);
  expect(log).toHaveLength(2);
});

test("another provider takes a slot over: the old one is undone and retired, dependants run on", async () => {
  const user = holder();
  const log: string[] = [];
  const one = network("one", { start: (ctx: { defer(fn: () => void): void }) => {
    ctx.defer(() => void log.push("one undone"));
    return { confList: confList("one"), status: async () => ({ ready: true }) };
  } });
  const watcher = definePlugin({ start: (ctx) => ctx.tap(ctx.hooks.retired, (id) => void log.push(`${id} retired`)) });
  const fakes = { one: { plugin: one }, user: user.plugin, watcher: { plugin: watcher } };
  const { kernel, planOf, state } = kernelOf(fakes);
  await kernel.start();
  const changes = await kernel.apply(planOf({ ...fakes, two: { plugin: network("two") } }, [], { cni: "two" }), new Map());
  expect(changes.map((c) => `${c.kind} ${c.plugin}`)).toEqual(["stopped one", "started two"]);
  expect(log).toEqual(["one undone", "one retired"]);
  expect([user.seen, await user.handle().status(), state("one")]).toEqual([["start", "replaced by two"], { ready: true, message: "two" }, undefined]);
});

test("a change that fails goes back to what was", async () => {
  const user = holder();
  const fakes = { one: { plugin: network("one") }, user: user.plugin };
  const { kernel, planOf } = kernelOf(fakes);
  await kernel.start();
  const bad = definePlugin({ provides: cni, start: () => { throw new Error("no cable"); } });
  const change = kernel.apply(planOf({ ...fakes, bad: { plugin: bad } }, [], { cni: "bad" }), new Map());
  await expect(change).rejects.toThrow("bad 1.0.0 failed to start: no cable");
  expect([kernel.plan().choices.find((c) => c.slot === "cni")?.plugin, user.handle().confList.name]).toEqual(["one", "one"]);
});

test("a change of a plugin whose users keep its state is refused", async () => {
  const fakes = {};
  const { kernel, planOf } = kernelOf(fakes);
  await kernel.start();
  const plan = planOf(fakes);
  const next = { ...plan, plugins: plan.plugins.map((m) => (m.id === "store" ? { ...m, version: "2.0.0" } : m)) };
  await expect(kernel.apply(next, new Map())).rejects.toMatchObject({ code: "K3SP_PLUGIN_FIXED" });
});

test("a new config is handed to reconfigure; when that asks for it, only this plugin restarts", async () => {
  const user = holder();
  const log: unknown[] = [];
  let answer: "applied" | "restart" = "applied";
  const net = network("net", {
    start(ctx: { config: object }) {
      log.push(["start", ctx.config]);
      return { confList: confList("net"), status: async () => ({ ready: true }) };
    },
    reconfigure: (_: unknown, next: object) => (log.push(["reconfigure", next]), answer),
  });
  const { kernel } = kernelOf({ net: { plugin: net }, user: user.plugin });
  await kernel.start();
  await kernel.apply(kernel.plan(), new Map([["net", { mtu: 1 }]]));
  answer = "restart";
  await kernel.apply(kernel.plan(), new Map([["net", { mtu: 2 }]]));
  expect(log).toEqual([["start", {}], ["reconfigure", { mtu: 1 }], ["reconfigure", { mtu: 2 }], ["start", { mtu: 2 }]]);
  expect(user.seen).toEqual(["start", "replaced by net"]);
});

test("dependants are found through others, in an order in which they can be stopped", async () => {
  const { kernel } = kernelOf({ net: { plugin: network("net") }, user: holder().plugin });
  expect([kernel.dependants("net"), kernel.dependants("api")]).toEqual([["user"], []]);
});

test("a plugin that waits for a slot starts when the slot gets a provider", async () => {
  let tries = 0;
  const late = definePlugin({ provides: cni, start() {
    if (++tries === 1) throw new Error("not yet");
    return { confList: confList("late"), status: async () => ({ ready: true }) };
  } });
  const { kernel, clock, state, lines } = kernelOf({ late: { plugin: late, manifest: { criticality: "optional" } }, user: holder().plugin });
  await kernel.start();
  expect([state("user"), lines.at(-1)]).toEqual(["skipped", 'user: not started: the slot "cni" has no ready provider']);
  await clock.pass(1000);
  expect([state("late"), state("user")]).toEqual(["ready", "ready"]);
});

test("nothing is restarted while the server stops", async () => {
  const crash = crashy();
  const { kernel, clock } = kernelOf({ crash: crash.fake });
  await kernel.start();
  crash.fail();
  await kernel.stop();
  await clock.pass(60_000);
  expect(crash.events).toEqual(["start", "undo"]);
});

test("a plugin that fails itself while it starts is not started", async () => {
  const plugin = definePlugin({ start(ctx) {
    ctx.fail(new Error("no cable"));
    return new Promise<void>(() => {});
  } });
  const { kernel } = kernelOf({ plugin: { plugin } });
  await expect(kernel.start()).rejects.toThrow("plugin 1.0.0 failed to start: no cable");
});

test("a start that was cut off and goes on leaves nothing behind: what it defers later is undone at once", async () => {
  const opened = Promise.withResolvers<void>();
  const log: string[] = [];
  const slow = definePlugin({ async start(ctx) {
    await opened.promise;
    ctx.defer(() => void log.push("closed"));
  } });
  const { kernel } = kernelOf({ slow: { plugin: slow } });
  const starting = kernel.start().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 5));
  await kernel.stop();
  await starting;
  opened.resolve();
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(log).toEqual(["closed"]);
});

test("undo steps are told whether the server stops, the plugin starts again, or it is retired", async () => {
  const seen: string[] = [];
  const told = (name: string, fails: (fail: () => void) => void = () => {}) => definePlugin({ start(ctx) {
    ctx.defer((why) => void seen.push(`${name} ${why}`));
    fails(() => ctx.fail(new Error("boom")));
  } });
  let crash = () => {};
  const fakes = { a: { plugin: told("a", (fail) => (crash = fail)) }, b: { plugin: told("b") }, c: { plugin: told("c") } };
  const { kernel, clock, planOf } = kernelOf(fakes);
  await kernel.start();
  crash();
  await clock.pass(1000);
  await kernel.restart("b");
  await kernel.apply(planOf(fakes, ["c"]), new Map());
  expect(seen.splice(0)).toEqual(["a restarting", "b restarting", "c retired"]);
  await kernel.stop();
  expect(seen.sort()).toEqual(["a stopped", "b stopped"]);
});
