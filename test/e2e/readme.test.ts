/** The README's tour, run as a newcomer pastes it. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCluster } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { createSandbox, sandboxUnavailable, type Sandbox } from "../kit/sandbox.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: the README's tour ${reason}`);
const root = dirname(dirname(import.meta.dirname));

describe.skipIf(reason)("the README", () => {
  let sandbox: Sandbox;
  beforeAll(() => void (sandbox = createSandbox()));
  afterAll(() => sandbox?.dispose());

  test("its plugin gives pods addresses of its own", async () => {
    const readme = readFileSync(join(root, "README.md"), "utf8");
    const blocks = [...readme.matchAll(/```(json|ts)\n([\s\S]*?)```/g)].map((m) => [m[1], m[2]!] as const);
    const dir = join(sandbox.dir, "my-cni");
    mkdirSync(join(dir, "src"), { recursive: true });
    writeFileSync(join(dir, "package.json"), blocks.find(([kind]) => kind === "json")![1]);
    writeFileSync(join(dir, "src/plugin.ts"), blocks.find(([kind]) => kind === "ts")![1]);
    const cluster = await createCluster({ args: ["--plugin", dir], images: [busyboxImage({ name: "docker.io/library/busybox", tag: "e2e" })] });
    try {
      await cluster.start();
      expect(cluster.output()).toContain("cni: my-cni 0.3.0 (replaces flannel)");
      await cluster.kubectl("run", "pod", "--image=docker.io/library/busybox:e2e", "--command", "--", "sleep", "1000");
      await cluster.kubectl("wait", "--for=condition=Ready", "pod/pod", "--timeout=60s");
      expect(await cluster.kubectl("get", "pod", "pod", "-o", "jsonpath={.status.podIP}")).toMatch(/^10\.77\.0\./);
    } finally {
      await cluster.dispose();
    }
  });

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
