/** The promises of the `runtime` slot that hold without a network: readiness, sandboxes, and calls that may be repeated. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { PodSandboxConfig, Runtime } from "../slots/runtime.ts";
import { startSubject, type Subject } from "./subject.ts";
import { test, within, type ConformanceTest } from "./suite.ts";

export function runtimeSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (runtime: Runtime, dir: string) => Promise<void>): ConformanceTest =>
    test(name, ["containerd"], async (ctx) => {
      const started = await startSubject<Runtime>(subject, ctx);
      ctx.defer(() => started.stop());
      ctx.defer(removeCgroups);
      await run(started.impl, ctx.dir);
    });
  return [
    each("it says its version and that it is ready, and speaks CRI v1", async (runtime) => {
      assert.equal((await runtime.version()).runtimeApiVersion, "v1");
      assert.equal((await runtime.status()).runtimeReady, true);
      assert.match(runtime.endpoint, /^unix:\/\/\//);
    }),
    each("the pause image is there and pinned, so that no sandbox has to pull", async (runtime) => {
      assert.ok(await runtime.imageStatus(runtime.pauseImage), runtime.pauseImage);
    }),
    each("a sandbox on the host's network runs, is listed, and is gone after its removal", sandbox),
    each("what is not there is undefined, not an error", async (runtime) => {
      assert.equal(await runtime.podSandboxStatus("0000000000000000"), undefined);
      assert.equal(await runtime.containerStatus("0000000000000000"), undefined);
      assert.equal(await runtime.imageStatus("example.invalid/none:1"), undefined);
    }),
    each("a container of an image that is not there is refused", async (runtime, dir) => {
      const config = sandboxConfig(dir);
      const id = await runtime.runPodSandbox(config);
      try {
        await assert.rejects(runtime.createContainer(id, { metadata: { name: "c", attempt: 0 }, image: { image: "example.invalid/none:1" }, logPath: "c.log" }, config));
      } finally {
        await remove(runtime, id);
      }
    }),
  ];
}

const cgroup = `k3sp-conformance-${process.pid}`;

/** The runtime leaves the parent that a pod named to its owner. */
function removeCgroups(): void {
  const roots = ["/sys/fs/cgroup", ...readdirSync("/sys/fs/cgroup").map((name) => join("/sys/fs/cgroup", name))].map((root) => join(root, cgroup));
  for (const root of roots.filter((path) => existsSync(path))) spawnSync("find", [root, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
}

const sandboxConfig = (dir: string): PodSandboxConfig => ({
  metadata: { name: "conformance", uid: "uid-1", namespace: "default", attempt: 0 }, logDirectory: `${dir}/log`, labels: { app: "conformance" },
  linux: { cgroupParent: `/${cgroup}`, securityContext: { namespaceOptions: { network: 2, pid: 1, ipc: 0 } } },
});

async function remove(runtime: Runtime, id: string): Promise<void> {
  await runtime.stopPodSandbox(id);
  await runtime.removePodSandbox(id);
}

async function sandbox(runtime: Runtime, dir: string): Promise<void> {
  const id = await runtime.runPodSandbox(sandboxConfig(dir));
  try {
    const [listed] = await runtime.listPodSandboxes();
    assert.deepEqual([listed?.id, listed?.state, listed?.labels.app], [id, "READY", "conformance"]);
    await runtime.stopPodSandbox(id);
    await within(3000, async () => assert.equal((await runtime.podSandboxStatus(id))?.state, "NOTREADY"));
  } finally {
    await remove(runtime, id);
  }
  assert.deepEqual(await runtime.listPodSandboxes(), []);
}
