/** `k3s-p plugin test PATH`: manifest lint, the lifecycle suite, and the suite of the slot, as one table. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import { suitesFor } from "@k3s-p/plugin-api/conformance/index";
import { openSubject } from "@k3s-p/plugin-api/conformance/subject";
import { runSuite, type ConformanceTest, type Result } from "@k3s-p/plugin-api/conformance/suite";
import { pluginConfigs } from "../config/plugins.ts";
import { readManifest, type Manifest, type Problem } from "../kernel/manifest.ts";
import { parseWords } from "./words.ts";

export const usage = "plugin test PATH [--json]";
const headings = ["## What it does", "## Config", "## Examples", "## Health", "## Permissions"];

export async function run(argv: readonly string[]): Promise<number> {
  const { words: [path = ""], flags } = parseWords(argv, usage, 1, [], ["json"]);
  const source = { kind: "user", label: `plugin test ${path}`, path: resolve(path) } as const;
  if (!existsSync(source.path)) throw k3spError("K3SP_PLUGIN_NOT_FOUND", { message: `${path}: no such file or folder` });
  const rows: Result[] = [];
  const show = flags.has("json") ? () => undefined : (suite: string) => (result: Result) => void process.stdout.write(rowText(suite, result));
  const collect = async (suite: string, tests: readonly ConformanceTest[]) => {
    rows.push(...(await runSuite(tests, show(suite))).map((result) => ({ ...result, suite })));
  };
  const problems: Problem[] = [];
  const manifest = readManifest(source, problems);
  await collect("manifest", manifestTests(manifest, problems));
  if (manifest && rows.every((row) => row.status === "passed")) {
    const validate = async (config: object) => void (await configsOf(manifest, config));
    const config = (await configsOf(manifest, manifest.example)).get(manifest.id) as Readonly<Record<string, unknown>>;
    const subject = await openSubject(manifest.dir, { config, validate });
    for (const { name, tests } of suitesFor(subject)) await collect(name, tests);
  }
  const count = (status: Result["status"]) => rows.filter((row) => row.status === status).length;
  const summary = `${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped\n`;
  const text = flags.has("json") ? `${JSON.stringify(rows.map(({ error: _, ...row }) => row), null, 2)}\n` : summary;
  await new Promise((resolve) => process.stdout.write(text, resolve));
  // What the plugin leaked must not hold the process.
  process.exit(count("failed") ? 1 : 0);
}

function manifestTests(manifest: Manifest | undefined, problems: readonly Problem[]): readonly ConformanceTest[] {
  const lint = (name: string, run: () => void | Promise<void>): ConformanceTest => ({ name, requires: [], run });
  const valid = lint("package.json is a valid manifest", () => {
    if (problems.length) throw new Error(problems.map((p) => `${p.file}: ${p.path ? `${p.path}: ` : ""}${p.message}`).join("\n"));
  });
  if (!manifest) return [valid];
  return [
    valid,
    lint("its example is a valid section", async () => void (await configsOf(manifest, manifest.example))),
    lint("README.md has the fixed headings", () => checkReadme(manifest)),
  ];
}

const configsOf = (manifest: Manifest, config: object): Promise<Map<string, object>> =>
  pluginConfigs([manifest], {
    values: new Map(), slots: new Map(), warnings: [], plugins: new Map([[manifest.id, { config: { ...config }, positions: new Map<string, string>() }]]),
  });

function checkReadme({ dir, id }: Manifest): void {
  const file = join(dir, "README.md");
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  const found = lines.filter((line) => line.startsWith("## "));
  if (lines[0] !== `# ${id}` || found.join() !== headings.join()) throw new Error(`${file}: wanted "# ${id}", then ${headings.join(", ")}`);
}

const marks: Readonly<Record<Result["status"], string>> = { passed: "ok", failed: "FAILED", skipped: "skipped" };

function rowText(suite: string, { name, status, reason, ms }: Result): string {
  const row = `${marks[status].padEnd(8)} ${suite.padEnd(14)} ${`${Math.round(ms)} ms`.padStart(9)}  ${name}`;
  const why = status === "passed" || !reason ? [] : reason.split("\n").filter(Boolean).map((line) => `${" ".repeat(9)}${line}`);
  return `${[row, ...why].join("\n")}\n`;
}
