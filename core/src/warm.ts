/** Fills Node's compile cache after an installation, so that the first start is as quick as the later ones. */
import { findPackageJSON, flushCompileCache } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { agentPlugins, defaultPlugins } from "./defaults.ts";

await import("./cli/server.ts");
await import("./cli/agent.ts");
await import("./isolation/exec.ts");
for (const id of [...defaultPlugins, ...agentPlugins]) {
  const manifest = findPackageJSON(`@k3s-p/plugin-${id}`, import.meta.url);
  if (manifest) await import(pathToFileURL(join(dirname(manifest), "src/plugin.ts")).href);
}
flushCompileCache();
