/** The API profile: start, GET and LIST against the floor, durable writes against the disk's own fsync. */
import { execFile, spawn } from "node:child_process";
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Load, LoadResult } from "./load.ts";
import { benchDir, pss, remove, startApi, type ApiServerProcess } from "./process.ts";
import { percentile, record } from "./report.ts";

const execute = promisify(execFile);
const pods = "/api/v1/namespaces/default/pods";

export async function load(options: Load): Promise<LoadResult> {
  const { stdout } = await execute(process.execPath, [join(import.meta.dirname, "load.ts"), JSON.stringify(options)], { maxBuffer: 1 << 24 });
  const result = JSON.parse(stdout) as LoadResult;
  if (result.failed) throw new Error(`${options.kind}: ${result.failed} of ${result.requests} requests failed`);
  return result;
}

/** Milliseconds of one 4 KB append and fdatasync on the disk of the data directory. */
function fsyncTime(dir: string): number {
  const file = openSync(join(dir, "fsync"), "w");
  const block = Buffer.alloc(4096, 1);
  const times = Array.from({ length: 200 }, () => {
    const start = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    return performance.now() - start;
  });
  closeSync(file);
  return percentile(times, 50);
}

async function floor(server: ApiServerProcess, bytes: number, clients: number): Promise<LoadResult> {
  const port = server.port + 1;
  const tls = join(server.dir, "server/tls");
  const child = spawn(process.execPath, [join(import.meta.dirname, "floor.ts"), String(port), String(bytes), join(tls, "serving-kube-apiserver.crt"), join(tls, "serving-kube-apiserver.key")], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const result = await load({ port, tls: server.tls, clients, seconds: 4, kind: "get", path: "/" });
  child.kill("SIGKILL");
  return result;
}

export async function benchApi(): Promise<void> {
  const dir = benchDir();
  try {
    await measure(dir);
  } finally {
    remove(dir);
  }
}

async function measure(dir: string): Promise<void> {
  const port = 17443;
  const cold = await startApi(dir, port);
  record({ name: "API profile, exec to /readyz, empty directory", value: cold.readyAfter, unit: "ms", goal: "< 1000 ms", met: cold.readyAfter < 1000 });
  await cold.stop();
  const starts: number[] = [];
  for (let i = 0; i < 3; i++) {
    const warm = await startApi(dir, port);
    starts.push(warm.readyAfter);
    await warm.stop();
  }
  const warm = percentile(starts, 50);
  record({ name: "API profile, exec to /readyz, warm directory", value: warm, unit: "ms", goal: "< 400 ms", met: warm < 400 });
  const server = await startApi(dir, port);
  try {
    await requests(server);
  } finally {
    await server.stop();
  }
}

const rate = (r: LoadResult): number => r.requests / r.seconds;

async function requests(server: ApiServerProcess): Promise<void> {
  const { port, tls } = server;
  record({ name: "API profile, memory (PSS) idle", value: pss(server.child.pid!), unit: "MiB" });
  const sync = fsyncTime(server.dir);
  record({ name: "one 4 KB append and fdatasync on this disk", value: sync, unit: "ms" });
  const create = await load({ port, tls, clients: 32, seconds: 5, kind: "create", path: pods, prefix: "c" });
  record({ name: "durable creates, 32 clients", value: rate(create), unit: "/s", against: "upstream 600/s (design)", goal: ">= 3000/s", met: rate(create) >= 3000 });
  const alone = await load({ port, tls, clients: 1, seconds: 3, kind: "create", path: pods, prefix: "a" });
  record({ name: "durable create, 1 client, p50", value: alone.p50, unit: "ms", against: `fsync ${sync.toFixed(2)} ms`, goal: "<= 1.5 x fsync + 0.4 ms", met: alone.p50 <= 1.5 * sync + 0.4 });
  const update = await load({ port, tls, clients: 32, seconds: 5, kind: "patch", path: pods, prefix: "u" });
  record({ name: "durable status patches, 32 clients", value: rate(update), unit: "/s", against: "upstream 360/s (design)", goal: ">= 3000/s", met: rate(update) >= 3000 });
  const one = await load({ port, tls, clients: 32, seconds: 4, kind: "get", path: `${pods}/c-0-0` });
  const oneFloor = await floor(server, Math.round(one.bytes / one.requests), 32);
  const getShare = rate(one) / rate(oneFloor);
  record({ name: "GET one pod, 32 clients", value: rate(one), unit: "/s", against: `${(getShare * 100).toFixed(0)} % of bare https (${rate(oneFloor).toFixed(0)}/s)`, goal: ">= 60 %", met: getShare >= 0.6 });
  const list = await load({ port, tls, clients: 4, seconds: 4, kind: "list", path: `${pods}?limit=1000` });
  const listFloor = await floor(server, Math.round(list.bytes / list.requests), 4);
  const listShare = rate(list) / rate(listFloor);
  record({ name: "LIST of 1,000 pods, 4 clients", value: rate(list), unit: "/s", against: `${(listShare * 100).toFixed(0)} % of bare https (${rate(listFloor).toFixed(0)}/s)`, goal: ">= 70 %", met: listShare >= 0.7 });
  record({ name: "API profile, memory (PSS) after the load", value: pss(server.child.pid!), unit: "MiB", against: `${create.requests + alone.requests} pods stored` });
}
