/** For plugin tests: a runner of plain child processes, K3s's layout below a folder, loggers, and one plugin started by itself. */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import type { Logger, Plugin, PluginContext, StopReason } from "./plugin.ts";
import type { ClusterSettings, NodeInfo, Paths, Runner, RunningProcess, RunResult } from "./refs.ts";
import { localProgram } from "./testing-program.ts";

/** Runs commands as children of the test; `prefix` goes before every command (`ip netns exec x`). */
export function localRunner(prefix: readonly string[] = []): Runner {
  const argv = (command: string, args: readonly string[]) => {
    const [program = command, ...rest] = [...prefix, command, ...args];
    return [program, rest] as const;
  };
  return {
    run: (command, args, options = {}) =>
      new Promise<RunResult>((resolve, reject) => {
        const env = options.env && { ...process.env, ...options.env };
        const child = spawn(...argv(command, args), { env, cwd: options.cwd, timeout: options.timeout ?? 30_000 });
        const output = { stdout: "", stderr: "" };
        child.stdout.on("data", (chunk) => (output.stdout += chunk));
        child.stderr.on("data", (chunk) => (output.stderr += chunk));
        child.on("error", reject);
        child.on("close", (code, signal) => resolve({ code: code ?? (signal ? 137 : 1), ...output }));
        child.stdin.on("error", () => undefined);
        child.stdin.end(options.stdin);
      }),
    async spawn(command, args, options = {}): Promise<RunningProcess> {
      const child = spawn(...argv(command, args), { env: options.env && { ...process.env, ...options.env }, cwd: options.cwd });
      child.stdout.on("data", (chunk) => options.onOutput?.(String(chunk), "stdout"));
      child.stderr.on("data", (chunk) => options.onOutput?.(String(chunk), "stderr"));
      child.stdin.on("error", () => undefined);
      const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
        child.on("exit", (code, signal) => resolve({ code, signal })),
      );
      await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
      return {
        pid: child.pid!,
        write: (data) => void child.stdin.write(data),
        closeStdin: () => void child.stdin.end(),
        kill: (signal = "SIGTERM") => void child.kill(signal),
        exited,
      };
    },
  };
}

/** K3s's file layout below one folder, nothing outside of it. */
export function testPaths(root: string): Paths {
  const [agent, server, run] = [join(root, "agent"), join(root, "server"), join(root, "run")];
  return {
    dataDir: root, server, db: join(server, "db"), manifests: join(server, "manifests"), tls: join(server, "tls"),
    token: join(server, "token"), agent, images: join(agent, "images"), agentEtc: join(agent, "etc"),
    podManifests: join(agent, "pod-manifests"), containerdRoot: join(agent, "containerd"), run,
    containerdState: join(run, "containerd"), containerdSocket: join(run, "containerd", "containerd.sock"),
    flannelRun: join(root, "run-flannel"), cniConf: join(agent, "etc", "cni", "net.d"), cniBin: join(root, "data", "cni"),
    storage: join(root, "storage"), kubelet: join(root, "kubelet"), podLogs: join(root, "log", "pods"),
    containerLogs: join(root, "log", "containers"),
  };
}

export function testNode(root: string, node: Partial<NodeInfo> = {}, cluster: Partial<ClusterSettings> = {}): NodeInfo {
  return {
    name: "node-1", ip: "127.0.0.1", role: "server", labels: {}, taints: [], paths: testPaths(root),
    cluster: {
      clusterCidr: ["10.42.0.0/16"], serviceCidr: ["10.43.0.0/16"], clusterDns: ["10.43.0.10"],
      clusterDomain: "cluster.local", serviceNodePortRange: [30000, 32767], bindAddress: "0.0.0.0", httpsListenPort: 6443,
      advertiseAddress: "127.0.0.1", tlsSan: [], disabled: [], kubeconfig: { path: join(root, "k3s.yaml"), mode: 0o600 },
      shared: {}, nodeSlots: {}, agentPlugins: [],
      ...cluster,
    },
    ...node,
  };
}

/** A TCP port of 127.0.0.1 that nobody uses now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface StartedPlugin<T> {
  readonly impl: T;
  /** Lines logged so far, `level message`. */
  readonly logged: readonly string[];
  /** Errors given to `ctx.fail`. */
  readonly failures: readonly Error[];
  /** What was given to `ctx.restart`. */
  readonly restarts: readonly string[];
  /** Aborts the signal and runs the deferred undo steps, last first; they are told that the server stops, or `why`. */
  stop(why?: StopReason): Promise<void>;
}

export interface AloneOptions {
  readonly needs: Readonly<Record<string, unknown>>;
  readonly config?: object;
  readonly dir: string;
  readonly id?: string;
  readonly abort?: AbortController;
  /** The program of an `exec` plugin. */
  readonly program?: string | undefined;
}

/** Starts one plugin with the needs given, without a kernel. */
export async function startAlone<T = unknown>(plugin: Plugin, options: AloneOptions): Promise<StartedPlugin<T>> {
  const { abort = new AbortController(), program = "false" } = options;
  const undo: ((why: StopReason) => void | Promise<void>)[] = [];
  const logged: string[] = [];
  const failures: Error[] = [];
  const restarts: string[] = [];
  const dirs = { data: join(options.dir, "plugin-data"), run: join(options.dir, "plugin-run") };
  for (const dir of Object.values(dirs)) mkdirSync(dir, { recursive: true });
  const stop = async (why: StopReason = "stopped") => {
    abort.abort();
    for (const step of undo.splice(0).reverse()) await step(why);
  };
  const basics = { log: memoryLogger(logged), defer: (step: (why: StopReason) => void | Promise<void>) => void undo.push(step), fail: (error: Error) => void failures.push(error) };
  const ctx: PluginContext<any, any, any> = {
    ...basics, program: localProgram(program, { ...basics, defer: (step) => void undo.unshift(step) }),
    id: options.id ?? "alone", config: options.config ?? {}, needs: options.needs, wants: {}, signal: abort.signal, dirs,
    hooks: {} as never, contribute: () => undefined, tap: () => undefined,
    slot: (name) => options.needs[name] as object | undefined,
    onReplaced: () => undefined, restart: (why) => void restarts.push(why),
    contributions: () => ({ list: () => [], onChange: () => () => undefined }),
  };
  try {
    return { impl: (await plugin.definition.start(ctx)) as T, logged, failures, restarts, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Says nothing. */
export const silentLogger: Logger = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };

function memoryLogger(lines: string[]): Logger {
  const at = (level: string) => (fields: string | object, message?: string) =>
    void lines.push(`${level} ${typeof fields === "string" ? fields : `${message ?? ""} ${JSON.stringify(fields)}`}`);
  return { trace: at("trace"), debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
