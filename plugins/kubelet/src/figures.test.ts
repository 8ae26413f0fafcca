import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { exposition } from "@k3s-p/plugin-api/prometheus";
import { fakeRuntime } from "@k3s-p/plugin-api/conformance/fake-runtime";
import { remember } from "./disk-usage.ts";
import { kubeletFigures } from "./figures.ts";
import { harness, testPod } from "./testing/harness.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

it("counts the runtime's calls, those that fail too, and changes none", async () => {
  const figures = kubeletFigures();
  const inner = fakeRuntime();
  inner.errors.set("pullImage", new Error("no registry"));
  const runtime = figures.recorded(inner);
  expect(await runtime.version()).toEqual(await inner.version());
  await expect(runtime.pullImage("x")).rejects.toThrow("no registry");
  await runtime.pullImage("x");
  expect(runtime.pauseImage).toBe(inner.pauseImage);
  const text = exposition(figures.families());
  for (const line of [
    'kubelet_runtime_operations_total{operation_type="version"} 1', 'kubelet_runtime_operations_total{operation_type="pull_image"} 2',
    'kubelet_runtime_operations_errors_total{operation_type="pull_image"} 1', 'kubelet_runtime_operations_duration_seconds_count{operation_type="pull_image"} 2',
  ]) expect(text).toContain(`${line}\n`);
});

it("counts probes by container and result, until the pod is gone", async () => {
  const root = mkdtempSync(join(tmpdir(), "probed-"));
  const h = harness(root);
  h.runtime.exec.set("check", { code: 1 });
  h.run(testPod("web", { containers: [{ name: "c", image: "busybox", readinessProbe: { exec: { command: ["check"] } } }] }));
  await h.until(() => h.events().some((line) => line.startsWith("Unhealthy")));
  const { figures } = h.services;
  expect(figures.probeText()).toMatch(/^prober_probe_total\{container="c",namespace="default",pod="web",pod_uid="uid-web",probe_type="Readiness",result="failed"\} \d+$/m);
  expect(figures.probeText()).toMatch(/^prober_probe_duration_seconds_count\{container="c",namespace="default",pod="web",probe_type="Readiness"\} \d+$/m);
  figures.forgetPod("uid-web");
  expect(figures.probeText()).toBe("");
  h.stop();
  rmSync(root, { recursive: true, force: true });
});

it("asks a path once at a time, keeps the answer for a while, and does not wait for one that hangs", async () => {
  let time = 0;
  let asked = 0;
  let hang = false;
  const sizes = remember(async () => (asked++, hang ? new Promise<number>(() => {}) : asked), 1000, () => time);
  expect(await Promise.all([sizes.of("a"), sizes.of("a")])).toEqual([1, 1]);
  expect(await sizes.of("a")).toBe(1);
  time = 1000;
  expect(await sizes.of("a")).toBe(2);
  [time, hang] = [5000, true];
  expect(await Promise.all([sizes.of("a"), sizes.of("a"), sleep(10).then(() => sizes.of("a"))])).toEqual([2, 2, 2]);
  expect(asked).toBe(3);
});
