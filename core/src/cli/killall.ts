/**
 * `k3s-p killall`: the equivalent of K3s's k3s-killall.sh. Stops servers, containerd and every container of this
 * installation, then removes mounts, network namespaces, links, nftables tables and cgroups. Data stays.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, readlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import { flags } from "../config/flags.ts";
import { loadSettings } from "../config/load.ts";
import { layout } from "../node/layout.ts";

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

export const usages = (): readonly string[] => ["killall [--data-dir FOLDER]"];

export async function run(argv: readonly string[]): Promise<number> {
  if (process.getuid?.() !== 0) throw k3spError("K3SP_ROOT_REQUIRED", { message: "killall stops containers and removes network links" });
  const settings = loadSettings({ argv, env: process.env, flags });
  const paths = layout((settings.values.get("data-dir")?.value as string | undefined) ?? "/var/lib/rancher/k3s");
  const stopped = killProcesses(paths.containerdState, paths.agentEtc);
  const mounts = unmount([paths.run, paths.kubelet, "/run/netns/cni-"]);
  const links = removeLinks();
  const tables = removeTables();
  removeForwardRules();
  const left = removeNamespaces();
  removeCgroups();
  process.stdout.write(`stopped ${stopped} processes, removed ${mounts} mounts, ${links} links, ${tables} nftables tables\n`);
  for (const line of left) process.stderr.write(`not removed: ${line}\n`);
  return left.length ? 1 : 0;
}

function processes(): Process[] {
  const list: Process[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      list.push({ pid: Number(name), parent: Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]), command });
    } catch {
      // It ended while we were reading.
    }
  }
  return list;
}

/** The mount namespace of a process: the same paths in another one belong to another installation. */
function mountNamespace(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return undefined;
  }
}

/** Servers and agents, our containerd and our shims with all their descendants: children first would be restarted. */
function killProcesses(state: string, etc: string): number {
  const all = processes();
  const here = mountNamespace("self");
  const isOurs = ({ command, pid }: Process): boolean =>
    pid !== process.pid && pid !== process.ppid && mountNamespace(pid) === here &&
    ((command.includes("containerd-shim") && command.includes(state)) ||
      (command.includes("containerd") && command.includes(etc)) ||
      /core\/src\/(cli\/main|runner\/child)\.ts( (server|agent)|\s*$)/.test(command));
  const doomed = new Set(all.filter(isOurs).map((p) => p.pid));
  for (let before = -1; before !== doomed.size; ) {
    before = doomed.size;
    for (const p of all) if (doomed.has(p.parent) && p.pid !== process.pid) doomed.add(p.pid);
  }
  for (const pid of doomed) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
  return doomed.size;
}

/** Deepest first, so that nothing is busy. */
function unmount(prefixes: readonly string[]): number {
  const points = readFileSync("/proc/self/mounts", "utf8").split("\n").map((line) => line.split(" ")[1] ?? "");
  const ours = points.filter((p) => prefixes.some((prefix) => p.startsWith(prefix) && p !== prefix)).sort().reverse();
  for (const point of ours) spawnSync("umount", ["-l", point.replaceAll("\\040", " ")]);
  return ours.length;
}

/** Says which ones stay: those that something else is mounted over (`ip netns add` in a private mount namespace) are busy. */
function removeNamespaces(): string[] {
  return list("/run/netns").filter((name) => name.startsWith("cni-")).map((name) => join("/run/netns", name)).flatMap((file) => {
    try {
      unlinkSync(file);
      return [];
    } catch (error) {
      return [`${file} (${(error as NodeJS.ErrnoException).code})`];
    }
  });
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function removeLinks(): number {
  const links = list("/sys/class/net").filter((name) => ["cni0", "mycni0"].includes(name) || /^flannel\.\d+$/.test(name));
  for (const link of links) spawnSync("ip", ["link", "delete", link]);
  return links.length;
}

function removeTables(): number {
  const { stdout = "" } = spawnSync("nft", ["list", "tables"], { encoding: "utf8" });
  const tables = stdout.split("\n").map((line) => /^table (\S+) (k3sp-\S+)/.exec(line)).filter((m) => m !== null);
  for (const [, family, name] of tables) spawnSync("nft", ["delete", "table", family!, name!]);
  return tables.length;
}

/** The rules that let pod traffic through where another program's FORWARD policy drops it. */
function removeForwardRules(): void {
  const { stdout } = spawnSync("iptables", ["-S", "FORWARD"], { encoding: "utf8" });
  for (const line of (stdout ?? "").split("\n").filter((text) => text.includes("k3sp-flannel"))) {
    spawnSync("iptables", line.replaceAll('"', "").replace(/^-A/, "-D").split(" "));
  }
}

/** Pod cgroups, deepest first; the kernel refuses those that are in use. */
function removeCgroups(): void {
  const roots = ["/sys/fs/cgroup", ...list("/sys/fs/cgroup").map((name) => join("/sys/fs/cgroup", name))];
  for (const root of roots) spawnSync("find", [join(root, "kubepods"), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
}
