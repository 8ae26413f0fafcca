/** A server process under measurement, and what the kernel says about it. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = dirname(dirname(import.meta.dirname));
export const compileCache = join(root, "node_modules/.cache/k3s-p");

export interface ApiServerProcess {
  readonly dir: string;
  readonly port: number;
  readonly child: ChildProcess;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  /** Milliseconds from exec to `/readyz` ok. */
  readonly readyAfter: number;
  stop(): Promise<void>;
}

/** Runs with a directory of its own, which is gone afterwards. */
export async function inBenchDir(run: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "k3s-p-bench-"));
  try {
    await run(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Starts the `api` profile on loopback and waits for `/readyz`. */
export async function startApi(dir: string, port: number): Promise<ApiServerProcess> {
  const kubeconfig = join(dir, "k3s.yaml");
  const args = ["server", "--profile", "api", "--data-dir", dir, "--https-listen-port", String(port), "--bind-address", "127.0.0.1", "--node-name", "bench", "--write-kubeconfig", kubeconfig];
  const env = { ...process.env, NODE_COMPILE_CACHE: compileCache };
  const start = performance.now();
  const child = spawn(process.execPath, [join(root, "core/src/cli/main.ts"), ...args], { env, stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => (log += chunk));
  const exited = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const tls = await untilReady(() => readTls(kubeconfig), port, child, () => log);
  const readyAfter = performance.now() - start;
  return {
    dir, port, child, tls, readyAfter,
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

function readTls(kubeconfig: string): ApiServerProcess["tls"] | undefined {
  try {
    const text = readFileSync(kubeconfig, "utf8");
    const data = (key: string) => Buffer.from(new RegExp(`${key}: (\\S+)`).exec(text)![1]!, "base64").toString();
    return { ca: data("certificate-authority-data"), cert: data("client-certificate-data"), key: data("client-key-data") };
  } catch {
    return undefined;
  }
}

async function untilReady(read: () => ApiServerProcess["tls"] | undefined, port: number, child: ChildProcess, log: () => string): Promise<ApiServerProcess["tls"]> {
  for (let i = 0; i < 5000; i++) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}\n${log()}`);
    const tls = read();
    if (tls && (await get(port, tls, "/readyz").catch(() => 0)) === 200) return tls;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`the server was not ready\n${log()}`);
}

export function get(port: number, tls: ApiServerProcess["tls"], path: string, agent?: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", path, ...tls, ...(agent ? { agent } : { agent: false }) };
    const call = request(options, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    call.on("error", reject);
    call.end();
  });
}

/** Proportional set size in MiB of a process, or of several. */
export const pss = (...pids: readonly number[]): number =>
  pids.reduce((sum, pid) => sum + Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))![1]), 0) / 1024;

/** CPU seconds that a process has used. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function childrenOf(pid: number): number[] {
  return readdirSync("/proc").map(Number).filter(Boolean).filter((other) => {
    try {
      const stat = readFileSync(`/proc/${other}/stat`, "utf8");
      return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === pid;
    } catch {
      return false;
    }
  });
}

