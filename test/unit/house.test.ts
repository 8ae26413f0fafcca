/** What every first-party plugin owes: README headings, an example that passes its schema, code that agrees with its manifest. */
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { errorCatalogue, isPlugin } from "@k3s-p/plugin-api";
import { agentPlugins, defaultPlugins } from "../../core/src/defaults.ts";
import { pluginConfigs } from "../../core/src/config/plugins.ts";
import { flags } from "../../core/src/config/flags.ts";
import { readManifest, type Problem } from "../../core/src/kernel/manifest.ts";
import { breaches } from "../law.ts";

const root = dirname(dirname(import.meta.dirname));
const folders = [...[...defaultPlugins, ...agentPlugins].map((id) => join(root, "plugins", id)), join(root, "plugin-api/examples/my-cni")];
const headings = ["## What it does", "## Config", "## Examples", "## Health", "## Permissions"];

function manifestOf(path: string) {
  const problems: Problem[] = [];
  const manifest = readManifest({ kind: "default", label: "test", path }, problems);
  expect(problems).toEqual([]);
  return manifest!;
}

describe.each(folders.map((path) => [path.split("/").at(-1)!, path]))("%s", (id, path) => {
  test("its README has the fixed headings", () => {
    const lines = readFileSync(join(path, "README.md"), "utf8").split("\n");
    expect(lines[0]).toBe(`# ${id}`);
    expect(lines.filter((line) => line.startsWith("## "))).toEqual(headings);
  });

  test("its example passes its schema, and its flags exist", async () => {
    const manifest = manifestOf(path);
    const plugins = new Map([[manifest.id, { config: { ...manifest.example }, positions: new Map<string, string>() }]]);
    await pluginConfigs([manifest], { values: new Map(), slots: new Map(), warnings: [], plugins });
    expect(Object.keys(manifest.flags).filter((name) => !flags.some((f) => f.name === name))).toEqual([]);
  });

  test("it refuses an option that its schema does not know", async () => {
    const manifest = manifestOf(path);
    const plugins = new Map([[manifest.id, { config: { "no-such-option": 1 }, positions: new Map<string, string>() }]]);
    await expect(pluginConfigs([manifest], { values: new Map(), slots: new Map(), warnings: [], plugins })).rejects.toMatchObject({ code: "K3SP_CONFIG_INVALID" });
  });

  test("it runs the conformance suites", () => {
    expect(globSync("src/conformance*.test.ts", { cwd: path })).toHaveLength(1);
  });

  test("its code agrees with its manifest", async () => {
    const manifest = manifestOf(path);
    const plugin: unknown = ((await import(manifest.entry)) as { default: unknown }).default;
    if (!isPlugin(plugin)) throw new Error("the default export is not a plugin");
    const { provides, needs = {}, wants = {} } = plugin.definition;
    const ids = (slots: object) => Object.values(slots as Record<string, { id: string }>).map((s) => s.id).sort();
    expect(provides ? [provides.id] : []).toEqual(Object.keys(manifest.provides));
    expect(ids(needs)).toEqual(Object.keys(manifest.needs).sort());
    expect(ids(wants)).toEqual(Object.keys(manifest.wants).sort());
  });
});

test("the import law holds", () => expect(breaches(root)).toEqual([]));

test("every catalogued error is used, so that none is stale", () => {
  const sources = globSync("{core,plugins,plugin-api}/**/*.ts", { cwd: root })
    .filter((file) => !file.includes("node_modules") && !file.endsWith("plugin-api/src/errors.ts"))
    .map((file) => readFileSync(join(root, file), "utf8"))
    .join("\n");
  expect(Object.keys(errorCatalogue).filter((code) => !sources.includes(`"${code}"`))).toEqual([]);
});
