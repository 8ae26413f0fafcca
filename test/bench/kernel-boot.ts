/** Boots the kernel alone over the plugins of a folder; as a program it does so once and prints how long that took. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Kernel } from "../../core/src/kernel/lifecycle.ts";

export interface BootResult {
  /** Milliseconds to bring in the kernel's modules, and from reading the manifests to ready. */
  readonly modules: number;
  readonly boot: number;
  /** Milliseconds of CPU that the main thread took for both; other programs on the machine hardly change it. */
  readonly cpu: number;
  readonly ready: number;
}

const quiet = (): void => {};
const silent = { trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet };

const importKernel = async () => ({
  ...(await import("../../core/src/kernel/lifecycle.ts")), ...(await import("../../core/src/kernel/manifest.ts")),
  ...(await import("../../core/src/kernel/resolve.ts")), ...(await import("../../core/src/kernel/hosts/index.ts")),
});

export async function bootKernel(folder: string): Promise<Kernel> {
  const { createKernel, createHosts, readManifest, resolvePlan } = await importKernel();
  const paths = readdirSync(join(folder, "plugins")).map((name) => join(folder, "plugins", name));
  const manifests = paths.map((path) => readManifest({ kind: "default", label: "the bench", path }, [])!);
  const dirs = { data: join(folder, "data"), run: join(folder, "run") };
  const kernel: Kernel = createKernel({
    plan: resolvePlan({ manifests, role: "server", roles: ["server"], disabled: new Map(), slots: new Map() }),
    configs: new Map(), refs: {}, dirs, log: () => silent,
    host: createHosts({ paths: {}, dirs, refs: {}, provider: (slot) => kernel.slot(slot) }),
  });
  await kernel.start();
  return kernel;
}

async function measure(folder: string): Promise<BootResult> {
  const begun = performance.now();
  const before = process.threadCpuUsage();
  await importKernel();
  const imported = performance.now();
  const kernel = await bootKernel(folder);
  const boot = performance.now() - imported;
  const { user, system } = process.threadCpuUsage(before);
  return { modules: imported - begun, boot, cpu: (user + system) / 1000, ready: kernel.status().filter((s) => s.state === "ready").length };
}

if (import.meta.main) {
  process.stdout.write(JSON.stringify(await measure(process.argv[2]!)));
  process.exit();
}
