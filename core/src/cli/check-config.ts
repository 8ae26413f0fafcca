/** `k3s-p check-config`: whether this machine's kernel and programs can carry a node, before one is started. */
import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { delimiter, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { isExecutable } from "../tools/bundled.ts";
import { parseWords } from "./words.ts";

export const usages = (): readonly string[] => ["check-config"];

/** What is read of the machine. */
export interface Host {
  /** Text of a file; undefined = not there. Compressed ones are unpacked. */
  readonly read: (path: string) => string | undefined;
  readonly hasProgram: (name: string) => boolean;
  readonly release: string;
}

interface Finding {
  readonly group: string;
  readonly name: string;
  readonly state: string;
  /** Nothing works without it. */
  readonly isError?: boolean;
}

const necessary = "NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_PIDS CGROUP_SCHED CPUSETS MEMCG KEYS VETH BRIDGE NF_TABLES NFT_NAT NFT_MASQ NF_CONNTRACK OVERLAY_FS POSIX_MQUEUE".split(" ");
/** Option -> what is missing without it. */
const optional: Readonly<Record<string, string>> = {
  BRIDGE_NETFILTER: "services that a pod reaches on its own node", CFS_BANDWIDTH: "limits of CPU", VXLAN: "the flannel backend vxlan",
  SECCOMP_FILTER: "seccomp profiles", CGROUP_HUGETLB: "limits of huge pages", BLK_CGROUP: "limits of disk throughput",
};
const programs: Readonly<Record<string, string>> = {
  containerd: "containerd", "containerd-shim-runc-v2": "containerd", runc: "runc", nft: "nftables", ip: "iproute2", conntrack: "conntrack",
  setpriv: "util-linux",
};
const controllers: Readonly<Record<string, boolean>> = { pids: true, memory: true, cpuset: true, cpu: false };
const networks = ["10.42.", "10.43."];

export async function run(argv: readonly string[]): Promise<number> {
  parseWords(argv, "check-config", 0, []);
  const findings = examine(thisHost());
  process.stdout.write(report(findings));
  // As K3s's script: the number of what is missing.
  return findings.filter(({ isError }) => isError).length;
}

export const examine = (host: Host): readonly Finding[] => [...checkKernel(host), ...checkControllers(host), ...checkPrograms(host), ...checkSystem(host)];

function checkKernel({ read, release: version }: Host): Finding[] {
  const config = read("/proc/config.gz") ?? read(`/boot/config-${version}`) ?? read(`/lib/modules/${version}/config`);
  if (config === undefined) return [{ group: "kernel", name: "configuration", state: `not to be read (looked for /proc/config.gz and /boot/config-${version})` }];
  const valueOf = (option: string): string | undefined => new RegExp(`^CONFIG_${option}=([ym])$`, "m").exec(config)?.[1];
  const states: Readonly<Record<string, string>> = { y: "enabled", m: "enabled (as module)" };
  return [
    ...necessary.map((option): Finding => {
      const value = valueOf(option);
      return { group: "kernel, necessary", name: `CONFIG_${option}`, state: value ? states[value]! : "missing", isError: !value };
    }),
    ...Object.entries(optional).map(([option, use]): Finding => {
      const value = valueOf(option);
      return { group: "kernel, optional", name: `CONFIG_${option}`, state: value ? states[value]! : `missing (for ${use})` };
    }),
  ];
}

/** Of cgroup v2, else of v1, whose table says with its last column what is enabled. */
function checkControllers({ read }: Host): Finding[] {
  const v2 = read("/sys/fs/cgroup/cgroup.controllers")?.trim().split(/\s+/);
  const v1 = (read("/proc/cgroups") ?? "").split("\n").map((line) => line.split(/\s+/)).filter((row) => row[3] === "1").map((row) => row[0]!);
  const found = v2 ?? v1;
  return Object.entries(controllers).map(([name, isNecessary]): Finding => {
    const isThere = found.includes(name);
    return { group: `cgroup ${v2 ? "v2" : "v1"}`, name, state: isThere ? "enabled" : "missing", isError: isNecessary && !isThere };
  });
}

const checkPrograms = ({ hasProgram }: Host): Finding[] =>
  Object.entries(programs).map(([name, debianPackage]) => {
    const isThere = hasProgram(name);
    return { group: "programs", name, state: isThere ? "installed" : `missing (apt-get install ${debianPackage})`, isError: !isThere };
  });

function checkSystem({ read }: Host): Finding[] {
  const swap = (read("/proc/swaps") ?? "").trim().split("\n").length > 1;
  const routes = (read("/proc/net/fib_trie") ?? "").split("\n").flatMap((line) => /(\d+\.\d+\.\d+\.\d+)\/\d+/.exec(line)?.[1] ?? []);
  const taken = networks.filter((network) => routes.some((route) => route.startsWith(network)));
  return [
    { group: "system", name: "swap", state: swap ? "on (pods that need their memory fast should have none)" : "off" },
    { group: "system", name: "default networks", state: taken.length ? `${taken.map((network) => `${network}0.0/16`).join(", ")} routed already (by a node that runs, or by something else)` : "free" },
  ];
}

export function report(findings: readonly Finding[]): string {
  const lines: string[] = [];
  for (const [group, list] of Map.groupBy(findings, (finding) => finding.group)) lines.push(`${group}:`, ...list.map(({ name, state }) => `- ${name}: ${state}`), "");
  const errors = findings.filter(({ isError }) => isError).length;
  return [...lines, errors ? `STATUS: ${errors} (fail)` : "STATUS: pass", ""].join("\n");
}

const thisHost = (): Host => ({
  read(path) {
    if (!existsSync(path)) return undefined;
    const bytes = readFileSync(path);
    return (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  },
  hasProgram: (name) => [...(process.env.PATH ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin", "/sbin"].some((folder) => folder !== "" && isExecutable(join(folder, name))),
  release: release(),
});
