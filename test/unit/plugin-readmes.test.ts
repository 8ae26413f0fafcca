/** The READMEs of the first-party plugins name every option and flag, and their configuration examples are accepted. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { flags } from "../../core/src/config/flags.ts";
import { loadSettings } from "../../core/src/config/load.ts";
import { pluginConfigs } from "../../core/src/config/plugins.ts";
import { defaultPlugins } from "../../core/src/defaults.ts";
import { readManifest, type Manifest } from "../../core/src/kernel/manifest.ts";

const plugins = join(dirname(dirname(import.meta.dirname)), "plugins");
const dir = mkdtempSync(join(tmpdir(), "readmes-"));
afterAll(() => rmSync(dir, { recursive: true }));

function load(id: string): { manifest: Manifest; readme: string } {
  const path = join(plugins, id);
  return { manifest: readManifest({ kind: "default", label: "test", path }, [])!, readme: readFileSync(join(path, "README.md"), "utf8") };
}

test.each(defaultPlugins)("%s: every option and flag is in the Config section", (id) => {
  const { manifest, readme } = load(id);
  const [, section = ""] = /\n## Config\n([\s\S]*?)\n## /.exec(readme) ?? [];
  const options = Object.keys((manifest.schema.properties ?? {}) as object).map((name) => `\`${name}\``);
  const names = [...options, ...Object.keys(manifest.flags).map((flag) => `\`--${flag}\``)];
  expect(names.filter((name) => !section.includes(name))).toEqual([]);
});

test.each(defaultPlugins)("%s: the configuration examples are accepted", async (id) => {
  const { manifest, readme } = load(id);
  const file = join(dir, `${id}.yaml`);
  for (const [, example = ""] of readme.matchAll(/```yaml k3sp\n([\s\S]*?)```/g)) {
    writeFileSync(file, example);
    const settings = loadSettings({ argv: ["--config", file], env: {}, flags });
    expect(settings.warnings).toEqual([]);
    await pluginConfigs([manifest], settings);
  }
});
