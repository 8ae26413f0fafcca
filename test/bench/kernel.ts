/** The kernel alone: its boot with 20 empty plugins, a guarded hook, and a call into a plugin's own process. */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AsyncSeriesHook } from "tapable";
import type { Cni } from "@k3s-p/plugin-api/slots";
import { createHookTimes } from "../../core/src/admin/metrics.ts";
import { runAs } from "../../core/src/kernel/board.ts";
import { createGuard } from "../../core/src/kernel/guard.ts";
import { bootKernel, type BootResult } from "./kernel-boot.ts";
import { compileCache, inBenchDir } from "./process.ts";
import { percentile, record } from "./report.ts";

const PLUGINS = 20;
const BOOTS = 9;
const CALLS = 200_000;
const ROUND_TRIPS = 10_000;
const api = join(import.meta.dirname, "../../plugin-api/src/index.ts");

export const benchKernel = (): Promise<void> => inBenchDir(async (dir) => {
  for (let i = 0; i < PLUGINS; i++) writePlugin(dir, i);
  boot(dir);
  await hookCall("a tap that returns at once", () => {});
  await hookCall("a tap that returns a promise", async () => {});
  await roundTrip(dir);
});

/** The first two provide what a server cannot be without. */
const required = ["datastore", "apiserver"];

function writePlugin(dir: string, i: number, k3sp: object = {}, start = "() => ({})"): void {
  const folder = join(dir, "plugins", `p${i}`);
  const provides = required[i] ? { [required[i]]: "1.0" } : {};
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({
    name: `p${i}`, version: "1.0.0", type: "module", exports: "./plugin.ts", k3sp: { api: "^0.1.0", provides, isolation: "inline", ...k3sp },
  }));
  writeFileSync(join(folder, "plugin.ts"), `import { definePlugin } from "${api}";\nexport default definePlugin({ start: ${start} });\n`);
}

function boot(dir: string): void {
  const env = { ...process.env, NODE_COMPILE_CACHE: compileCache };
  const run = (): BootResult => {
    for (const name of ["data", "run"]) rmSync(join(dir, name), { recursive: true, force: true });
    return JSON.parse(execFileSync(process.execPath, [join(import.meta.dirname, "kernel-boot.ts"), dir], { env, encoding: "utf8" })) as BootResult;
  };
  const unready = run().ready - PLUGINS;
  if (unready) throw new Error(`${-unready} of ${PLUGINS} plugins are not ready`);
  const runs = Array.from({ length: BOOTS }, run);
  const median = (of: (result: BootResult) => number) => percentile(runs.map(of), 50);
  const total = median((r) => r.modules + r.boot);
  record({
    name: `kernel alone, its modules and ${PLUGINS} empty plugins, to ready`, value: total, unit: "ms", goal: "< 60 ms", met: total < 60,
    against: `modules ${median((r) => r.modules).toFixed(0)}, boot ${median((r) => r.boot).toFixed(0)}`,
  });
  const cpu = median((r) => r.cpu);
  record({ name: "the same in CPU of the main thread", value: cpu, unit: "ms", goal: "< 60 ms", met: cpu < 60 });
}

/** As on a server: attributed, timed for the metrics, with its time limit. */
async function hookCall(name: string, tap: () => unknown): Promise<void> {
  const guard = createGuard({ run: runAs, onSpan: createHookTimes().record });
  const hook = new AsyncSeriesHook<[]>(undefined, "bench");
  guard.tap(hook, "bench", tap);
  const call = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) await hook.promise();
  };
  await call(CALLS / 4);
  const begun = process.cpuUsage();
  await call(CALLS);
  const { user, system } = process.cpuUsage(begun);
  const value = (user + system) / CALLS;
  record({ name: `guarded hook call, ${name} (CPU)`, value, unit: "us", goal: "< 3 us", met: value < 3 });
}

async function roundTrip(dir: string): Promise<void> {
  const start = '() => ({ confList: {}, status: async () => ({ ready: true, message: "it is" }) })';
  writePlugin(dir, PLUGINS, { provides: { cni: "1.0" }, isolation: "process" }, start);
  const kernel = await bootKernel(dir);
  try {
    const { status } = kernel.slot<Cni>("cni");
    for (let i = 0; i < ROUND_TRIPS / 4; i++) await status();
    const times: number[] = [];
    for (let i = 0; i < ROUND_TRIPS; i++) {
      const begun = performance.now();
      await status();
      times.push((performance.now() - begun) * 1000);
    }
    const p50 = percentile(times, 50);
    record({ name: "call of a slot in another process, p50", value: p50, unit: "us", goal: "< 150 us", met: p50 < 150 });
    record({ name: "call of a slot in another process, p99", value: percentile(times, 99), unit: "us" });
  } finally {
    await kernel.stop();
  }
}
