/**
 * Keeps one containerd running: adopts ours when it lives, starts it otherwise, brings it back when it dies.
 * It is never stopped with the server: a container whose log pipe nobody reads would block, and exec sessions would end.
 */
import { connect } from "node:net";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { k3spError, type Logger } from "@k3s-p/plugin-api";
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
  await Promise.all([mkdir(state, { recursive: true, mode: 0o711 }), mkdir(root, { recursive: true, mode: 0o711 })]);
  let pid = await findOurs(options);
  const sameConfig = (await readFile(configFile, "utf8").catch(() => "")) === config;
  const adopted = pid !== undefined && sameConfig && (await listens(options.socket));
  if (pid !== undefined && !adopted) {
    log.info({ pid }, "containerd runs with an older configuration: starting it again, containers keep running");
    await stopDaemon(pid);
  }
  if (pid === undefined) await refuseStranger(options);
  if (!sameConfig) await writeConfig(configFile, config);
  if (!adopted) pid = await launch(options, died);
  else {
    await recordPid(state, pid!);
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
        if (pid !== undefined && (await runsWith(pid, configFile))) await stopDaemon(pid);
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

async function writeConfig(path: string, text: string): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(`${path}.tmp`, text, { mode: 0o600 });
  await rename(`${path}.tmp`, path);
}

async function launch(options: SupervisorOptions, onExit: () => void): Promise<number> {
  const { program, configFile, socket, root, state, env, runner, log } = options;
  const logFile = join(root, "containerd.log");
  await rotate(logFile);
  await rm(socket, { force: true });
  const child = await runner.spawn(program, ["--config", configFile], { env, logFile, detached: true });
  await recordPid(state, child.pid);
  let exit: string | undefined;
  let serving = false;
  void child.exited.then(({ code, signal }) => {
    exit = `exit ${code ?? signal}`;
    if (serving) onExit();
  });
  const deadline = Date.now() + startTimeout;
  while (!(await listens(socket))) {
    if (exit) throw startFailed(options, `containerd ended at start (${exit})`, await lastLines(logFile));
    if (Date.now() > deadline) {
      child.kill("SIGKILL");
      throw startFailed(options, `containerd did not listen on ${socket} within ${startTimeout / 1000} s`, await lastLines(logFile));
    }
    await sleep(10, options.signal);
    options.signal.throwIfAborted();
  }
  serving = true;
  log.debug({ pid: child.pid }, "containerd listens");
  return child.pid;
}

const recordPid = (state: string, pid: number) => writeFile(join(state, "containerd.pid"), `${pid}\n`, { mode: 0o600 });

const startFailed = (options: SupervisorOptions, message: string, lines: readonly string[] = []) =>
  k3spError("K3SP_RUNTIME_FAILED", {
    message, detail: lines, fix: `see ${join(options.root, "containerd.log")}`, plugin: "containerd",
  });

/** The pid file, else the process table: a containerd that runs with our configuration file is ours. */
async function findOurs({ state, configFile }: SupervisorOptions): Promise<number | undefined> {
  const recorded = Number(await readFile(join(state, "containerd.pid"), "utf8").catch(() => ""));
  if (recorded && (await runsWith(recorded, configFile))) return recorded;
  const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 1);
  const matches = await Promise.all(pids.map(async (pid) => ((await runsWith(pid, configFile)) ? pid : undefined)));
  return matches.find((pid) => pid !== undefined);
}

/** The same path may be another file for a process in another mount namespace (a container, a cluster under test). */
async function runsWith(pid: number, configFile: string): Promise<boolean> {
  const [program = "", ...args] = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
  if (!program.endsWith("/containerd") || !args.includes(configFile)) return false;
  const [theirs, ours] = await Promise.all([`/proc/${pid}/root${configFile}`, configFile].map((path) => stat(path).catch(() => undefined)));
  return theirs !== undefined && theirs.ino === ours?.ino && theirs.dev === ours.dev;
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

async function rotate(logFile: string): Promise<void> {
  const size = (await stat(logFile).catch(() => undefined))?.size ?? 0;
  if (size > largestLog) await rename(logFile, `${logFile}.1`);
}

async function lastLines(logFile: string): Promise<string[]> {
  const text = await readFile(logFile, "utf8").catch(() => "");
  return text.trim().split("\n").slice(-5);
}

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
