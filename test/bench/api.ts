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
  const options = { port, tls: server.tls, clients, kind: "get", path: "/", pid: child.pid! } as const;
  await load({ ...options, seconds: 1 });
  const result = await load({ ...options, seconds: 4 });
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
  const pid = server.child.pid!;
  record({ name: "API profile, memory (PSS) idle", value: pss(pid), unit: "MiB" });
  const sync = fsyncTime(server.dir);
  record({ name: "one 4 KB append and fdatasync on this disk", value: sync, unit: "ms" });
  const created = await writes(server, sync);
  await reads(server, "GET one pod, 32 clients", { clients: 32, kind: "get", path: `${pods}/create-0-0` }, 0.6);
  await reads(server, "LIST of 1,000 pods, 4 clients", { clients: 4, kind: "list", path: `${pods}?limit=1000` }, 0.7);
  record({ name: "API profile, memory (PSS) after the load", value: pss(pid), unit: "MiB", against: `${created} pods stored` });
}

const upstream: Readonly<Record<string, string>> = { create: "upstream 600/s (design)", update: "", patch: "upstream 360/s (design)" };
const titles: Readonly<Record<string, string>> = { create: "durable creates", update: "durable updates", patch: "durable status patches" };

async function writes(server: ApiServerProcess, sync: number): Promise<number> {
  const options = { port: server.port, tls: server.tls, path: pods, pid: server.child.pid! };
  let created = 0;
  for (const kind of ["create", "update", "patch"] as const) {
    await load({ ...options, clients: 32, seconds: 2, kind, prefix: `warm-${kind}` });
    const result = await load({ ...options, clients: 32, seconds: 5, kind, prefix: kind });
    if (kind === "create") created = result.requests;
    const { [kind]: title } = titles;
    record({ name: `${title}, 32 clients`, value: rate(result), unit: "/s", against: upstream[kind]!, goal: ">= 3000/s", met: rate(result) >= 3000 });
    record({ name: `  ${title}, server CPU each`, value: result.cpu, unit: "us", against: `p50 ${result.p50.toFixed(1)} ms` });
  }
  const alone = await load({ ...options, clients: 1, seconds: 3, kind: "create", prefix: "alone" });
  record({ name: "durable create, 1 client, p50", value: alone.p50, unit: "ms", against: `fsync ${sync.toFixed(2)} ms`, goal: "<= 1.5 x fsync + 0.4 ms", met: alone.p50 <= 1.5 * sync + 0.4 });
  return created;
}

async function reads(server: ApiServerProcess, name: string, what: Pick<Load, "clients" | "kind" | "path">, goal: number): Promise<void> {
  const options = { port: server.port, tls: server.tls, pid: server.child.pid!, ...what };
  await load({ ...options, seconds: 1 });
  const result = await load({ ...options, seconds: 4 });
  const bare = await floor(server, Math.round(result.bytes / result.requests), what.clients);
  const [share, cpuShare] = [rate(result) / rate(bare), bare.cpu / result.cpu];
  record({ name, value: rate(result), unit: "/s", against: `${(share * 100).toFixed(0)} % of bare https (${rate(bare).toFixed(0)}/s)`, goal: `>= ${goal * 100} %`, met: share >= goal });
  record({ name: `  ${name.split(", ")[0]!}, server CPU each`, value: result.cpu, unit: "us", against: `bare https ${bare.cpu.toFixed(0)} us (${(cpuShare * 100).toFixed(0)} %)`, goal: `>= ${goal * 100} %`, met: cpuShare >= goal });
}
