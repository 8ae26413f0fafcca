/** The whole server: start to node Ready, memory and CPU when idle, pod start. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createCluster, type Cluster } from "../kit/cluster.ts";
import { busyboxImage } from "../kit/images.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { childrenOf, cpuSeconds, pss } from "./process.ts";
import { percentile, record } from "./report.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export async function benchFull(): Promise<void> {
  const reason = sandboxUnavailable();
  if (reason) {
    process.stdout.write(`skipped: whole server: ${reason}\n`);
    return;
  }
  const cluster = await createCluster({ images: [busyboxImage({ name: "docker.io/library/busybox", tag: "bench" })] });
  try {
    await start(cluster, "empty directory");
    await podStarts(cluster);
    await cluster.stop();
    await start(cluster, "warm");
    await idle(cluster);
  } finally {
    await cluster.dispose();
  }
}

async function start(cluster: Cluster, what: string): Promise<void> {
  const begin = performance.now();
  await cluster.start();
  const ready = performance.now() - begin;
  await cluster.kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout=60s");
  const node = performance.now() - begin;
  record({ name: `whole server, exec to every plugin ready (${what})`, value: ready / 1000, unit: "s" });
  record({ name: `whole server, exec to node Ready (${what})`, value: node / 1000, unit: "s", goal: "< 5 s", met: node < 5000 });
}

/** The server process behind the namespace wrapper, with its runner. */
function serverPids(cluster: Cluster): number[] {
  const server = cluster.pid();
  return [server, ...childrenOf(server).filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("runner/child.ts"))];
}

/** After the second start: the first one may have compiled what has changed since the last, and keeps the compiler. */
async function idle(cluster: Cluster): Promise<void> {
  await sleep(20_000);
  const pids = serverPids(cluster);
  const memory = pss(...pids);
  const runner = `${pss(...pids.slice(1)).toFixed(0)} of them the runner`;
  record({ name: "whole server, memory (PSS) idle, runner included", value: memory, unit: "MiB", goal: "< 160 MiB", met: memory < 160, against: runner });
  const before = pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  await sleep(30_000);
  const cpu = ((pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0) - before) / 30) * 100;
  record({ name: "whole server, CPU idle over 30 s", value: cpu, unit: "% of a core", goal: "< 1 %", met: cpu < 1 });
}

/** From the create's send to the watch event that says Running. */
async function podStarts(cluster: Cluster): Promise<void> {
  const script = join(import.meta.dirname, "pod-start.ts");
  const { stdout, stderr } = await cluster.sandbox.run([process.execPath, script, "/etc/rancher/k3s/k3s.yaml", "6443", "15", "docker.io/library/busybox:bench"], { timeout: 120_000 });
  if (!stdout) throw new Error(`pod starts: ${stderr}`);
  const p50 = percentile(JSON.parse(stdout) as number[], 50);
  record({ name: "pod create to Running, image present, p50", value: p50, unit: "ms", goal: "< 500 ms", met: p50 < 500 });
}
