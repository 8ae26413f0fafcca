/** Many enables and disables leave nothing behind: no process, no handle, no timer, no descriptor, no memory. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { definePlugin, type Logger } from "@k3s-p/plugin-api";
import { growth, liveResources, type ResourceCount } from "@k3s-p/plugin-api/conformance/leaks";
import { healthCheck } from "@k3s-p/plugin-api/points";
import { cni, datastore } from "@k3s-p/plugin-api/slots";
import { inlineHost } from "./hosts/inline.ts";
import { processHost } from "../isolation/process.ts";
import type { Manifest } from "./manifest.ts";
import { kernelOf, type Fake } from "./testing.ts";

const CYCLES = 100;
const api = join(import.meta.dirname, "../../../plugin-api/src");

interface Holding {
  readonly resources: ResourceCount;
  readonly descriptors: number;
  readonly children: number;
  readonly heap: number;
}

/** What this process holds, once what is being closed has been. */
async function holding(count: () => ResourceCount): Promise<Holding> {
  await new Promise((resolve) => setTimeout(resolve, 100));
  const resources = count();
  const children = readdirSync("/proc/self/task").flatMap((id) => readFileSync(`/proc/self/task/${id}/children`, "utf8").split(" ").filter(Boolean));
  return { resources, descriptors: readdirSync("/proc/self/fd").length, children: children.length, heap: process.memoryUsage().heapUsed };
}

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
  writeFileSync(entry, `import { definePlugin } from "${api}/index.ts";
    import { healthCheck } from "${api}/points/index.ts";
    export default definePlugin({ start(ctx) {
      ctx.contribute(healthCheck, { name: "x", check: async () => ({ ok: true }) });
      ctx.tap(ctx.hooks.serverReady, () => {});
      setInterval(() => {}, 1000);
    } });`);
  return { plugin: {}, manifest: { dir: join(dir, "far"), entry, isolation: "process" } };
}

/** The last column: bytes that V8's own tables may grow by in all cycles together; keeping each run's host takes twice that. */
test.each([["an inline plugin", () => inline, 300_000], ["a plugin in a process of its own", far, 1_000_000]] as const)(`%s, ${CYCLES} times on and off`, { timeout: 60_000 }, async (_, make, slack) => {
  const dir = mkdtempSync(join(tmpdir(), "cycles-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const dirs = { data: join(dir, "data"), run: join(dir, "run") };
  const fakes = { it: make(dir) };
  const meter = liveResources();
  onTestFinished(meter.stop);
  const { kernel, defaults, lines, planOf } = kernelOf(fakes, {
    dirs,
    host: (manifest: Manifest, log: Logger) => manifest.isolation === "process"
      ? processHost({ manifest, log, dirs, paths: {}, connect: async () => ({}) })
      : inlineHost(manifest, async () => ({ ...defaults, ...fakes })[manifest.id as "it"]!.plugin),
  });
  await kernel.start();
  const [on, off] = [planOf(fakes), planOf(fakes, ["it"])];
  const cycle = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) {
      await kernel.apply(off, new Map());
      await kernel.apply(on, new Map());
    }
  };
  await cycle(10);
  const before = await holding(meter.count);
  await cycle(CYCLES);
  const after = await holding(meter.count);
  expect(growth(before.resources, after.resources)).toEqual([]);
  expect([after.descriptors, after.children]).toEqual([before.descriptors, before.children]);
  expect(after.heap - before.heap).toBeLessThan(slack);
  expect([kernel.status().find((s) => s.id === "it")?.state, lines]).toEqual(["ready", []]);
  await kernel.stop();
  expect((await holding(meter.count)).children).toBe(0);
});
