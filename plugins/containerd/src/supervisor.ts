/**
 * Keeps one containerd running: adopts ours when it lives, starts it otherwise, brings it back when it dies.
 * It is never stopped with the server: a container whose log pipe nobody reads would block, and exec sessions would end.
 */
import { connect } from "node:net";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { k3spError, replaceFile, type Logger } from "@k3s-p/plugin-api";
import type { Runner } from "@k3s-p/plugin-api/slots";

export interface SupervisorOptions {
  readonly program: string;
  readonly configFile: string;
  /** Contents that the configuration file must have. */
  readonly config: string;
  readonly socket: string;
  readonly root: string;
  readonly state: string;
  readonly env: Readonly<Record<string, string>>;
  readonly runner: Runner;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** It cannot come back. */
  readonly onFailure: (error: Error) => void;
}

export interface Supervisor {
  readonly adopted: boolean;
  readonly pid: () => number;
  /** Resolves when containerd listens again; called when a connection to it broke. */
  revive(): Promise<void>;
}

const startTimeout = 20_000;
const largestLog = 50 * 1024 * 1024;
const restartDelays = [0, 1000, 2000, 5000, 10_000];

export async function supervise(options: SupervisorOptions): Promise<Supervisor> {
  const { state, root, configFile, config, log } = options;
  for (const dir of [state, root]) mkdirSync(dir, { recursive: true, mode: 0o711 });
  let pid = findOurs(options);
  const sameConfig = readIfThere(configFile) === config;
  const adopted = pid !== undefined && sameConfig && (await listens(options.socket));
  if (pid !== undefined && !adopted) {
    log.info({ pid }, "containerd runs with an older configuration: starting it again, containers keep running");
    await stopDaemon(pid);
  }
  if (pid === undefined) await refuseStranger(options);
  if (!sameConfig) {
    mkdirSync(dirname(configFile), { recursive: true });
    await replaceFile(configFile, config);
  }
  if (!adopted) pid = await launch(options, died);
  else {
    recordPid(state, pid!);
    log.info({ pid }, "containerd is running already: adopted with its containers");
  }

  let reviving: Promise<void> | undefined;
  function died(): void {
    if (!options.signal.aborted) void revive().catch(options.onFailure);
  }
  async function restart(): Promise<void> {
    for (const delay of restartDelays) {
      await sleep(delay, options.signal);
      if (options.signal.aborted) return;
      if (pid !== undefined && isAlive(pid) && (await listens(options.socket))) return;
      try {
        if (pid !== undefined && runsWith(pid, configFile)) await stopDaemon(pid);
        log.warn({ pid }, "containerd ended: starting it again");
        pid = await launch(options, died);
        return;
      } catch (error) {
        log.error({ error: String(error) }, "containerd did not come back");
      }
    }
    throw startFailed(options, `containerd did not come back after ${restartDelays.length} attempts`);
  }
  const revive = () => (reviving ??= restart().finally(() => (reviving = undefined)));
  return { adopted, pid: () => pid!, revive };
}

async function launch(options: SupervisorOptions, onExit: () => void): Promise<number> {
  const { program, configFile, socket, root, state, env, runner, log } = options;
  const logFile = join(root, "containerd.log");
  rotate(logFile);
  rmSync(socket, { force: true });
  const child = await runner.spawn(program, ["--config", configFile], { env, logFile, detached: true });
  recordPid(state, child.pid);
  let exit: string | undefined;
  let serving = false;
  void child.exited.then(({ code, signal }) => {
    exit = `exit ${code ?? signal}`;
    if (serving) onExit();
  });
  const deadline = Date.now() + startTimeout;
  while (!(await listens(socket))) {
    if (exit) throw startFailed(options, `containerd ended at start (${exit})`, lastLines(logFile));
    if (Date.now() > deadline) {
      child.kill("SIGKILL");
      throw startFailed(options, `containerd did not listen on ${socket} within ${startTimeout / 1000} s`, lastLines(logFile));
    }
    await sleep(10, options.signal);
    options.signal.throwIfAborted();
  }
  serving = true;
  log.debug({ pid: child.pid }, "containerd listens");
  return child.pid;
}

const recordPid = (state: string, pid: number) => writeFileSync(join(state, "containerd.pid"), `${pid}\n`, { mode: 0o600 });

const startFailed = (options: SupervisorOptions, message: string, lines: readonly string[] = []) =>
  k3spError("K3SP_RUNTIME_FAILED", {
    message, detail: lines, fix: `see ${join(options.root, "containerd.log")}`, plugin: "containerd",
  });

/** The pid file, else the process table: a containerd that runs with our configuration file is ours. */
function findOurs({ state, configFile }: SupervisorOptions): number | undefined {
  const recorded = Number(readIfThere(join(state, "containerd.pid")));
  if (recorded && runsWith(recorded, configFile)) return recorded;
  return readdirSync("/proc").map(Number).find((pid) => pid > 1 && runsWith(pid, configFile));
}

/** The same path may be another file for a process in another mount namespace (a container, a cluster under test). */
function runsWith(pid: number, configFile: string): boolean {
  const [program = "", ...args] = readIfThere(`/proc/${pid}/cmdline`).split("\0");
  if (!program.endsWith("/containerd") || !args.includes(configFile)) return false;
  const theirs = fileId(`/proc/${pid}/root${configFile}`);
  return theirs !== undefined && theirs === fileId(configFile);
}

function fileId(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

async function refuseStranger({ socket }: SupervisorOptions): Promise<void> {
  if (!(await listens(socket))) return;
  throw k3spError("K3SP_RUNTIME_FAILED", {
    message: `another containerd answers on ${socket}`,
    fix: "stop the other K3s or k3s-p first",
    plugin: "containerd",
  });
}

async function stopDaemon(pid: number): Promise<void> {
  process.kill(pid, "SIGTERM");
  for (let waited = 0; isAlive(pid); waited += 20) {
    if (waited === 5000) process.kill(pid, "SIGKILL");
    if (waited > 10_000) throw k3spError("K3SP_RUNTIME_FAILED", { message: `containerd (process ${pid}) does not end` });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const listens = (socket: string) =>
  new Promise<boolean>((resolve) => {
    const probe = connect(socket, () => (probe.destroy(), resolve(true)));
    probe.on("error", () => resolve(false));
  });

function rotate(logFile: string): void {
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (size > largestLog) renameSync(logFile, `${logFile}.1`);
}

const lastLines = (logFile: string) => readIfThere(logFile).trim().split("\n").slice(-5);

const sleep = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (ms === 0 || signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
