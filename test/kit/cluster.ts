/** Real k3s-p servers and agents in sandboxes, driven by the real kubectl: what the end-to-end tests use. */
import type { ChildProcess } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createSandbox, type Result, type RunOptions, type Sandbox } from "./sandbox.ts";
import { tool } from "./tools.ts";

const root = dirname(dirname(import.meta.dirname));
export const node26 = join(root, "node_modules/node/bin/node");
const main = join(root, "core/src/cli/main.ts");

export interface NodeOptions {
  readonly args?: readonly string[];
  /** Text of /etc/rancher/k3s/config.yaml. */
  readonly config?: string;
  /** Tar archives put into agent/images before the start. */
  readonly images?: readonly string[];
  readonly env?: Record<string, string>;
}

export interface AgentOptions extends NodeOptions {
  /** Default `node2`. */
  readonly name?: string;
}

export interface StartOptions {
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
}

/** A machine on which `k3s-p server` or `k3s-p agent` runs, once it is started. */
export interface ClusterNode {
  readonly sandbox: Sandbox;
  /** Everything that k3s-p printed, of all its starts. */
  readonly output: () => string;
  /** Resolves when it says that it is ready; rejects with its output when it ends before. */
  start(options?: StartOptions): Promise<void>;
  /** Resolves with the exit code. */
  stop(signal?: "SIGTERM" | "SIGKILL"): Promise<number>;
  readonly pid: () => number;
  dispose(): Promise<void>;
}

export interface Cluster extends ClusterNode {
  /** Fails the test with kubectl's output unless it exits 0; returns stdout. */
  kubectl(...args: readonly string[]): Promise<string>;
  tryKubectl(args: readonly string[], options?: RunOptions): Promise<Result>;
  apply(yaml: string): Promise<string>;
}

export const dataDir = "/var/lib/rancher/k3s";

export async function createCluster(options: NodeOptions = {}): Promise<Cluster> {
  const server = createNode(createSandbox(), ["server", "--node-name", "node1"], options);
  const kubectlCommand = (args: readonly string[]) => [tool("kubectl"), "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", ...args];
  const tryKubectl: Cluster["tryKubectl"] = (args, o) => server.sandbox.run(kubectlCommand(args), o);

  async function kubectlWith(args: readonly string[], o?: RunOptions): Promise<string> {
    const { code, stdout, stderr } = await tryKubectl(args, o);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  return {
    ...server,
    tryKubectl,
    kubectl: (...args) => kubectlWith(args),
    apply: (yaml) => kubectlWith(["apply", "-f", "-"], { stdin: yaml }),
  };
}

/**
 * A second node on the cluster's network. It knows the server, but no token: each start is given one, `joinToken(cluster)`,
 * until the node has a certificate.
 */
export function createAgent(cluster: Cluster, { name = "node2", ...options }: AgentOptions = {}): ClusterNode {
  const server = `https://${cluster.sandbox.ip}:6443`;
  return createNode(createSandbox({ lan: cluster.sandbox }), ["agent", "--server", server, "--node-name", name], options);
}

/** What the environment of an agent's start needs for the node to be let in. */
export async function joinToken(cluster: Cluster): Promise<{ readonly K3S_TOKEN: string }> {
  const { stdout } = await cluster.sandbox.run(["cat", `${dataDir}/server/node-token`]);
  return { K3S_TOKEN: stdout.trim() };
}

function createNode(sandbox: Sandbox, command: readonly string[], options: NodeOptions): ClusterNode {
  const inside = (path: string) => join(sandbox.dir, "private", path);
  if (options.config !== undefined) {
    mkdirSync(inside("/etc/rancher/k3s"), { recursive: true });
    writeFileSync(inside("/etc/rancher/k3s/config.yaml"), options.config);
  }
  const images = inside(join(dataDir, "agent/images"));
  mkdirSync(images, { recursive: true });
  for (const image of options.images ?? []) copyFileSync(image, join(images, image.split("/").at(-1)!));
  let child: ChildProcess | undefined;
  let exited: Promise<number> = Promise.resolve(0);
  let output = "";
  return {
    sandbox,
    output: () => output,
    pid: () => child!.pid!,
    async start({ args = [], env = {} } = {}) {
      const from = output.length;
      child = sandbox.spawn([node26, main, ...command, ...(options.args ?? []), ...args], { ...options.env, ...env });
      const process_ = child;
      for (const stream of [process_.stdout!, process_.stderr!]) stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
      exited = new Promise((resolve) => process_.on("close", (code, signal) => resolve(code ?? (signal === "SIGKILL" ? 137 : 143))));
      await untilReady(process_, command[0]!, () => output.slice(from));
    },
    async stop(signal = "SIGTERM") {
      child?.kill(signal);
      return exited;
    },
    async dispose() {
      child?.kill("SIGKILL");
      await exited;
      sandbox.dispose();
    },
  };
}

/** Resolves at k3s-p's own `ready in ...` line; rejects with its output when it ends before. */
function untilReady(child: ChildProcess, role: string, output: () => string): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the ${role} was not ready within 90 s\n${output()}`)), 90_000);
    const look = () => {
      if (!/"msg":"ready in /.test(output())) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout!.on("data", look);
    child.stderr!.on("data", look);
    child.on("close", (code) => {
      clearTimeout(timer);
      reject(new Error(`the ${role} ended with ${code}\n${output()}`));
    });
  });
}

/** Runs the server until it ends by itself, for bad input. */
export async function runServer(sandbox: Sandbox, args: readonly string[], options: RunOptions = {}): Promise<Result> {
  return sandbox.run([node26, main, "server", "--node-name", "node1", ...args], { timeout: 30_000, ...options });
}

/** Calls `look` until it returns something else than undefined or false; at most `ms` milliseconds. */
export async function eventually<T>(look: () => Promise<T | undefined | false>, what: string, ms = 60_000): Promise<T> {
  const end = Date.now() + ms;
  let last: unknown;
  for (;;) {
    try {
      const value = await look();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${ms / 1000} s${last ? `; last error: ${(last as Error).message}` : ""}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

type Run = (command: readonly string[]) => Promise<Result>;

/**
 * GET by netcat, which works wherever busybox does (the wget of Debian's static busybox crashes).
 * Its input stays open for a moment: servers take a client that has closed its half for gone. Status 0 = no answer.
 */
export async function httpGet(run: Run, host: string, port: number, path = "/", hostHeader = host): Promise<HttpAnswer> {
  const request = `GET ${path} HTTP/1.0\\r\\nHost: ${hostHeader}\\r\\n\\r\\n`;
  const { stdout } = await run(["busybox", "sh", "-c", `{ printf '${request}'; sleep 0.5; } | busybox nc -w 3 ${host} ${port}`]);
  const [head = "", ...rest] = stdout.split(/\r?\n\r?\n/);
  return { status: Number(/^HTTP\/\S+ (\d+)/.exec(head)?.[1] ?? 0), body: rest.join("\n\n") };
}
