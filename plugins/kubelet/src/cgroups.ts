/** Pod and QoS cgroups under `kubepods`, on cgroup v1 and v2: limits that hold for a pod as a whole. */
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Pod } from "@k3s-p/plugin-api/kube";
import { uidOf } from "./pod.ts";
import { milliToShares, podLimits, qosClass, type PodLimits, type QosClass } from "./resources.ts";
import { usageReader } from "./server/usage.ts";

const ROOT = "kubepods";
const v1Controllers = ["cpu", "cpuacct", "memory", "pids", "cpuset", "blkio", "devices", "freezer", "systemd", "hugetlb", "net_cls", "perf_event"];
/** Those that carry a limit of the pod; the runtime makes the others. */
const v1Limited = ["cpu", "memory", "pids"];

const qosFolder: Readonly<Record<QosClass, string>> = { Guaranteed: "", Burstable: "burstable", BestEffort: "besteffort" };

export interface Cgroups {
  readonly version: 1 | 2;
  /** What all pods lie in, relative to a controller's root. */
  readonly top: string;
  /** `kubepods/<qos>/pod<uid>`, relative to a controller's root. */
  pathOf(pod: Pod): string;
  /** Makes the QoS cgroups; called once at start. */
  prepare(milliCpu: number): Promise<void>;
  /** Makes the pod's cgroup; while the pod changes from another size, it is as large as both. */
  ensurePod(pod: Pod, from?: Pod): Promise<void>;
  /** Bytes that a container cannot be asked to give back. */
  memoryInUse(pod: Pod, containerId: string): Promise<number>;
  /** Removes the pod's cgroups; what still runs in them is killed. */
  removePod(uid: string): Promise<void>;
}

/** `parent` is the cgroup that `kubepods` lies in; empty for the topmost one. */
export function cgroups(root: string, parent = ""): Cgroups {
  const version = existsSync(join(root, "cgroup.controllers")) ? 2 : 1;
  const driver = version === 2 ? v2(root) : v1(root);
  const usage = usageReader(root, version, Date.now);
  const top = join(parent, ROOT).replace(/^\//, "");
  const qosDirs = Object.values(qosFolder).map((folder) => join(top, folder));
  const pathOf = (pod: Pod): string => join(top, qosFolder[qosClass(pod)], `pod${uidOf(pod)}`);
  return {
    version, top, pathOf,
    async prepare(milliCpu) {
      await driver.make(top, { shares: milliToShares(milliCpu), quota: 0, memory: 0 });
      await driver.make(join(top, "burstable"), { shares: 2, quota: 0, memory: 0 });
      await driver.make(join(top, "besteffort"), { shares: 2, quota: 0, memory: 0 });
    },
    ensurePod: (pod, from = pod) => driver.make(pathOf(pod), largest(podLimits(pod), podLimits(from))),
    memoryInUse: async (pod, containerId) => (await usage.cgroup(join(pathOf(pod), containerId)))?.workingSet ?? 0,
    async removePod(uid) {
      for (const base of driver.bases) {
        for (const dir of qosDirs) await removeTree(join(base, dir, `pod${uid}`));
      }
    },
  };
}

/** 0 is no limit. */
const largest = (a: PodLimits, b: PodLimits): PodLimits => ({
  shares: Math.max(a.shares, b.shares),
  quota: a.quota && b.quota && Math.max(a.quota, b.quota),
  memory: a.memory && b.memory && Math.max(a.memory, b.memory),
});

interface Driver {
  readonly bases: readonly string[];
  make(path: string, limits: PodLimits): Promise<void>;
}

function v1(root: string): Driver {
  const bases = v1Controllers.map((name) => join(root, name)).filter((dir) => existsSync(dir));
  const limited = v1Limited.map((name) => join(root, name)).filter((dir) => existsSync(dir));
  return {
    bases,
    async make(path, { shares, quota, memory }) {
      for (const base of limited) await mkdir(join(base, path), { recursive: true });
      const cpu = join(root, "cpu", path);
      await put(join(cpu, "cpu.shares"), shares);
      await put(join(cpu, "cpu.cfs_quota_us"), quota || -1);
      await put(join(root, "memory", path, "memory.limit_in_bytes"), memory || -1);
    },
  };
}

function v2(root: string): Driver {
  return {
    bases: [root],
    async make(path, { shares, quota, memory }) {
      let dir = root;
      for (const part of path.split("/")) {
        await put(join(dir, "cgroup.subtree_control"), "+cpu +memory +pids");
        dir = join(dir, part);
        await mkdir(dir, { recursive: true });
      }
      await put(join(dir, "cpu.weight"), sharesToWeight(shares));
      await put(join(dir, "cpu.max"), quota ? `${quota} 100000` : "max 100000");
      await put(join(dir, "memory.max"), memory || "max");
    },
  };
}

/** The conversion of runc and of KEP-2254: 2..262144 shares onto 1..10000. */
export const sharesToWeight = (shares: number): number => 1 + Math.floor(((shares - 2) * 9999) / 262_142);

/** A controller that is not there (or not delegated) is no reason to refuse a pod. */
const put = (file: string, value: string | number): Promise<void> =>
  writeFile(file, String(value), { flag: "r+" }).catch(() => {});

async function removeTree(dir: string): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => undefined);
  if (!entries) return;
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(dir, entry.name));
  for (const pid of (await readFile(join(dir, "cgroup.procs"), "utf8").catch(() => "")).split("\n")) {
    if (pid) tryKill(Number(pid));
  }
  await rmdir(dir).catch(() => {});
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}
