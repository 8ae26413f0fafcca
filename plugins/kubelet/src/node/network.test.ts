import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Runtime } from "@k3s-p/plugin-api/slots";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { expect, onTestFinished, test } from "vitest";
import { runtimeHealth } from "./network.ts";

function start() {
  const confDir = mkdtempSync(join(tmpdir(), "kubelet-network-"));
  const status = { runtimeReady: true, networkReady: false, message: "cni plugin not initialized" };
  let now = 0;
  const runtime = { status: async () => status, cni: { confDir } } as unknown as Runtime;
  const health = runtimeHealth({ runtime, clock: { now: () => now, after: () => () => {} }, log: silentLogger }, () => {});
  onTestFinished(() => {
    health.stop();
    rmSync(confDir, { recursive: true });
  });
  return { health, status, pass: (ms: number) => void (now += ms) };
}
const lacking = expect.stringContaining("cni plugin not initialized");

test("a new node is not ready until it has a network", async () => {
  const { health, status } = start();
  await health.check();
  expect(health.nodeProblem(false)).toEqual(lacking);
  status.networkReady = true;
  await health.check();
  expect(health.nodeProblem(false)).toBeUndefined();
});

test("a node that was ready stays so over a restart, for ten seconds without a network", async () => {
  const { health, pass } = start();
  await health.check();
  expect([health.nodeProblem(true), health.networkProblem()]).toEqual([undefined, lacking]);
  pass(10_000);
  expect(health.nodeProblem(true)).toEqual(lacking);
});

test("a node stays ready while its network is replaced, and while its runtime starts again", async () => {
  const { health, status, pass } = start();
  status.networkReady = true;
  await health.check();
  for (const part of ["networkReady", "runtimeReady"] as const) {
    pass(60_000);
    status[part] = false;
    await health.check();
    pass(9000);
    await health.check();
    expect(health.nodeProblem(true)).toBeUndefined();
    pass(1000);
    expect(health.nodeProblem(true)).toEqual(lacking);
    status[part] = true;
    await health.check();
    expect(health.nodeProblem(true)).toBeUndefined();
  }
});
