/**
 * Fills Node's compile cache after an installation. A process that finds one module without its types removed there loads
 * the compiler for that, and keeps it: 25 MiB in the server and in its runner, for as long as they run.
 */
import { readFileSync } from "node:fs";
import { findPackageJSON, flushCompileCache } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { agentPlugins, defaultPlugins } from "./defaults.ts";

/** What a module names of its own package: imported with it, imported later, or the file of a thread or process. */
const named = /(?:\bfrom |\bimport\(|\bnew URL\()"(\.[^"]+\.ts)"/g;

/** All modules that `entries` lead to, themselves included. */
function reachable(entries: readonly string[]): string[] {
  const found = new Set(entries);
  for (const file of found) {
    for (const [, name] of readFileSync(fileURLToPath(file), "utf8").matchAll(named)) found.add(new URL(name!, file).href);
  }
  return [...found];
}

function entries(): string[] {
  const manifests = [...defaultPlugins, ...agentPlugins].map((id) => findPackageJSON(`@k3s-p/plugin-${id}`, import.meta.url)).filter((path) => path !== undefined);
  return [new URL("./cli/main.ts", import.meta.url).href, ...manifests.map((path) => pathToFileURL(join(dirname(path), "src/plugin.ts")).href)];
}

if (import.meta.main) {
  // What begins a thread or process fails without its parent, but not before it is compiled.
  for (const file of reachable(entries())) await import(file).catch(() => {});
  flushCompileCache();
  process.exit();
}
