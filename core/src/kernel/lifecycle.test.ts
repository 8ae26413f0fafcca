import { expect, test } from "vitest";
import { Skip, definePlugin } from "@k3s-p/plugin-api";
import { apiGrant, healthCheck } from "@k3s-p/plugin-api/points";
import { cni, datastore, kube } from "@k3s-p/plugin-api/slots";
import { runningPlugin } from "./lifecycle.ts";
import { lazyHost, type PluginHost } from "./hosts/host.ts";
import { inlineHost } from "./hosts/inline.ts";
import { kernelOf } from "./testing.ts";

test("starts after what it needs is ready, and stops in reverse", async () => {
  const log: string[] = [];
  const { kernel } = kernelOf({
    net: { plugin: definePlugin({ provides: cni, start: async (ctx) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      log.push("net");
      ctx.defer(() => void log.push("-net"));
      return { confList: { cniVersion: "1.0.0", name: "x", plugins: [] }, status: async () => ({ ready: true }) };
    } }) },
    user: { plugin: definePlugin({ needs: { cni }, start: (ctx) => {
      log.push(`user of ${ctx.needs.cni.confList.name}`);
      ctx.defer(() => void log.push("-user 1"));
      ctx.defer(() => void log.push("-user 2"));
    } }) },
  });
  await kernel.start();
  await kernel.stop();
  expect(log).toEqual(["net", "user of x", "-user 2", "-user 1", "-net"]);
});

test("kube is a client under the plugin's own identity", async () => {
  let name: unknown;
  const { kernel } = kernelOf({ me: { plugin: definePlugin({ needs: { kube }, start: (ctx) => void (name = (ctx.needs.kube as unknown as { name: string }).name) }) } });
  await kernel.start();
  expect(name).toBe("system:serviceaccount:kube-system:k3s-p-me");
});

const accounts = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
const user = "system:serviceaccount:kube-system:k3s-p-me";

test.each([
  ["none, when its manifest declares none", {}, accounts, []],
  ["those that its manifest declares", { kube: [{ groups: [""], resources: ["nodes"], verbs: ["get"] }] }, accounts, [{ user, rules: [{ apiGroups: [""], resources: ["nodes"], verbs: ["get"] }] }]],
  ["all, when its manifest asks for them", { kube: "admin" }, ["system:masters", ...accounts], [{ user, rules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }, { verbs: ["*"], nonResourceURLs: ["*"] }] }]],
] as const)("the rights of a plugin on the API server are %s", async (_, permissions, groups, grants) => {
  let given: unknown;
  let granted: unknown;
  const me = definePlugin({ needs: { kube }, start(ctx) {
    given = (ctx.needs.kube as unknown as { groups: unknown }).groups;
    granted = ctx.contributions(apiGrant).list().map(({ impl }) => impl);
  } });
  const { kernel } = kernelOf({ me: { plugin: me, manifest: { permissions } } });
  await kernel.start();
  expect([given, granted]).toEqual([groups, grants]);
});

test("a required plugin that throws fails the start, with its name and what had been deferred undone", async () => {
  let undone = 0;
  const { kernel } = kernelOf({ bad: { plugin: definePlugin({ start: (ctx) => {
    ctx.defer(() => void undone++);
    throw new Error("boom");
  } }) } });
  await expect(kernel.start()).rejects.toMatchObject({ code: "K3SP_PLUGIN_START_FAILED", plugin: "bad", message: "bad 1.0.0 failed to start: boom" });
  expect(undone).toBe(1);
});

test("undo steps and a host that fail are reported, and hide neither the failed start nor the steps before them", async () => {
  const undone: string[] = [];
  const plugin = definePlugin({ start(ctx) {
    ctx.defer(() => void undone.push("first"));
    ctx.defer(() => { throw new Error("stuck"); });
    ctx.defer(async () => { throw new Error("gone"); });
    throw new Error("boom");
  } });
  const { kernel, lines, defaults } = kernelOf({ bad: { plugin } }, {
    host: (manifest) => {
      if (manifest.id !== "bad") return inlineHost(manifest, async () => defaults[manifest.id]!.plugin);
      return { ...inlineHost(manifest, async () => plugin), stop: async () => { throw new Error("no process"); } };
    },
  });
  await expect(kernel.start()).rejects.toMatchObject({ message: "bad 1.0.0 failed to start: boom" });
  await kernel.stop();
  expect(undone).toEqual(["first"]);
  expect(lines.filter((line) => line.startsWith("bad:"))).toEqual(["gone", "stuck", "no process"].map((why) => `bad: an undo step failed: ${why}`));
});

test("an optional plugin that throws is reported, and the rest goes on", async () => {
  const { kernel, lines } = kernelOf({ extra: { plugin: definePlugin({ start: () => { throw new Error("boom"); } }), manifest: { criticality: "optional" } } });
  await kernel.start();
  expect(kernel.status().find((s) => s.id === "extra")).toMatchObject({ state: "failed", error: "extra 1.0.0 failed to start: boom" });
  expect(lines).toContain("extra: K3SP_PLUGIN_START_FAILED extra 1.0.0 failed to start: boom; it is optional, so the start goes on without it");
});

test("Skip is not an error", async () => {
  const { kernel } = kernelOf({ vx: { plugin: definePlugin({ start: () => { throw new Skip("no vxlan module"); } }) } });
  await kernel.start();
  expect(kernel.status().find((s) => s.id === "vx")?.state).toBe("skipped");
});

test.each([
  ["a module without a plugin", { plugin: { start() {} }, manifest: {} }, "the default export is not a plugin"],
  ["a slot's provider that returns nothing", { plugin: definePlugin({ provides: cni, start: () => undefined as never }) }, 'start() returned undefined, not an implementation of the slot "cni"'],
  ["code that needs more than its manifest says", { plugin: definePlugin({ needs: { kube }, start() {} }), manifest: { needs: {} } }, "code and manifest disagree"],
])("refuses %s", async (_, fake, message) => {
  const { kernel } = kernelOf({ bad: fake });
  await expect(kernel.start()).rejects.toThrow(message);
});

test("a plugin that is never ready is cut off, and its signal is aborted", async () => {
  let signal: AbortSignal | undefined;
  const { kernel } = kernelOf({ stuck: { plugin: definePlugin({ start: (ctx) => {
    signal = ctx.signal;
    return new Promise<void>(() => {});
  } }) } }, { startTimeout: 10 });
  await expect(kernel.start()).rejects.toMatchObject({ code: "K3SP_PLUGIN_START_TIMEOUT", message: "stuck was not ready within 0.01 s" });
  expect(signal?.aborted).toBe(true);
});

test("a stop during the start cuts it off, and starts nothing more", async () => {
  const log: string[] = [];
  const reached = Promise.withResolvers<void>();
  const { kernel, lines } = kernelOf({
    net: { plugin: definePlugin({ provides: cni, start: (ctx) => {
      ctx.defer(() => void log.push("-net"));
      reached.resolve();
      return new Promise<never>(() => {});
    } }) },
    user: { plugin: definePlugin({ needs: { cni }, start: () => void log.push("user") }) },
  });
  const started = kernel.start();
  started.catch(() => {});
  await reached.promise;
  await kernel.stop();
  await expect(started).rejects.toThrow("the server was stopped while it started");
  expect(log).toEqual(["-net"]);
  expect(lines).toEqual([]);
  expect(new Set(kernel.status().map((s) => s.state))).toEqual(new Set(["stopped"]));
});

test("code that is never loaded ends the start when its time is up, and a stop before that does not wait for it", async () => {
  const never = (loadTimeout: number) => {
    const reached = Promise.withResolvers<void>();
    const fakes = kernelOf({ slow: { plugin: {} } }, {
      loadTimeout,
      host: (m) => inlineHost(m, async () => m.id === "slow" ? (reached.resolve(), new Promise(() => {})) : fakes.defaults[m.id]!.plugin),
    });
    return { kernel: fakes.kernel, reached: reached.promise };
  };
  await expect(never(10).kernel.start()).rejects.toMatchObject({ code: "K3SP_PLUGIN_START_TIMEOUT", message: "slow was not loaded within 0.01 s" });
  const { kernel, reached } = never(60_000);
  const started = kernel.start();
  started.catch(() => {});
  await reached;
  await kernel.stop();
  await expect(started).rejects.toThrow("the server was stopped while it started");
});

test("an optional plugin that takes its time holds the server up for ten seconds, and is ready when it is", async () => {
  const slow = Promise.withResolvers<void>();
  const { kernel, clock, state } = kernelOf({ slow: { plugin: definePlugin({ start: () => slow.promise }), manifest: { criticality: "optional" } } });
  let isUp = false;
  const started = kernel.start().then(() => (isUp = true));
  await clock.pass(9_999);
  expect([isUp, state("slow")]).toEqual([false, "starting"]);
  await clock.pass(1);
  await started;
  expect(state("slow")).toBe("starting");
  slow.resolve();
  await clock.pass(0);
  expect(state("slow")).toBe("ready");
});

test("a host that is stopped before it was made loads nothing", async () => {
  const loaded: string[] = [];
  const making = Promise.withResolvers<PluginHost>();
  const host = lazyHost(() => making.promise);
  const loading = host.load();
  await host.stop();
  making.resolve({ load: async () => loaded.push("loaded"), exited: new Promise(() => {}), stop: async () => {} } as never);
  await expect(loading).rejects.toThrow("it was stopped before it was loaded");
  expect(loaded).toEqual([]);
});

test("a handle rejects with K3SP_SLOT_UNAVAILABLE when its provider has stopped", async () => {
  const { kernel } = kernelOf({ net: { plugin: definePlugin({ provides: cni, start: () => ({ confList: { cniVersion: "1", name: "x", plugins: [] }, status: async () => ({ ready: true }) }) }) } });
  await kernel.start();
  const handle = kernel.slot<{ status(): Promise<unknown> }>("cni");
  expect(await handle.status()).toEqual({ ready: true });
  await kernel.stop();
  await expect(handle.status()).rejects.toMatchObject({ code: "K3SP_SLOT_UNAVAILABLE" });
});

test("code of a plugin runs under its name, also later in a timer", async () => {
  const seen: unknown[] = [];
  const { kernel } = kernelOf({ me: { plugin: definePlugin({ start: async () => {
    seen.push(runningPlugin());
    await new Promise<void>((resolve) => setTimeout(() => (seen.push(runningPlugin()), resolve()), 1));
  } }) } });
  await kernel.start();
  expect(seen).toEqual(["me", "me"]);
});

test("who listens to a point is called under its own name, whoever contributes", async () => {
  const seen: unknown[] = [];
  const owner = definePlugin({ provides: cni, start(ctx) {
    ctx.contributions(healthCheck).onChange(() => void seen.push(runningPlugin()));
    return {} as never;
  } });
  const other = definePlugin({ needs: { cni }, start: (ctx) => ctx.contribute(healthCheck, { name: "x", check: async () => ({ ok: true }) }) });
  const { kernel } = kernelOf({ owner: { plugin: owner }, other: { plugin: other } });
  await kernel.start();
  expect(seen).toEqual(["owner"]);
});

test("a plugin whose slot is fixed cannot be restarted: its failure is fatal", async () => {
  let fail: ((error: Error) => void) | undefined;
  const fatal: Error[] = [];
  const store = { plugin: definePlugin({ provides: datastore, start: (ctx) => ((fail = ctx.fail), {}) as never }) };
  const { kernel } = kernelOf({ store }, { onFatal: (error) => fatal.push(error) });
  await kernel.start();
  fail!(new Error("disk is gone"));
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(fatal[0]?.message).toBe("store failed: disk is gone");
});
