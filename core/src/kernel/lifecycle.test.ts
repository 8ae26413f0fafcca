import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Skip, definePlugin, type Logger, type Plugin } from "@k3s-p/plugin-api";
import { apiserver, cni, datastore, kube } from "@k3s-p/plugin-api/slots";
import { createKernel, runningPlugin, type KernelOptions } from "./lifecycle.ts";
import type { Manifest } from "./manifest.ts";
import { resolvePlan } from "./resolve.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "kernel-"))));
afterEach(() => rmSync(dir, { recursive: true }));

interface Fake {
  readonly plugin: unknown;
  readonly manifest?: Partial<Manifest>;
}

/** A kernel over plugins given as definitions; slots that nobody provides are filled by empty ones. */
function kernelOf(fakes: Readonly<Record<string, Fake>>, more: Partial<KernelOptions> = {}) {
  const lines: string[] = [];
  const log = (plugin: string): Logger => {
    const write = (a: object | string, b?: string) => void lines.push(`${plugin}: ${typeof a === "string" ? a : b}`);
    return { trace: write, debug: write, info: write, warn: write, error: write } as Logger;
  };
  const all: Record<string, Fake> = {
    store: { plugin: definePlugin({ provides: datastore, start: () => ({}) as never }) },
    api: { plugin: definePlugin({ provides: apiserver, start: () => ({ client: (user: object) => user }) as never }) },
    ...fakes,
  };
  const manifests = Object.entries(all).map(([id, { plugin, manifest }]): Manifest => {
    const d = (plugin as Plugin).definition ?? {};
    const ids = (slots: object | undefined) => Object.fromEntries(Object.values(slots ?? {}).map((s) => [s.id, "^1"]));
    return {
      id, name: id, version: "1.0.0", description: "", dir: `/${id}`, entry: "", roles: ["server"], contributes: [], criticality: "required",
      isolation: "inline", schema: {}, example: {}, flags: {}, source: { kind: "user", label: `--plugin ./${id}`, path: `/${id}` },
      provides: d.provides ? { [d.provides.id]: "1.0" } : {}, needs: ids(d.needs), wants: ids(d.wants), ...manifest,
    };
  });
  const plan = resolvePlan({ manifests, role: "server", roles: ["server"], disabled: new Map(), slots: new Map() });
  const kernel = createKernel({
    plan, configs: new Map(), refs: {}, dirs: { data: join(dir, "data"), run: join(dir, "run") }, log,
    load: async (m) => all[m.id]!.plugin, ...more,
  });
  return { kernel, lines };
}

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
  expect(name).toBe("system:k3sp:me");
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

test("an optional plugin that throws is reported, and the rest goes on", async () => {
  const { kernel, lines } = kernelOf({ extra: { plugin: definePlugin({ start: () => { throw new Error("boom"); } }), manifest: { criticality: "optional" } } });
  await kernel.start();
  expect(kernel.status().find((s) => s.id === "extra")).toEqual({ id: "extra", version: "1.0.0", state: "failed", error: "extra 1.0.0 failed to start: boom" });
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

test("a required plugin that fails later is fatal, and its dependants keep live handles", async () => {
  let fail: ((error: Error) => void) | undefined;
  const fatal: Error[] = [];
  const { kernel } = kernelOf({ rt: { plugin: definePlugin({ start: (ctx) => void (fail = ctx.fail) }) } }, { onFatal: (error) => fatal.push(error) });
  await kernel.start();
  fail!(new Error("containerd is gone"));
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(fatal[0]?.message).toBe("rt failed: containerd is gone");
});
