/** The API profile: start, GET and LIST against the floor, durable writes against the disk's own fsync. */
import { execFile, spawn } from "node:child_process";
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Load, LoadResult } from "./load.ts";
import { inBenchDir, pss, startApi, type ApiServerProcess } from "./process.ts";
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

/** A bare server that answers with so many bytes, beside the one under measurement; it may write to a database first. */
async function startFloor(server: ApiServerProcess, bytes: number, ...database: readonly string[]): Promise<Target & { stop(): void }> {
  const port = server.port + 1;
  const tls = join(server.dir, "server/tls");
  const child = spawn(process.execPath, [join(import.meta.dirname, "floor.ts"), String(port), String(bytes), join(tls, "serving-kube-apiserver.crt"), join(tls, "serving-kube-apiserver.key"), ...database], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  return { port, tls: server.tls, pid: child.pid!, stop: () => void child.kill("SIGKILL") };
}

type Target = Required<Pick<Load, "port" | "tls" | "pid">>;

export const benchApi = (): Promise<void> => inBenchDir(measure);

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

/** Short runs in turn: what the machine does besides meets each of them alike, and the one in the middle counts. */
const ROUNDS = 7;
const SECONDS = 0.7;
/** Bytes of a pod as it is answered. */
const STORED = 5000;

const rate = (r: LoadResult): number => r.requests / r.seconds;
const middle = (values: readonly number[]): number => percentile(values, 50);

async function requests(server: ApiServerProcess): Promise<void> {
  const target: Target = { port: server.port, tls: server.tls, pid: server.child.pid! };
  record({ name: "API profile, memory (PSS) idle", value: pss(target.pid), unit: "MiB" });
  record({ name: "one 4 KB append and fdatasync on this disk", value: fsyncTime(server.dir), unit: "ms" });
  const created = await writes(target);
  await alone(server, target);
  await reads(server, target, "GET one pod, 32 clients", { clients: 32, kind: "get", path: `${pods}/create0-0-0` }, 0.6);
  await reads(server, target, "LIST of 1,000 pods, 4 clients", { clients: 4, kind: "list", path: `${pods}?limit=1000` }, 0.7);
  record({ name: "API profile, memory (PSS) after the load", value: pss(target.pid), unit: "MiB", against: `${created} pods stored` });
}

const upstream: Readonly<Record<string, string>> = { create: "upstream 600/s (design)", update: "", patch: "upstream 360/s (design)" };
const titles: Readonly<Record<string, string>> = { create: "durable creates", update: "durable updates", patch: "durable status patches" };

async function writes(target: Target): Promise<number> {
  let created = 0;
  for (const kind of ["create", "update", "patch"] as const) {
    const options = { ...target, path: pods, clients: 32, kind };
    await load({ ...options, seconds: 2, prefix: `warm-${kind}` });
    const results: LoadResult[] = [];
    for (let i = 0; i < ROUNDS; i++) results.push(await load({ ...options, seconds: SECONDS, prefix: `${kind}${i}` }));
    if (kind === "create") created = results.reduce((sum, { requests }) => sum + requests, 0);
    const value = middle(results.map(rate));
    record({ name: `${titles[kind]!}, 32 clients`, value, unit: "/s", against: upstream[kind]!, goal: ">= 3000/s", met: value >= 3000 });
    record({ name: `  ${titles[kind]!}, server CPU each`, value: middle(results.map(({ cpu }) => cpu)), unit: "us", against: `p50 ${middle(results.map(({ p50 }) => p50)).toFixed(1)} ms` });
  }
  return created;
}

/** The disk is timed again before each run, since it has its moods, too; the floor is bare https with the same write. */
async function alone(server: ApiServerProcess, target: Target): Promise<void> {
  const { stop, ...bare } = await startFloor(server, STORED, join(server.dir, "floor.db"));
  const one = (at: Target, i: number): Promise<LoadResult> => load({ ...at, path: pods, clients: 1, seconds: SECONDS, kind: "create", prefix: `alone${i}` });
  await one(bare, ROUNDS);
  const runs: { readonly p50: number; readonly floor: number; readonly sync: number }[] = [];
  for (let i = 0; i < ROUNDS; i++) runs.push({ sync: fsyncTime(server.dir), p50: (await one(target, i)).p50, floor: (await one(bare, i)).p50 });
  stop();
  const of = (figure: (run: (typeof runs)[number]) => number): number => middle(runs.map(figure));
  record({
    name: "durable create, 1 client, p50", value: of(({ p50 }) => p50), unit: "ms",
    against: `fsync ${of(({ sync }) => sync).toFixed(2)} ms, bare https with the write ${of(({ floor }) => floor).toFixed(2)} ms`,
    goal: "<= 1.5 x fsync + 0.4 ms", met: of(({ p50, sync }) => p50 - 1.5 * sync) <= 0.4,
  });
}

async function reads(server: ApiServerProcess, target: Target, name: string, what: Pick<Load, "clients" | "kind" | "path">, goal: number): Promise<void> {
  const first = await load({ ...target, ...what, seconds: 1 });
  const bare = await startFloor(server, Math.round(first.bytes / first.requests));
  const bareLoad = { port: bare.port, tls: bare.tls, pid: bare.pid, clients: what.clients, kind: "get", path: "/" } as const;
  await load({ ...bareLoad, seconds: 1 });
  const pairs: { readonly ours: LoadResult; readonly floor: LoadResult }[] = [];
  for (let i = 0; i < ROUNDS; i++) pairs.push({ ours: await load({ ...target, ...what, seconds: SECONDS }), floor: await load({ ...bareLoad, seconds: SECONDS }) });
  bare.stop();
  const of = (figure: (pair: (typeof pairs)[number]) => number): number => middle(pairs.map(figure));
  const [share, cpuShare] = [of(({ ours, floor }) => rate(ours) / rate(floor)), of(({ ours, floor }) => floor.cpu / ours.cpu)];
  record({ name, value: of(({ ours }) => rate(ours)), unit: "/s", against: `${(share * 100).toFixed(0)} % of bare https (${of(({ floor }) => rate(floor)).toFixed(0)}/s)`, goal: `>= ${goal * 100} %`, met: share >= goal });
  record({ name: `  ${name.split(", ")[0]!}, server CPU each`, value: of(({ ours }) => ours.cpu), unit: "us", against: `bare https ${of(({ floor }) => floor.cpu).toFixed(0)} us (${(cpuShare * 100).toFixed(0)} %)`, goal: `>= ${goal * 100} %`, met: cpuShare >= goal });
}
