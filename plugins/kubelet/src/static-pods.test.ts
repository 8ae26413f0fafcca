import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { apiError, nodes, pods } from "@k3s-p/plugin-api/kube";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { systemClock, type Clock } from "./clock.ts";
import type { KubeletContext } from "./context.ts";
import { nameOf } from "./pod.ts";
import { staticPods, type StaticPods } from "./static-pods.ts";

let dir: string;
let events: string[];
let watched: StaticPods;
/** A hundred times as fast as others. */
const clock: Clock = { now: () => Date.now(), after: (ms, fn) => systemClock().after(ms / 100, fn) };
const watchAt = (folder: string, kube = fakeKube()) => staticPods(
  { kube, node: { name: "n" }, log: silentLogger, clock } as unknown as KubeletContext,
  folder, { added: (pod) => void events.push(`+${nameOf(pod)}`), removed: (pod) => void events.push(`-${nameOf(pod)}`) },
);
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "static-pods-"));
  events = [];
  watched = watchAt(dir);
  write("kind: Pod\napiVersion: v1\nmetadata: { name: a }\nspec: { containers: [{ name: c, image: i }] }\n");
  await watched.start();
});
afterEach(() => {
  watched.stop();
  rmSync(dir, { recursive: true });
});
const write = (text: string) => writeFileSync(join(dir, "a.yaml"), text);
const settle = () => new Promise((resolve) => setTimeout(resolve, 100));

it.each([["emptied", ""], ["broken", "kind: [Pod\n"]])("keeps the running pod of a manifest that is %s", async (_, text) => {
  write(text);
  await settle();
  expect(events).toEqual(["+a-n"]);
});

it("removes the pod with its manifest", async () => {
  rmSync(join(dir, "a.yaml"));
  await settle();
  expect(events).toEqual(["+a-n", "-a-n"]);
});

it("tries again to make a mirror until the API server answers and the node is registered", async () => {
  const kube = fakeKube();
  let outage = 2;
  kube.onWrite = () => {
    if (outage-- > 0) throw apiError(503, "ServiceUnavailable", "the server is away");
  };
  const other = watchAt(dir, kube);
  await other.start();
  await settle();
  expect(kube.writes).toEqual([]);
  kube.put(nodes, { metadata: { name: "n", uid: "node-uid" } });
  await vi.waitFor(() => expect(kube.read(pods, "a-n")?.metadata.ownerReferences?.[0]?.uid).toBe("node-uid"), 10_000);
  expect(kube.writes.map(({ verb }) => verb)).toEqual(["create", "create", "create"]);
  other.stop();
}, 15_000);

it("makes the folder that pod-manifest-path names, and refuses one that cannot be made", async () => {
  const fresh = watchAt(join(dir, "a/b"));
  await fresh.start();
  fresh.stop();
  expect(statSync(join(dir, "a/b")).mode & 0o777).toBe(0o700);
  // There is nothing to be made below /proc, and Node's own recursive mkdir would try for ever.
  await expect(watchAt("/proc/manifests").start()).rejects.toMatchObject({ code: "ENOENT" });
});
