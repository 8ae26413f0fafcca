/** Every way to be wrong in test/fixtures/broken-plugins: the exact text that its author reads, and a server that lives on. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { formatError, isK3spError, type Logger } from "@k3s-p/plugin-api";
import { lockFile, openApprovals } from "../approval/approvals.ts";
import { pluginConfigs } from "../config/plugins.ts";
import { planFrom, readSettings } from "../plan.ts";
import { createHosts } from "./hosts/index.ts";
import { inlineHost } from "./hosts/inline.ts";
import type { Manifest } from "./manifest.ts";
import { kernelOf, type Fakes } from "./testing.ts";

const fixtures = join(import.meta.dirname, "../../../test/fixtures/broken-plugins");
const names = readdirSync(fixtures).sort();
/** Fixtures that run at a time. */
const ABREAST = 4;

interface Case {
  /** Other fixtures that are loaded with it. */
  readonly with?: readonly string[];
  /** File in its folder that is named in its place. */
  readonly source?: string;
  /** Rights that an earlier version of it was recorded with. */
  readonly recorded?: readonly string[];
  readonly config?: Record<string, unknown>;
  /** Milliseconds; where it says nothing, more than a busy machine needs. */
  readonly loadTimeout?: number;
  readonly startTimeout?: number;
  readonly hookTimeout?: number;
  readonly heartbeat?: number;
  /** What is wrong with it shows only when it is stopped. */
  readonly lives?: boolean;
}

const caseOf = (name: string): Case => {
  const file = join(fixtures, name, "case.json");
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Case) : {};
};

const root = mkdtempSync(join(tmpdir(), "broken-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const texts = new Map<string, string>();
beforeAll(async () => {
  const queue = [...names];
  const work = async (): Promise<void> => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) texts.set(name, await textOf(name).catch(String));
  };
  await Promise.all(Array.from({ length: ABREAST }, work));
}, 60_000);

/** What the user reads, with folders and places in code left out. */
async function textOf(name: string): Promise<string> {
  const { with: others = [], config, source = "", recorded, ...limits } = caseOf(name);
  const dirs = [join(name, source), ...others].map((each) => join(fixtures, each));
  const own = join(root, name);
  mkdirSync(own);
  writeFileSync(join(own, "config.yaml"), "");
  if (recorded) writeFileSync(join(own, "plugins.lock.json"), JSON.stringify({ [name]: { version: "0.9.0", hash: "", rights: recorded } }));
  try {
    const settings = readSettings(["--config", join(own, "config.yaml"), "--profile", "api", "--data-dir", own, ...dirs.flatMap((dir) => ["--plugin", dir])], {});
    const plugins = new Map(config ? [[name, { config, positions: new Map([["mode", "config.yaml:5:13"]]) }]] : []);
    const { plan } = await planFrom({ ...settings, plugins });
    await pluginConfigs(plan.plugins, { ...settings, plugins });
    return await runTexts(plan.plugins.filter((m) => m.source.kind === "user"), own, limits);
  } catch (error) {
    if (!isK3spError(error)) throw error;
    return formatError(error);
  }
}

/** Starts it for real, in a process of its own: the error of its start, or how it ended afterwards. */
async function runTexts(manifests: readonly Manifest[], dir: string, limits: Case): Promise<string> {
  const { loadTimeout = 20_000, startTimeout = 20_000, hookTimeout = 20_000, heartbeat = 20_000, lives = false } = limits;
  const dirs = { data: join(dir, "data"), run: join(dir, "run") };
  const fakes: Fakes = Object.fromEntries(manifests.map((manifest) => [manifest.id, { plugin: {}, manifest }]));
  const runner = { run: async () => ({ code: 0, stdout: "", stderr: "" }) };
  const { admit } = openApprovals(lockFile({ server: dir, agent: join(dir, "agent") }));
  const hosts = createHosts({ dirs, paths: {}, refs: {}, provider: () => ({}), admit, heartbeat });
  const { kernel, lines, defaults, state } = kernelOf(fakes, {
    dirs, refs: { runner }, loadTimeout, startTimeout, hookTimeout,
    host: (manifest: Manifest, log: Logger) => manifest.id in fakes ? hosts(manifest, log) : inlineHost(manifest, async () => defaults[manifest.id]!.plugin),
  });
  const [id] = Object.keys(fakes) as [string];
  try {
    await kernel.start();
    const over = () => lives || lines.some((line) => line.includes("restart in") || line.includes("dropped"));
    for (let i = 0; i < 2000 && !over(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
    // A busy machine takes several seconds for a flood, and each drops some.
    const said = new Set(lines.filter((line) => line.startsWith(`${id}: `) && /K3SP_|dropped|restart/.test(line)).map((line) => line.replace(/\d+ lines/, "N lines")));
    const ended = state(id);
    await kernel.stop();
    const others = kernel.status().filter((s) => s.id !== id && s.state !== "stopped");
    return [...said, `${id} is ${ended}; the server goes on`, ...others.map((s) => `${s.id} is ${s.state}`)].join("\n");
  } finally {
    await kernel.stop();
  }
}

const placeless = (text: string): string => text
  .replaceAll(realpathSync(fixtures), "%DIR%").replaceAll(fixtures, "%DIR%")
  .replaceAll(/^ +at .*$/gm, "  at ...");

test("there are at least 20 ways to be wrong", () => expect(names.length).toBeGreaterThanOrEqual(20));

test.each(names)("%s", async (name) => {
  await expect(`${placeless(texts.get(name)!)}\n`).toMatchFileSnapshot(join(fixtures, name, "expected.txt"));
});
