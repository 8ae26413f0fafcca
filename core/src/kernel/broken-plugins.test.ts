/** Every way to be wrong in test/fixtures/broken-plugins: the exact text that its author reads, and a server that lives on. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { formatError, isK3spError, type Logger } from "@k3s-p/plugin-api";
import { pluginConfigs } from "../config/plugins.ts";
import { planFrom, readSettings } from "../plan.ts";
import { inlineHost } from "./hosts/inline.ts";
import { processHost } from "./hosts/process.ts";
import type { Manifest } from "./manifest.ts";
import { kernelOf, type Fakes } from "./testing.ts";

const fixtures = join(import.meta.dirname, "../../../test/fixtures/broken-plugins");

interface Case {
  /** Other fixtures that are loaded with it. */
  readonly with?: readonly string[];
  readonly config?: Record<string, unknown>;
}

const caseOf = (name: string): Case => {
  const file = join(fixtures, name, "case.json");
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Case) : {};
};

/** What the user reads, with folders and places in code left out. */
async function textOf(name: string): Promise<string> {
  const { with: others = [], config } = caseOf(name);
  const dirs = [name, ...others].map((each) => join(fixtures, each));
  try {
    const settings = readSettings(["--config", emptyConfig(), "--profile", "api", ...dirs.flatMap((dir) => ["--plugin", dir])], {});
    const plugins = new Map(config ? [[name, { config, positions: new Map([["mode", "config.yaml:5:13"]]) }]] : []);
    const { plan } = await planFrom({ ...settings, plugins });
    await pluginConfigs(plan.plugins, { ...settings, plugins });
    return await runTexts(plan.plugins.filter((m) => m.source.kind === "user"));
  } catch (error) {
    if (!isK3spError(error)) throw error;
    return formatError(error);
  }
}

function emptyConfig(): string {
  const dir = temporary();
  writeFileSync(join(dir, "config.yaml"), "");
  return join(dir, "config.yaml");
}

function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), "broken-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Starts it for real, in a process of its own: the error of its start, or how it ended afterwards. */
async function runTexts(manifests: readonly Manifest[]): Promise<string> {
  const dir = temporary();
  const dirs = { data: join(dir, "data"), run: join(dir, "run") };
  const fakes: Fakes = Object.fromEntries(manifests.map((manifest) => [manifest.id, { plugin: {}, manifest }]));
  const runner = { run: async () => ({ code: 0, stdout: "", stderr: "" }) };
  const { kernel, lines, clock, defaults } = kernelOf(fakes, {
    dirs, refs: { runner }, startTimeout: 1500, hookTimeout: 500,
    host: (manifest: Manifest, log: Logger) => manifest.id in fakes
      ? processHost({ manifest, log, dirs, paths: {}, connect: async () => ({}), heartbeat: 1000 })
      : inlineHost(manifest, async () => defaults[manifest.id]!.plugin),
  });
  const [id] = Object.keys(fakes) as [string];
  try {
    await kernel.start();
    const settled = () => kernel.status().some((s) => s.id === id && s.state === "failed") || lines.some((line) => line.includes("dropped"));
    for (let i = 0; i < 250 && !settled(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await clock.pass(0);
    const { state } = kernel.status().find((s) => s.id === id)!;
    const said = lines.filter((line) => line.startsWith(`${id}: `) && /K3SP_|dropped|restart/.test(line)).map((line) => line.replace(/\d+ lines/, "N lines"));
    await kernel.stop();
    const others = kernel.status().filter((s) => s.id !== id && s.state !== "stopped");
    return [...said, `${id} is ${state}; the server goes on`, ...others.map((s) => `${s.id} is ${s.state}`)].join("\n");
  } finally {
    await kernel.stop();
  }
}

const placeless = (text: string): string => text
  .replaceAll(realpathSync(fixtures), "%DIR%").replaceAll(fixtures, "%DIR%")
  .replaceAll(/^ +at .*$/gm, "  at ...").replaceAll(/\/broken-\w+\//g, "/%TMP%/");

const names = readdirSync(fixtures).sort();

test("there are at least 20 ways to be wrong", () => expect(names.length).toBeGreaterThanOrEqual(20));

test.each(names)("%s", { timeout: 30_000 }, async (name) => {
  await expect(`${placeless(await textOf(name))}\n`).toMatchFileSnapshot(join(fixtures, name, "expected.txt"));
});
