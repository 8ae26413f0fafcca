/** Many enables and disables leave nothing behind: no process, no handle, no timer, no listener. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { definePlugin, type Logger } from "@k3s-p/plugin-api";
import { healthCheck } from "@k3s-p/plugin-api/points";
import { cni, datastore } from "@k3s-p/plugin-api/slots";
import { inlineHost } from "./hosts/inline.ts";
import { processHost } from "./hosts/process.ts";
import type { Manifest } from "./manifest.ts";
import { kernelOf, type Fake } from "./testing.ts";

const api = join(import.meta.dirname, "../../../plugin-api/src");
/** What the event loop holds, once what is being closed has been. */
async function held(): Promise<readonly string[]> {
  await new Promise((resolve) => setTimeout(resolve, 50));
  return process.getActiveResourcesInfo().filter((name) => name !== "Immediate" && name !== "Timeout").sort();
}

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;

const inline: Fake = {
  plugin: definePlugin({ needs: { datastore }, provides: cni, start(ctx) {
    ctx.contribute(healthCheck, { name: "x", check: async () => ({ ok: true }) });
    ctx.tap(ctx.hooks.serverReady, () => {});
    ctx.onReplaced(datastore, () => {});
    const timer = setInterval(() => {}, 60_000);
    ctx.defer(() => clearInterval(timer));
    return { confList: { cniVersion: "1.0.0", name: "x", plugins: [] }, status: async () => ({ ready: true }) };
  } }),
};

function far(dir: string): Fake {
  mkdirSync(join(dir, "far"));
  const entry = join(dir, "far/plugin.ts");
  writeFileSync(entry, `import { definePlugin } from "${api}/index.ts";\nexport default definePlugin({ start(ctx) { ctx.tap(ctx.hooks.serverReady, () => {}); setInterval(() => {}, 1000); } });`);
  return { plugin: {}, manifest: { dir: join(dir, "far"), entry, isolation: "process" } };
}

test.each([["an inline plugin", 100], ["a plugin in a process of its own", 20]] as const)("%s, %s times on and off", { timeout: 60_000 }, async (kind, cycles) => {
  const dir = mkdtempSync(join(tmpdir(), "cycles-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const dirs = { data: join(dir, "data"), run: join(dir, "run") };
  const fakes = { it: kind === "an inline plugin" ? inline : far(dir) };
  const { kernel, defaults, planOf } = kernelOf(fakes, {
    dirs,
    host: (manifest: Manifest, log: Logger) => manifest.isolation === "process"
      ? processHost({ manifest, log, dirs, paths: {}, connect: async () => ({}) })
      : inlineHost(manifest, async () => ({ ...defaults, ...fakes })[manifest.id as "it"]!.plugin),
  });
  await kernel.start();
  const [on, off] = [planOf(fakes), planOf(fakes, ["it"])];
  const cycle = async (): Promise<void> => {
    await kernel.apply(off, new Map());
    await kernel.apply(on, new Map());
  };
  await cycle();
  const before = { held: await held(), timers: timers() };
  for (let i = 0; i < cycles; i++) await cycle();
  expect(await held()).toEqual(before.held);
  expect(timers()).toBeLessThanOrEqual(before.timers + 1);
  expect(kernel.status().find((s) => s.id === "it")?.state).toBe("ready");
  await kernel.stop();
});
