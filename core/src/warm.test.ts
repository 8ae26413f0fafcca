import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
/** Imported later, in another process, and by a thread. */
const modules = ["plugins/kubelet/src/kubelet.ts", "core/src/runner/child.ts", "plugins/datastore-sqlite/src/database.ts"].map((path) => pathToFileURL(join(root, path)).href);
const load = `for (const file of ${JSON.stringify(modules)}) await import(file);
console.log(process.moduleLoadList.some((name) => name.includes("amaro")) ? "compiled" : "found"); process.exit();`;

test("after an installation no module of the server is compiled again", async () => {
  const dir = mkdtempSync(join(tmpdir(), "k3s-p-warm-"));
  const run = async (cache: string, ...args: readonly string[]) =>
    (await promisify(execFile)(process.execPath, args, { env: { ...process.env, NODE_COMPILE_CACHE: join(dir, cache) } })).stdout.trim();
  try {
    expect(await run("empty", "--input-type=module", "-e", load)).toBe("compiled");
    await run("warm", join(root, "core/src/warm.ts"));
    expect(await run("warm", "--input-type=module", "-e", load)).toBe("found");
  } finally {
    rmSync(dir, { recursive: true });
  }
});
