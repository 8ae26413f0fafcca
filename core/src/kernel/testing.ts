/** For the kernel's own tests: a kernel over plugins given as definitions, with a clock that is moved by hand. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { definePlugin, type Logger, type Plugin } from "@k3s-p/plugin-api";
import { pointCatalogue } from "@k3s-p/plugin-api/points";
import { apiserver, datastore } from "@k3s-p/plugin-api/slots";
import { createKernel, type Kernel, type KernelOptions } from "./lifecycle.ts";
import type { Manifest } from "./manifest.ts";
import type { Clock } from "./policy.ts";
import { resolvePlan, type Plan } from "./resolve.ts";

export interface Fake {
  readonly plugin: unknown;
  readonly manifest?: Partial<Manifest>;
}

export type Fakes = Readonly<Record<string, Fake>>;

export interface ManualClock extends Clock {
  /** Moves on, running what falls due on the way, and lets promises settle. */
  pass(ms: number): Promise<void>;
}

export function manualClock(): ManualClock {
  let now = 1_000_000;
  let timers: { at: number; fn: () => void }[] = [];
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    now: () => now,
    after(ms, fn) {
      const timer = { at: now + ms, fn };
      timers.push(timer);
      return () => void (timers = timers.filter((other) => other !== timer));
    },
    async pass(ms) {
      const end = now + ms;
      await settle();
      for (;;) {
        const due = timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!due) break;
        timers = timers.filter((t) => t !== due);
        now = due.at;
        due.fn();
        for (let i = 0; i < 5; i++) await settle();
      }
      now = end;
    },
  };
}

export interface TestKernel {
  readonly kernel: Kernel;
  readonly lines: string[];
  readonly defaults: Fakes;
  readonly clock: ManualClock;
  /** The plan of other plugins, or of these without some. */
  readonly planOf: (fakes: Fakes, disabled?: readonly string[], slots?: Readonly<Record<string, string>>) => Plan;
  readonly state: (id: string) => string | undefined;
}

/** Slots that must be filled and nobody provides are filled by empty ones. */
export function kernelOf(fakes: Fakes, more: Partial<KernelOptions> = {}): TestKernel {
  const { dirs = temporaryDirs() } = more;
  const lines: string[] = [];
  const log = (plugin: string): Logger => {
    const write = (a: object | string, b?: string) => void lines.push(`${plugin}: ${typeof a === "string" ? a : b}`);
    return { trace: write, debug: write, info: write, warn: write, error: write } as Logger;
  };
  const known: Record<string, Fake> = {};
  const planOf: TestKernel["planOf"] = (given, disabled = [], slots = {}) => {
    const all: Fakes = { ...defaults, ...given };
    Object.assign(known, all);
    return resolvePlan({
      manifests: Object.entries(all).map(manifestOf), role: "server", roles: ["server"],
      disabled: new Map(disabled.map((id) => [id, `--disable ${id}`])), slots: new Map(Object.entries(slots)),
    });
  };
  const clock = manualClock();
  const kernel = createKernel({
    plan: planOf(fakes), configs: new Map(), refs: {}, dirs, log,
    load: async (m) => known[m.id]!.plugin, clock, random: () => 0.5, ...more,
  });
  return { kernel, lines, defaults, clock, planOf, state: (id) => kernel.status().find((s) => s.id === id)?.state };
}

function temporaryDirs(): KernelOptions["dirs"] {
  const dir = mkdtempSync(join(tmpdir(), "kernel-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return { data: join(dir, "data"), run: join(dir, "run") };
}

const defaults: Fakes = {
  store: { plugin: definePlugin({ provides: datastore, start: () => ({}) as never }) },
  api: { plugin: definePlugin({ provides: apiserver, start: () => ({ client: (user: object) => user }) as never }) },
};

function manifestOf([id, { plugin, manifest }]: [string, Fake]): Manifest {
  const d = (plugin as Plugin).definition ?? {};
  const ids = (slots: object | undefined) => Object.fromEntries(Object.values(slots ?? {}).map((s) => [s.id, "^1"]));
  return {
    id, name: id, version: "1.0.0", description: "", dir: `/${id}`, entry: `/${id}/plugin.ts`, roles: ["server"], contributes: pointCatalogue.map((point) => point.id), permissions: {}, exec: {}, criticality: "required", onDependencyRestart: "keep",
    isolation: "inline", schema: {}, example: {}, flags: {}, source: { kind: "user", label: `--plugin ./${id}`, path: `/${id}` },
    provides: d.provides ? { [d.provides.id]: "1.0" } : {}, needs: ids(d.needs), wants: ids(d.wants), ...manifest,
  };
}
