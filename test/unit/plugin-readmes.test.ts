/** The READMEs of the first-party plugins name every option and flag that their manifests have. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { agentPlugins, defaultPlugins } from "../../core/src/defaults.ts";
import { readManifest } from "../../core/src/kernel/manifest.ts";

const plugins = join(dirname(dirname(import.meta.dirname)), "plugins");

test.each([...defaultPlugins, ...agentPlugins])("%s: every option and flag is in the Config section", (id) => {
  const path = join(plugins, id);
  const manifest = readManifest({ kind: "default", label: "test", path }, [])!;
  const [, section = ""] = /\n## Config\n([\s\S]*?)\n## /.exec(readFileSync(join(path, "README.md"), "utf8")) ?? [];
  const options = Object.keys((manifest.schema.properties ?? {}) as object).map((name) => `\`${name}\``);
  const names = [...options, ...Object.keys(manifest.flags).map((flag) => `\`--${flag}\``)];
  expect(names.filter((name) => !section.includes(name))).toEqual([]);
});
