/** The README's tour, run as a newcomer pastes it. */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createSandbox, sandboxUnavailable, type Sandbox } from "../kit/sandbox.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: the README's tour ${reason}`);
const root = dirname(dirname(import.meta.dirname));

describe.skipIf(reason)("the README", () => {
  let sandbox: Sandbox;
  beforeAll(() => void (sandbox = createSandbox()));
  afterAll(() => sandbox?.dispose());

  test("its tour works as it is pasted", async () => {
    const readme = readFileSync(join(root, "README.md"), "utf8");
    const block = /## A tour in 60 seconds\n\n```sh\n([\s\S]*?)```/.exec(readme)![1]!;
    const script = join(sandbox.dir, "tour.sh");
    // The log goes beside the script, so that the checkout stays clean.
    writeFileSync(script, `set -e\ncd ${root}\n${block.replace("k3s-p.log", join(sandbox.dir, "k3s-p.log"))}`);
    const { code, stdout, stderr } = await sandbox.run(["bash", script], { timeout: 110_000 });
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    expect(stdout).toContain('deployment "web" successfully rolled out');
    expect(stdout).toMatch(/^web-[a-z0-9]+-[a-z0-9]+$/m);
    expect(stdout).toMatch(/^web-\S+\s+\d+m\s+\d+Mi/m);
    expect(stdout).toMatch(/^stopped \d+ processes/m);
  });
});
