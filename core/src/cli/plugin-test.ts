/**
 * `k3s-p plugin test SOURCE`: manifest lint, the lifecycle suite, and the suite of the slot, in each isolation mode that
 * applies, as one table. The exit code is 1 when something failed.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import { suitesFor } from "@k3s-p/plugin-api/conformance/index";
import type { Subject } from "@k3s-p/plugin-api/conformance/subject";
import { runSuite, type ConformanceTest, type Result } from "@k3s-p/plugin-api/conformance/suite";
import { pluginConfigs } from "../config/plugins.ts";
import { loadPlugin } from "../kernel/hosts/inline.ts";
import { readManifest, type Manifest, type Problem } from "../kernel/manifest.ts";
import { readSettings } from "../plan.ts";
import { locate } from "../sources/locate.ts";
import { packagesFolder } from "../sources/manifests.ts";
import { hostedSubject } from "./hosted-subject.ts";
import { parseWords } from "./words.ts";

export const usage = "plugin test SOURCE [--suite NAME] [--isolation MODE] [--json]";
const headings = ["## What it does", "## Config", "## Examples", "## Health", "## Permissions"];

export async function run(argv: readonly string[]): Promise<number> {
  const { words: [path = ""], flags } = parseWords(argv, usage, 1, ["suite", "isolation"], ["json"]);
  const source = { kind: "user", label: `plugin test ${path}`, ...(await locate(path, packagesFolder(readSettings([])))) } as const;
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
    for (const mode of chosen("isolation", modesOf(manifest), flags)) {
      const subject = mode === "inline" ? await inlineSubject(manifest, { config, validate }) : hostedSubject(manifest, { config, validate });
      for (const { name, tests } of chosen("suite", suitesFor(subject), flags, (suite) => suite.name)) await collect(mode === "inline" ? name : `${name}@${mode}`, tests);
    }
  }
  const count = (status: Result["status"]) => rows.filter((row) => row.status === status).length;
  const summary = `${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped\n`;
  const text = flags.has("json") ? `${JSON.stringify(rows.map(({ error: _, ...row }) => row), null, 2)}\n` : summary;
  await new Promise((resolve) => process.stdout.write(text, resolve));
  // What the plugin leaked must not hold the process.
  process.exit(count("failed") ? 1 : 0);
}

const inlineSubject = async (manifest: Manifest, rest: Pick<Subject, "config" | "validate">): Promise<Subject> =>
  ({ id: manifest.id, folder: manifest.dir, plugin: await loadPlugin(manifest), provides: Object.keys(manifest.provides), ...rest });

/** What the flag names, or all. */
function chosen<T>(flag: string, all: readonly T[], flags: ReadonlyMap<string, string>, nameOf: (each: T) => string = String): readonly T[] {
  const wanted = flags.get(flag);
  const found = wanted === undefined ? all : all.filter((each) => nameOf(each) === wanted);
  if (found.length) return found;
  throw k3spError("K3SP_FLAG_INVALID", { message: `--${flag} ${wanted}: there is none for this plugin`, fix: `use one of ${all.map(nameOf).join(", ")}` });
}

type Mode = Manifest["isolation"];

/** Code that has a process of its own runs inline too: only there its leaks can be counted. */
const modesOf = ({ isolation }: Manifest): readonly Mode[] => (isolation === "process" ? ["inline", "process"] : [isolation]);

function manifestTests(manifest: Manifest | undefined, problems: readonly Problem[]): readonly ConformanceTest[] {
  const lint = (name: string, run: () => void | Promise<void>): ConformanceTest => ({ name, requires: [], run });
  const valid = lint("its manifest is valid", () => {
    if (problems.length) throw new Error(problems.map((p) => `${p.file}: ${p.path ? `${p.path}: ` : ""}${p.message}`).join("\n"));
  });
  if (!manifest) return [valid];
  return [
    valid,
    lint("its example is a valid section", async () => void (await configsOf(manifest, manifest.example))),
    // One file that is the whole plugin has nothing beside it.
    ...(manifest.source.entry ? [] : [lint("README.md has the fixed headings", () => checkReadme(manifest))]),
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
  const row = `${marks[status].padEnd(8)} ${suite.padEnd(20)} ${`${Math.round(ms)} ms`.padStart(9)}  ${name}`;
  const why = status === "passed" || !reason ? [] : reason.split("\n").filter(Boolean).map((line) => `${" ".repeat(9)}${line}`);
  return `${[row, ...why].join("\n")}\n`;
}
