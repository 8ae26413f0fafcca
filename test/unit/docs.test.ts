/** The documents of plugin-api are true: generated pages are fresh, the tutorial runs as it is written, examples are planned. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { errorCatalogue, type Role } from "@k3s-p/plugin-api";
import { agentPlugins } from "../../core/src/defaults.ts";
import { planFrom, readSettings } from "../../core/src/plan.ts";
import { blocksOf } from "../kit/markdown.ts";
import { apiReport, generatedPages } from "../kit/docs.ts";

const root = dirname(dirname(import.meta.dirname));
const api = join(root, "plugin-api");
const stale = "run: npm run docs";

describe("generated pages", () => {
  const pages = generatedPages();

  test.each(Object.keys(pages))("%s is fresh", (path) => {
    expect(existsSync(join(api, path)) && readFileSync(join(api, path), "utf8"), stale).toBe(pages[path]);
  });

  test("none is left over", () => {
    expect(globSync("docs/{slots,points}/*.md", { cwd: api }).filter((path) => !(path in pages))).toEqual([]);
  });

  test("every error code is documented, and no other", () => {
    const documented = [...readFileSync(join(api, "docs/errors.md"), "utf8").matchAll(/^## (\w+)$/gm)].map((m) => m[1]);
    expect(documented).toEqual(Object.keys(errorCatalogue).sort());
  });

  test("the API report is what is exported", () => {
    expect(readFileSync(join(api, "api-report.md"), "utf8"), stale).toBe(apiReport());
  }, 60_000);
});

test("links between the pages lead somewhere", () => {
  const broken = globSync("docs/**/*.md", { cwd: api }).flatMap((file) =>
    [...readFileSync(join(api, file), "utf8").matchAll(/\]\(([^)#:]+)\)/g)].map((m) => m[1]!).filter((to) => !existsSync(join(api, dirname(file), to))).map((to) => `${file}: ${to}`));
  expect(broken).toEqual([]);
});

describe("the tutorial", () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "tutorial-"));
    mkdirSync(join(dir, ".bin"));
    const main = join(root, "core/src/cli/main.ts");
    for (const [name, line] of [["k3s-p", `exec ${process.execPath} ${main} "$@"`], ["node", `exec ${process.execPath} "$@"`]] as const) {
      writeFileSync(join(dir, ".bin", name), `#!/bin/sh\n${line}\n`);
      chmodSync(join(dir, ".bin", name), 0o755);
    }
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  const blocks = blocksOf(readFileSync(join(api, "docs/tutorial.md"), "utf8"));

  test("its commands do what it says, byte for byte", () => {
    const env = { ...process.env, PATH: `${join(dir, ".bin")}:${process.env.PATH}`, NODE_OPTIONS: "" };
    let output = "";
    for (const { info, text } of blocks) {
      if (info === "sh") {
        const { status, stdout, stderr } = spawnSync("bash", ["-euo", "pipefail", "-c", text], { cwd: dir, env, encoding: "utf8" });
        output = stdout + stderr;
        expect(status, `${text}\n${output}`).toBe(0);
      } else if (info.startsWith("ts ")) writeFileSync(join(dir, info.slice(3)), text);
      else if (info === "text") for (const line of text.trimEnd().split("\n")) expect(output).toContain(line);
      else if (info === "sh server") output = serverPlan(text, dir, env);
    }
  }, 120_000);

  test("its example is planned", async () => {
    const example = blocks.find(({ info }) => info === "yaml k3sp")!;
    await plan(example.text, dir);
  });
});

/** What the server would say of its choices; a test in a sandbox starts it for real. */
function serverPlan(command: string, cwd: string, env: NodeJS.ProcessEnv): string {
  const { stdout, stderr } = spawnSync("bash", ["-c", command.replace("k3s-p server", "k3s-p plugin plan")], { cwd, env, encoding: "utf8" });
  return stdout + stderr;
}

/** The plan phase with the block as the configuration file; paths in it are relative to `cwd`. */
async function plan(yaml: string, cwd: string, role: Role = "server"): Promise<void> {
  const file = join(mkdtempSync(join(tmpdir(), "plan-")), "config.yaml");
  writeFileSync(file, yaml.replaceAll(/^(\s*- )\.\//gm, `$1${cwd}/`));
  const { plan: planned } = await planFrom(readSettings(["--config", file], {}, role), { role });
  expect(planned.plugins.length).toBeGreaterThan(0);
  rmSync(dirname(file), { recursive: true });
}

describe("examples of READMEs", () => {
  const readmes = globSync("{plugins/*,plugin-api/examples/*,.}/README.md", { cwd: root }).filter((f) => !f.includes("node_modules")).sort();
  const examples = readmes.flatMap((file) => blocksOf(readFileSync(join(root, file), "utf8")).filter(({ info }) => info === "yaml k3sp").map(({ text }, i) => [`${file} ${i + 1}`, text, agentPlugins.includes(basename(dirname(file))) ? "agent" : "server"] as const));

  test("there are some", () => expect(examples.length).toBeGreaterThan(3));
  test.each(examples)("%s goes through the plan", async (_, text, role) => plan(text, root, role));
});
