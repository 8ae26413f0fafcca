/**
 * A machine of its own for one cluster under test: a network namespace with an outside peer, and a mount namespace
 * in which /run, /etc/rancher, /var/lib/rancher, /var/lib/kubelet and the log folders are private.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Sandbox {
  /** Folder of the sandbox on the host; `private` below it holds what is bound over the system's folders. */
  readonly dir: string;
  /** Address of the machine, and of the outside peer on the same network. */
  readonly ip: string;
  readonly peerIp: string;
  /** Argument prefix that runs a command on the machine, or on the peer. */
  readonly enter: readonly string[];
  readonly enterPeer: readonly string[];
  run(command: readonly string[], options?: RunOptions): Promise<Result>;
  runPeer(command: readonly string[], options?: RunOptions): Promise<Result>;
  spawn(command: readonly string[], env?: Record<string, string>): ChildProcess;
  dispose(): void;
}

export interface RunOptions {
  readonly stdin?: string;
  readonly env?: Record<string, string>;
  /** Milliseconds; default 60,000. */
  readonly timeout?: number;
}

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const bound = ["/etc/rancher", "/var/lib/rancher", "/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/var/lib/cni"];
const prefix = "k3spt";

/** Why sandboxes cannot be made here, or undefined. */
export function sandboxUnavailable(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root for network and mount namespaces";
  const { status } = spawnSync("unshare", ["-m", "true"]);
  return status === 0 ? undefined : "needs the right to make mount namespaces";
}

export function createSandbox(): Sandbox {
  reapStale();
  const id = freeId();
  const name = `${prefix}${id}`;
  const dir = mkdtempSync(join(tmpdir(), `${prefix}-`));
  writeFileSync(join(dir, "owner"), `${process.pid} ${name}`);
  const ip = `172.31.${id}.2`;
  const peerIp = `172.31.${id}.1`;
  const must = (command: string, ...args: string[]) => {
    const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
    if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
  };
  for (const [ns, link, address] of [[name, "eth0", ip], [`${name}p`, "eth0p", peerIp]] as const) {
    must("ip", "netns", "add", ns);
    must("ip", "-n", ns, "link", "set", "lo", "up");
    if (link === "eth0p") must("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", link, "netns", ns);
    if (link === "eth0p") for (const [n, l, a] of [[name, "eth0", ip], [ns, link, address]] as const) configure(n, l, a);
  }
  function configure(ns: string, link: string, address: string): void {
    must("ip", "-n", ns, "addr", "add", `${address}/24`, "dev", link);
    must("ip", "-n", ns, "link", "set", link, "up");
  }
  must("ip", "-n", name, "route", "add", "default", "via", peerIp);
  const holder = holdMounts(name, dir);
  const enter = ["nsenter", `--target=${holder}`, "--mount", "--net"];
  const enterPeer = ["ip", "netns", "exec", `${name}p`];
  return {
    dir, ip, peerIp, enter, enterPeer,
    run: (command, options) => execute([...enter, ...command], options),
    runPeer: (command, options) => execute([...enterPeer, ...command], options),
    spawn: (command, env = {}) =>
      spawn(enter[0]!, [...enter.slice(1), ...command], { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] }),
    dispose: () => remove(dir, name, holder),
  };
}

/** A process that keeps the mount namespace; returns its pid once the mounts stand. */
function holdMounts(name: string, dir: string): number {
  const steps = bound.map((path) => {
    const own = join(dir, "private", path);
    mkdirSync(own, { recursive: true });
    return `mkdir -p ${path} && mount --bind ${own} ${path}`;
  });
  const script = [
    "set -e", "mount --make-rprivate /", ...cgroupMounts(),
    "mount -t tmpfs tmpfs /run", "mkdir -p /run/netns /run/lock", ...steps,
    `echo $$ > ${join(dir, "holder")}`, "exec sleep 100000",
  ].join("\n");
  const child = spawn("ip", ["netns", "exec", name, "unshare", "-m", "sh", "-c", script], { stdio: ["ignore", "ignore", "inherit"], detached: true });
  child.unref();
  for (let i = 0; i < 1000; i++) {
    try {
      const pid = Number(readFileSync(join(dir, "holder"), "utf8"));
      if (pid) return pid;
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
  throw new Error("the sandbox's mounts did not come up");
}

/** `ip netns exec` gives a fresh sysfs, which shows the namespace's own links; the cgroup hierarchies are bound back into it. */
function cgroupMounts(): string[] {
  const points = readFileSync("/proc/self/mounts", "utf8").split("\n").map((line) => line.split(" "));
  return points
    .filter(([, path, type]) => path?.startsWith("/sys/fs/cgroup") && type)
    .map(([source, path, type, options]) => type === "tmpfs"
      ? `mount -t tmpfs tmpfs ${path}`
      : `mkdir -p ${path} && mount -t ${type} -o ${options!.split(",").filter((o) => !["rw", "ro", "relatime"].includes(o)).join(",") || "rw"} ${source} ${path}`);
}

function execute(command: readonly string[], options: RunOptions = {}): Promise<Result> {
  const { stdin = "", env = {}, timeout = 60_000 } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), { env: { ...process.env, ...env }, timeout, killSignal: "SIGKILL" });
    const output = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output.stdout += chunk));
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (output.stderr += chunk));
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code: code ?? (signal === "SIGKILL" ? 137 : 143), ...output }));
    child.stdin.on("error", () => {});
    child.stdin.end(stdin);
  });
}

/** Ends every process of the machine, then its namespaces and files. */
function remove(dir: string, name: string, holder: number): void {
  for (const ns of [name, `${name}p`]) {
    for (let i = 0; i < 20; i++) {
      const pids = (spawnSync("ip", ["netns", "pids", ns], { encoding: "utf8" }).stdout ?? "").split("\n").map(Number).filter(Boolean);
      const all = ns === name ? new Set([...pids, ...inMountNamespace(holder)]) : new Set(pids);
      all.delete(process.pid);
      if (!all.size) break;
      for (const pid of all) kill(pid);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
    spawnSync("ip", ["netns", "del", ns]);
  }
  rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

/** Containers have network namespaces of their own, so they are found through their ancestors' mount namespace. */
function inMountNamespace(holder: number): number[] {
  const all = new Map<number, number>();
  for (const pid of readdirSync("/proc").map(Number).filter(Boolean)) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      all.set(pid, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It ended while we were reading.
    }
  }
  const same = (pid: number) => (pid > 0 && existsSync(`/proc/${pid}`) ? readlink(`/proc/${pid}/ns/mnt`) : undefined);
  const wanted = same(holder);
  const doomed = new Set([holder, ...(wanted ? [...all.keys()].filter((pid) => same(pid) === wanted) : [])]);
  for (let before = -1; before !== doomed.size; ) {
    before = doomed.size;
    for (const [pid, parent] of all) if (doomed.has(parent)) doomed.add(pid);
  }
  return [...doomed].filter((pid) => all.has(pid));
}

function readlink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}

function freeId(): number {
  const taken = (spawnSync("ip", ["netns", "list"], { encoding: "utf8" }).stdout ?? "").matchAll(new RegExp(`${prefix}(\\d+)`, "g"));
  const used = new Set([...taken].map((m) => Number(m[1])));
  for (let id = 100 + (process.pid % 100); id < 250; id++) if (!used.has(id)) return id;
  throw new Error("too many sandboxes");
}

/** Removes what a killed test run left behind. */
function reapStale(): void {
  for (const entry of readdirSync(tmpdir()).filter((n) => n.startsWith(`${prefix}-`))) {
    const dir = join(tmpdir(), entry);
    try {
      const [pid = "", name = ""] = readFileSync(join(dir, "owner"), "utf8").split(" ");
      process.kill(Number(pid), 0);
      if (!name) throw new Error("no name");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EPERM") continue;
      removeStale(dir);
    }
  }
}

function removeStale(dir: string): void {
  try {
    const [, name = ""] = readFileSync(join(dir, "owner"), "utf8").split(" ");
    const holder = existsSync(join(dir, "holder")) ? Number(readFileSync(join(dir, "holder"), "utf8")) : -1;
    remove(dir, name, holder || -1);
  } catch {
    rmSync(dir, { recursive: true, force: true });
  }
}
