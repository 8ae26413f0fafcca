import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { fakeKube } from "@k3s-p/plugin-api/kube/fake";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import type { KubeletContext } from "./context.ts";
import { nameOf } from "./pod.ts";
import { staticPods, type StaticPods } from "./static-pods.ts";

let dir: string;
let events: string[];
let watched: StaticPods;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "static-pods-"));
  events = [];
  const ctx = { kube: fakeKube(), node: { name: "n" }, log: silentLogger, clock: { now: () => Date.now() } } as unknown as KubeletContext;
  watched = staticPods(ctx, dir, { added: (pod) => void events.push(`+${nameOf(pod)}`), removed: (pod) => void events.push(`-${nameOf(pod)}`) });
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
