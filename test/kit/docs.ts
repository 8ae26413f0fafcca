/**
 * Writes the generated pages of plugin-api: one a slot and point, the error catalogue, and the report of its exports.
 * `npm run docs` writes them; a test fails when they are stale.
 */
import { spawnSync } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { definePlugin, errorCatalogue, type Point, type Slot } from "@k3s-p/plugin-api";
import { slotSuites } from "@k3s-p/plugin-api/conformance/index";
import { lifecycleSuite } from "@k3s-p/plugin-api/conformance/lifecycle";
import type { ConformanceTest } from "@k3s-p/plugin-api/conformance/suite";
import { pointCatalogue } from "@k3s-p/plugin-api/points";
import { kernelSlots, slotCatalogue } from "@k3s-p/plugin-api/slots";
import { templates } from "../../core/src/cli/plugin-new.ts";
import { agentPlugins, defaultPlugins } from "../../core/src/defaults.ts";

const root = dirname(dirname(import.meta.dirname));
const api = join(root, "plugin-api");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

/** Path below plugin-api -> text. */
export function generatedPages(): Readonly<Record<string, string>> {
  const slots = [...slotCatalogue].sort((a, b) => a.id.localeCompare(b.id));
  const points = [...pointCatalogue].sort((a, b) => a.id.localeCompare(b.id));
  return {
    ...Object.fromEntries(slots.map((slot) => [`docs/slots/${slot.id}.md`, slotPage(slot)])),
    ...Object.fromEntries(points.map((point) => [`docs/points/${point.id}.md`, pointPage(point)])),
    "docs/lifecycle.md": page("The lifecycle suite", ["Every plugin, whatever its slot:", "", ...list(lifecycleSuite(dummy("x")))]),
    "docs/errors.md": errorPage(),
  };
}

const generated = "<!-- Written by test/kit/docs.ts from the source. -->";
const page = (title: string, lines: readonly string[]): string => [`# ${title}`, "", generated, "", ...lines, ""].join("\n");

function slotPage(slot: Slot<unknown>): string {
  const { file, type } = declarationOf("defineSlot", slot.id);
  const byKernel = kernelSlots.includes(slot.id);
  const provider = defaultPlugins.find((id) => slot.id in manifestOf(id).provides);
  const onAgents = agentPlugins.find((id) => slot.id in manifestOf(id).provides);
  const users = defaultPlugins.filter((id) => slot.id in manifestOf(id).needs);
  const suite = slotSuites[slot.id]?.({ ...dummy(slot.id), provides: [slot.id] });
  const facts = [
    `- contract: ${slot.contract}`,
    `- required: ${slot.required.length ? `by the role ${slot.required.join(", ")}` : "no"}`,
    slot.derive ? `- provider: a view of the slot [${slot.derive.from}](${slot.derive.from}.md), made for each plugin that needs it`
      : `- provider: ${byKernel ? "the kernel itself" : provider ? `${linkTo(provider)} by default${onAgents ? `, ${linkTo(onAgents)} on agents` : ""}` : "none by default"}`,
    `- needed by: ${users.join(", ") || "no default plugin"}`,
    `- token: \`import { ${camel(slot.id)} } from "@k3s-p/plugin-api/slots"\``,
  ];
  const begin = slot.id in templates ? ["", "## Begin", "", `    k3s-p plugin new my-${slot.id} --slot ${slot.id}`, `    k3s-p plugin test ./my-${slot.id}`] : [];
  const promises = suite ? list(suite) : ["No suite: what it promises shows only in the whole, or is the kernel's own."];
  const more = byKernel || slot.derive ? [] : ["", "Besides, every plugin passes [the lifecycle suite](../lifecycle.md)."];
  return page(slot.id, [...facts, "", "## Types", "", "```ts", typesOf(file, type), "```", "", "## Conformance", "", ...promises, ...more, ...begin]);
}

const linkTo = (plugin: string): string => `[${plugin}](../../../plugins/${plugin}/src/plugin.ts)`;

function pointPage(point: Point<unknown>): string {
  const { file, type, name } = declarationOf("definePoint", point.id);
  const users = defaultPlugins.filter((id) => globSync(`plugins/${id}/src/**/*.ts`, { cwd: root }).some((f) => new RegExp(`contribute\\(${name}\\b`).test(read(f))));
  return page(point.id, [
    `- contract: ${point.contract}`, `- contributed to by: ${users.join(", ") || "no default plugin"}`,
    `- token: \`import { ${name} } from "@k3s-p/plugin-api/points"\`, then \`ctx.contribute(${name}, ...)\` in \`start\``,
    "", "## Types", "", "```ts", typesOf(file, type), "```",
  ]);
}

function errorPage(): string {
  const sources = globSync("{core,plugins,plugin-api}/**/*.ts", { cwd: root }).filter((f) => !/node_modules|\.test\.ts$|plugin-api\/src\/errors\.ts$/.test(f)).sort();
  const texts = sources.map((file) => ({ room: file.split("/").slice(0, file.startsWith("plugins/") ? 2 : 1).join("/"), text: read(file) }));
  const sections = Object.entries(errorCatalogue).sort(([a], [b]) => a.localeCompare(b)).flatMap(([code, { title, fix }]) => {
    const by = [...new Set(texts.filter(({ text }) => text.includes(`"${code}"`)).map(({ room }) => room))];
    return [`## ${code}`, "", `${title}. Comes from ${by.join(", ")}.`, "", `Fix: ${fix}.`, ""];
  });
  return page("Errors", ["`k3s-p help CODE` prints an entry. Every error says what happened, where, and how to fix it.", "", ...sections]).trimEnd() + "\n";
}

const list = (tests: readonly ConformanceTest[]): string[] => tests.map(({ name, requires }) => `- ${name}${requires.length ? ` (needs ${requires.join(", ")})` : ""}`);
const dummy = (id: string) => ({ id, folder: "", plugin: definePlugin({ start() {} }), provides: [] as string[], config: {}, validate: () => {} });
const camel = (id: string): string => id.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
const manifestOf = (id: string) => (JSON.parse(read(`plugins/${id}/package.json`)) as { k3sp: { provides: object; needs: object } }).k3sp;

/** Where a token is made, and of which type. */
function declarationOf(factory: "defineSlot" | "definePoint", id: string): { readonly file: string; readonly type: string; readonly name: string } {
  for (const file of ["plugin-api/src/refs.ts", ...globSync("plugin-api/src/{slots,points}/*.ts", { cwd: root }).sort()]) {
    const found = new RegExp(`export const (\\w+) = ${factory}<(\\w+)>\\("${id.replace(".", "\\.")}"`).exec(read(file));
    if (found) return { file, name: found[1]!, type: found[2]! };
  }
  throw new Error(`${factory} of ${id} was not found`);
}

/** The interface with its doc comments, and the others of its file that it refers to. */
function typesOf(file: string, type: string): string {
  const source = read(type === "KubeClient" ? "plugin-api/src/kube/client.ts" : file);
  const blocks = new Map([...source.matchAll(/(?:^\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n)?^export (?:interface|type) (\w+)(?:[^\n{;]*\{[\s\S]*?^\}|[^;]*;)/gm)].map((m) => [m[1]!, m[0]]));
  const wanted: string[] = [];
  const visit = (name: string): void => {
    const block = blocks.get(name);
    if (!block || wanted.includes(name)) return;
    wanted.push(name);
    for (const [word] of block.matchAll(/\b[A-Z]\w+/g)) visit(word);
  };
  visit(type);
  return wanted.map((name) => blocks.get(name)!).join("\n\n");
}

/** Every declaration that plugin-api exports, as the compiler sees it, without comments. */
export function apiReport(): string {
  const out = mkdtempSync(join(tmpdir(), "k3sp-api-"));
  try {
    const config = join(out, "tsconfig.json");
    writeFileSync(config, JSON.stringify({
      extends: join(root, "tsconfig.json"), include: [join(api, "src")], exclude: [join(api, "src/**/*.test.ts"), join(api, "src/**/*.fixture.ts")],
      compilerOptions: { noEmit: false, declaration: true, emitDeclarationOnly: true, outDir: join(out, "d"), rootDir: join(api, "src"), removeComments: true, typeRoots: [join(root, "node_modules/@types")] },
    }));
    spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", config], { cwd: root });
    const files = globSync("**/*.d.ts", { cwd: join(out, "d") }).filter((file) => !file.includes("fixture")).sort();
    const sections = files.flatMap((file) => [`## ${file.replace(/\.d\.ts$/, "")}`, "", "```ts", declarations(readFileSync(join(out, "d", file), "utf8")), "```", ""]);
    return [
      "# API report", "", generated, "", "What `@k3s-p/plugin-api` exports. A change here is a change for every author: see [policy](docs/policy.md).", "", ...sections,
    ].join("\n");
  } finally {
    rmSync(out, { recursive: true });
  }
}

const declarations = (text: string): string => text.split("\n").filter((line) => line.trim() && !/^import |^export \{\};/.test(line)).join("\n");

if (import.meta.main) {
  for (const [path, text] of Object.entries({ ...generatedPages(), "api-report.md": apiReport() })) {
    mkdirSync(dirname(join(api, path)), { recursive: true });
    writeFileSync(join(api, path), text);
  }
}
