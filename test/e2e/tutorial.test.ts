/** The last step of the tutorial: the author's first plugin answers for a real cluster. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { createCluster, eventually, type Cluster } from "../kit/cluster.ts";
import { blocksOf } from "../kit/markdown.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";

const root = dirname(dirname(import.meta.dirname));
const reason = sandboxUnavailable();
if (reason) console.log(`skipped: the tutorial's server ${reason}`);

describe.skipIf(reason)("the tutorial", () => {
  let cluster: Cluster | undefined;
  const dir = mkdtempSync(join(tmpdir(), "tutorial-"));
  afterEach(async () => {
    await cluster?.dispose();
    rmSync(dir, { recursive: true });
  });

  test("the server takes the plugin in coredns' place, in a process of its own, and names are answered by it", async () => {
    const blocks = blocksOf(readFileSync(join(root, "plugin-api/docs/tutorial.md"), "utf8"));
    const at = blocks.findIndex(({ info }) => info === "sh server");
    const k3sp = `k3s-p() { ${process.execPath} ${join(root, "core/src/cli/main.ts")} "$@"; }; `;
    const steps = blocks.slice(0, at).filter(({ info, text }) => info === "sh" && /plugin new|sed -i .* my-dns\/src/.test(text));
    for (const { text } of steps) expect(spawnSync("bash", ["-ec", k3sp + text], { cwd: dir, encoding: "utf8" }).stderr).toBe("");
    const args = blocks[at]!.text.trim().split(" ").slice(2).map((word) => word.replace(/^\.\//, `${dir}/`));
    cluster = await createCluster({ args });
    await cluster.start();
    expect(cluster.output()).toContain(blocks[at + 1]!.text.trim());
    const ask = async (name: string) => (await cluster!.sandbox.run(["busybox", "nslookup", "-type=a", name, "10.43.0.10"])).stdout;
    await eventually(async () => (await ask("hello.cluster.local")).includes("192.0.2.1"), "hello.cluster.local", 20_000);
    expect(await ask("kubernetes.default.svc.cluster.local")).toContain("10.43.0.1");
  });
});
