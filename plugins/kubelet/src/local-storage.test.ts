import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { overuses } from "./local-storage.ts";
import { podLogDir, volumeDir } from "./paths.ts";
import { testNode, testPod } from "./testing/harness.ts";

const KiB = 1024;

interface Written {
  readonly emptyDir?: number;
  readonly log?: number;
  readonly layer?: number;
}

async function judge(pod: Pod, written: Written): Promise<string | undefined> {
  const node = testNode(mkdtempSync(join(tmpdir(), "storage-")));
  const put = (path: string, bytes: number): void => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, Buffer.alloc(bytes, 1));
  };
  put(join(volumeDir(node.paths, pod.metadata.uid!, "empty-dir", "v"), "deep/file"), written.emptyDir ?? 0);
  put(join(podLogDir(node.paths, pod), "c/0.log"), written.log ?? 0);
  const container = { id: "1", metadata: { name: "c", attempt: 0 }, labels: {}, annotations: {}, createdAt: 1n };
  const services = {
    node, view: { pod: () => ({ sandboxes: [], containers: [container] }) },
    runtime: { listContainerStats: async () => [{ id: "1", writableLayerBytes: written.layer ?? 0 }] },
  };
  return (await overuses(services as never, [pod]))[0]?.message;
}

const withLimit = (limit: string | undefined, emptyDir: object = {}): Pod => testPod("p", {
  containers: [{ name: "c", ...(limit && { resources: { limits: { "ephemeral-storage": limit } } }) }], volumes: [{ name: "v", emptyDir }],
});

it.each([
  ["no limit", withLimit(undefined), { emptyDir: 900 * KiB, log: 900 * KiB, layer: 900 * KiB }, undefined],
  ["a volume within its size", withLimit(undefined, { sizeLimit: "1Mi" }), { emptyDir: 900 * KiB }, undefined],
  ["a volume beyond its size", withLimit(undefined, { sizeLimit: "1Mi" }), { emptyDir: 1100 * KiB }, 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '],
  ["a volume in memory", withLimit("1Mi", { medium: "Memory", sizeLimit: "1Mi" }), { emptyDir: 1100 * KiB }, undefined],
  ["everything together within the limit", withLimit("1Mi"), { emptyDir: 300 * KiB, log: 300 * KiB, layer: 300 * KiB }, undefined],
  ["volume, layer and logs beyond the limit", withLimit("1Mi"), { emptyDir: 500 * KiB, log: 300 * KiB, layer: 300 * KiB }, "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "],
])("looks at %s", async (_, pod, written, message) => expect(await judge(pod, written)).toBe(message));

it("names the container that is over its own limit, when the pod as a whole is not", async () => {
  const pod = testPod("p", {
    containers: [{ name: "c", resources: { limits: { "ephemeral-storage": "1Mi" } } }, { name: "d", resources: { limits: { "ephemeral-storage": "1Gi" } } }],
  });
  expect(await judge(pod, { log: 600 * KiB, layer: 600 * KiB })).toBe('Container c exceeded its local ephemeral storage limit "1Mi". ');
});
