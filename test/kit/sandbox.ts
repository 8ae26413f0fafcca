/**
 * A machine of its own for one node under test: a network namespace with an outside peer, and a mount namespace
 * in which /run, /etc/rancher, /var/lib/rancher, /var/lib/kubelet and the log folders are private.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Sandbox {
  /** Folder of the sandbox on the host; `private` below it holds what is bound over the system's folders. */
  readonly dir: string;
  /** The network namespace of the outside peer, whose bridge all machines of one network hang on. */
  readonly network: string;
  /** Address of the machine, and of the outside peer on the same network. */
  readonly ip: string;
  readonly peerIp: string;
  /** Argument prefix that runs a command on the machine, or on the peer. */
  readonly enter: readonly string[];
  readonly enterPeer: readonly string[];
  run(command: readonly string[], options?: RunOptions): Promise<Result>;
  runPeer(command: readonly string[], options?: RunOptions): Promise<Result>;
  spawn(command: readonly string[], env?: Record<string, string>): ChildProcess;
  /** Ends the machine; the one that was first on its network takes the network along. */
  dispose(): void;
}

export interface SandboxOptions {
  /** A machine on whose network this one shall be; default a network of its own. */
  readonly lan?: Sandbox;
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

export function createSandbox({ lan }: SandboxOptions = {}): Sandbox {
  reapStale();
  const network = lan?.network ?? createNetwork();
  const [, id] = /(\d+)$/.exec(network)!;
  const peerIp = `172.31.${id}.1`;
  const { name, ip } = addMachine(network, peerIp);
  const dir = mkdtempSync(join(tmpdir(), `${prefix}-`));
  const namespaces = lan ? [name] : [name, network];
  writeFileSync(join(dir, "owner"), [process.pid, ...namespaces].join(" "));
  const holder = holdMounts(name, dir);
  const enter = ["nsenter", `--target=${holder}`, "--mount", "--net"];
  const enterPeer = ["ip", "netns", "exec", network];
  return {
    dir, network, ip, peerIp, enter, enterPeer,
    run: (command, options) => execute([...enter, ...command], options),
    runPeer: (command, options) => execute([...enterPeer, ...command], options),
    spawn: (command, env = {}) =>
      spawn(enter[0]!, [...enter.slice(1), ...command], { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] }),
    dispose: () => remove(dir, namespaces, holder),
  };
}

/** The outside peer with its bridge; returns the name of its namespace. */
function createNetwork(): string {
  const id = freeNumber(new RegExp(`^${prefix}(\\d+)`), 100 + (process.pid % 100), 250);
  const name = `${prefix}${id}`;
  iproute("netns", "add", name);
  iproute("-n", name, "link", "set", "lo", "up");
  // An address given keeps the bridge from taking that of each new port, which the machines before would not know.
  iproute("-n", name, "link", "add", "lan0", "address", "02:00:00:00:00:01", "type", "bridge");
  configure(name, "lan0", `172.31.${id}.1`);
  return name;
}

/** A namespace with a cable to the bridge, and the next free address. */
function addMachine(network: string, gateway: string): { readonly name: string; readonly ip: string } {
  const number = freeNumber(new RegExp(`^${network}n(\\d+)`), 2, 250);
  const name = `${network}n${number}`;
  const address = gateway.replace(/\d+$/, String(number));
  iproute("netns", "add", name);
  iproute("-n", name, "link", "set", "lo", "up");
  iproute("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", `port${number}`, "netns", network);
  iproute("-n", network, "link", "set", `port${number}`, "master", "lan0", "up");
  configure(name, "eth0", address);
  iproute("-n", name, "route", "add", "default", "via", gateway);
  return { name, ip: address };
}

function configure(namespace: string, link: string, address: string): void {
  iproute("-n", namespace, "addr", "add", `${address}/24`, "dev", link);
  iproute("-n", namespace, "link", "set", link, "up");
}

function iproute(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("ip", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** The first number from `from` on that no namespace has which the pattern finds. */
function freeNumber(pattern: RegExp, from: number, end: number): number {
  const used = new Set(iproute("netns", "list").split("\n").map((line) => Number(pattern.exec(line)?.[1])));
  for (let number = from; number < end; number++) if (!used.has(number)) return number;
  throw new Error("too many sandboxes");
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
function remove(dir: string, namespaces: readonly string[], holder: number): void {
  for (const [index, namespace] of namespaces.entries()) {
    for (let i = 0; i < 20; i++) {
      const pids = (spawnSync("ip", ["netns", "pids", namespace], { encoding: "utf8" }).stdout ?? "").split("\n").map(Number).filter(Boolean);
      const all = new Set(index === 0 ? [...pids, ...inMountNamespace(holder)] : pids);
      all.delete(process.pid);
      if (!all.size) break;
      for (const pid of all) kill(pid);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
    spawnSync("ip", ["netns", "del", namespace]);
  }
  rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

/** Containers have network namespaces of their own, so they are found through their ancestors' mount namespace. */
function inMountNamespace(holder: number): number[] {
  const all = new Map<number, number>();
  for (const pid of readdirSync("/proc").map(Number).filter(Boolean)) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state !== "Z") all.set(pid, Number(parent));
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

/** Removes what a killed test run left behind. */
function reapStale(): void {
  for (const entry of readdirSync(tmpdir()).filter((n) => n.startsWith(`${prefix}-`))) {
    const dir = join(tmpdir(), entry);
    try {
      const [pid = "", ...namespaces] = readFileSync(join(dir, "owner"), "utf8").split(" ");
      process.kill(Number(pid), 0);
      if (!namespaces.length) throw new Error("no name");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EPERM") continue;
      removeStale(dir);
    }
  }
}

function removeStale(dir: string): void {
  try {
    const [, ...namespaces] = readFileSync(join(dir, "owner"), "utf8").split(" ");
    const holder = existsSync(join(dir, "holder")) ? Number(readFileSync(join(dir, "holder"), "utf8")) : -1;
    remove(dir, namespaces, holder || -1);
  } catch {
    rmSync(dir, { recursive: true, force: true });
  }
}
