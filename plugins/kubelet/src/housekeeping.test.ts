import { mkdtempSync, readdirSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { housekeeping, rotate } from "./housekeeping.ts";
import { kubeletOptions, type KubeletConfig } from "./options.ts";
import { podLogDir } from "./paths.ts";
import type { PodManager } from "./pod-manager.ts";
import type { Verdict } from "./pod-services.ts";
import type { Stats } from "./server/stats.ts";
import { harness, testOptions, testPod } from "./testing/harness.ts";

const GIB = 2 ** 30;

/** A node of 100 GiB, with one pod that runs and one image that nobody uses. */
async function node(kubeletArg: readonly string[] = []) {
  const root = mkdtempSync(join(tmpdir(), "housekeeping-"));
  const h = harness(root);
  onTestFinished(() => {
    h.stop();
    rmSync(root, { recursive: true, force: true });
  });
  h.run(testPod("web"));
  await h.until(() => h.api("web")?.status?.phase === "Running");
  const pod = h.api("web")!;
  const image = (id: string, size: number) => h.runtime.images.set(id, { id, repoTags: [id], repoDigests: [], size });
  const said: string[] = [];
  const ended: Verdict[] = [];
  const removed: string[] = [];
  let free = 50;
  const runtime = {
    ...h.runtime, imageFsInfo: async () => ({ mountpoint: "/images", usedBytes: 0, inodesUsed: 0 }),
    removeImage: async (id: string) => {
      removed.push(id);
      free += h.runtime.images.get(id)!.size / GIB;
      h.runtime.images.delete(id);
    },
  };
  const stats = {
    space: async () => ({ totalBytes: 100 * GIB, freeBytes: free * GIB, usedBytes: (100 - free) * GIB, freePercent: free, inodes: 1000, inodesFree: 900 }),
    collect: async () => ({ pods: [] }),
  } as unknown as Stats;
  const manager = { pods: () => [pod], active: () => [pod], worker: () => ({ fail: (verdict: Verdict) => ended.push(verdict) }) } as unknown as PodManager;
  const options = { ...testOptions, eviction: kubeletOptions({ kubeletArg, evictionPercent: 5, containerLogMaxSize: "10Mi" } as unknown as KubeletConfig).eviction, logMaxBytes: 100 };
  const keeper = housekeeping({ ...h.services, runtime, options }, manager, stats, (reason, message) => said.push(`${reason} ${message}`));
  return { h, pod, keeper, image, said, ended, removed, setFree: (percent: number) => (free = percent) };
}

it("gives unused images back before it evicts, and that may be enough", async () => {
  const { keeper, image, setFree, removed, ended, said } = await node();
  image("unused", 20 * GIB);
  setFree(4);
  await keeper.check();
  expect([removed, ended, said]).toEqual([["unused"], [], ["EvictionThresholdMet Attempting to reclaim ephemeral-storage"]]);
  expect(keeper.state()).toEqual({ diskPressure: true, memoryPressure: false, pidPressure: false });
  expect(keeper.pressure()).toEqual(["DiskPressure"]);
});

it("evicts when images are not enough, with upstream's words, at once, and keeps the condition for five minutes", async () => {
  const { h, keeper, setFree, ended } = await node();
  setFree(4);
  await keeper.check();
  const message = "The node was low on resource: ephemeral-storage. Threshold quantity: 5Gi, available: 4Gi. ";
  expect(ended).toEqual([{ phase: "Failed", reason: "Evicted", message, grace: 1, isDisruption: true }]);
  expect(h.events()).toContain(`Evicted ${message}`);
  setFree(60);
  h.advance(299_000);
  await keeper.check();
  expect(keeper.state().diskPressure).toBe(true);
  h.advance(301_000);
  expect(keeper.pressure()).toEqual([]);
  expect(ended).toHaveLength(1);
});

it("sees the machine's memory and threads", async () => {
  const { keeper, ended } = await node(["eviction-hard=memory.available<100%,pid.available<1"]);
  await keeper.check();
  expect(keeper.state()).toEqual({ diskPressure: false, memoryPressure: true, pidPressure: false });
  expect(ended[0]?.message).toMatch(/^The node was low on resource: memory\. Threshold quantity: 8Gi, available: \d+Ki\. $/);
});

it("removes images above the high mark down to the low one, the longest unused first, and says when that cannot be", async () => {
  const { h, keeper, image, setFree, removed, said } = await node();
  image("old", 4 * GIB);
  await keeper.collectImages();
  h.advance(60_000);
  image("newer", 4 * GIB);
  image("newest", 4 * GIB);
  await keeper.collectImages();
  h.advance(121_000);
  setFree(14);
  await keeper.collectImages();
  expect(removed).toEqual(["old", "newer"]);
  expect(h.runtime.images.has("busybox:latest")).toBe(true);
  setFree(10);
  await keeper.collectImages();
  expect(removed).toEqual(["old", "newer", "newest"]);
  expect(said).toEqual([`FreeDiskSpaceFailed Failed to garbage collect required amount of images. Attempted to free ${10 * GIB} bytes, but only found ${4 * GIB} bytes eligible to free.`]);
});

it("leaves an image alone that has been unused for less than two minutes", async () => {
  const { keeper, image, setFree, removed } = await node();
  image("fresh", 40 * GIB);
  setFree(1);
  await keeper.collectImages();
  expect(removed).toEqual([]);
});

it("leaves an image alone that a pod's volume shows", async () => {
  const { h, keeper, image, setFree, removed } = await node();
  image("shown", 40 * GIB);
  h.services.volumes.mounted = () => new Map([["v", { hostPath: "/v", readOnly: true, managed: true, imageId: "shown" }]]);
  setFree(1);
  await keeper.check();
  expect(removed).toEqual([]);
});

it("rotates the log of a running container when it has grown, and lets the runtime reopen it", async () => {
  const { h, pod, keeper } = await node();
  const log = join(podLogDir(h.services.node.paths, pod), "c/0.log");
  mkdirSync(dirname(log), { recursive: true });
  writeFileSync(log, "x".repeat(99));
  await keeper.check();
  expect(h.runtime.calls).not.toContain("reopenContainerLog c");
  writeFileSync(log, "x".repeat(101));
  await keeper.check();
  expect(readdirSync(dirname(log))).toEqual([expect.stringMatching(/^0\.log\.\d{8}-\d{6}$/)]);
  expect(h.runtime.calls.filter((call) => call === "reopenContainerLog c")).toHaveLength(1);
});

it("keeps the newest logs when it rotates", async () => {
  const folder = mkdtempSync(join(tmpdir(), "rotate-"));
  for (let i = 0; i < 6; i++) {
    writeFileSync(join(folder, "0.log"), String(i));
    await rotate(join(folder, "0.log"), new Date(Date.UTC(2026, 0, 1, 0, 0, i)), 3);
  }
  expect(readdirSync(folder).sort()).toEqual(["0.log.20260101-000004", "0.log.20260101-000005"]);
});
