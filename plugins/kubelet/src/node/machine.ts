/** What this machine is and has: capacity, kernel, operating system, identifiers. */
import { readFile, readdir, statfs } from "node:fs/promises";
import os from "node:os";
import type { Node } from "@k3s-p/plugin-api/kube";
import { amountOf, type Signal, type Threshold } from "../thresholds.ts";

export interface Machine {
  readonly milliCpu: number;
  readonly memoryBytes: number;
  readonly capacity: Readonly<Record<string, string>>;
  readonly allocatable: Readonly<Record<string, string>>;
  readonly architecture: string;
  readonly info: Pick<NodeSystemInfo, "kernelVersion" | "osImage" | "machineID" | "systemUUID" | "bootID" | "architecture" | "operatingSystem">;
}

type NodeSystemInfo = NonNullable<NonNullable<Node["status"]>["nodeInfo"]>;

const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64", arm: "arm", ppc64: "ppc64le", s390x: "s390x", riscv64: "riscv64" };

export interface MachineOptions {
  readonly maxPods: number;
  /** Folder whose file system holds the pods. */
  readonly nodefs: string;
  /** What hard ones keep free is not allocatable. */
  readonly thresholds: readonly Threshold[];
}

export async function readMachine(options: MachineOptions): Promise<Machine> {
  const kiB = Number(/^MemTotal:\s+(\d+)/m.exec(await text("/proc/meminfo"))?.[1] ?? Math.floor(os.totalmem() / 1024));
  const cpus = os.availableParallelism();
  const disk = await statfs(options.nodefs);
  const diskKiB = Math.floor((disk.blocks * disk.bsize) / 1024);
  const architecture = architectures[process.arch] ?? process.arch;
  const capacity: Record<string, string> = {
    cpu: String(cpus), "ephemeral-storage": `${diskKiB}Ki`, ...(await hugePages()), memory: `${kiB}Ki`, pods: String(options.maxPods),
  };
  const kept = (signal: Signal, bytes: number): number =>
    options.thresholds.filter((t) => t.signal === signal && t.grace === 0).reduce((sum, t) => sum + amountOf(t.value, bytes), 0);
  const memory = kiB - Math.ceil(kept("memory.available", kiB * 1024) / 1024);
  return {
    milliCpu: cpus * 1000, memoryBytes: kiB * 1024, architecture, capacity,
    allocatable: { ...capacity, "ephemeral-storage": String(diskKiB * 1024 - kept("nodefs.available", diskKiB * 1024)), memory: `${memory}Ki` },
    info: {
      kernelVersion: os.release(), osImage: await osImage(), architecture, operatingSystem: "linux",
      machineID: (await text("/etc/machine-id")).trim(),
      systemUUID: (await text("/sys/class/dmi/id/product_uuid")).trim() || (await text("/etc/machine-id")).trim(),
      bootID: (await text("/proc/sys/kernel/random/boot_id")).trim(),
    },
  };
}

const text = (path: string): Promise<string> => readFile(path, "utf8").catch(() => "");

async function osImage(): Promise<string> {
  const match = /^PRETTY_NAME=(?:"([^"]*)"|(.*))$/m.exec(await text("/etc/os-release"));
  return match?.[1] ?? match?.[2] ?? "Linux";
}

/** `hugepages-2Mi` and the like, in bytes that are reserved for them. */
async function hugePages(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const folder of (await readdir("/sys/kernel/mm/hugepages").catch(() => [])).sort()) {
    const kiB = Number(/^hugepages-(\d+)kB$/.exec(folder)?.[1]);
    if (!kiB) continue;
    const pages = Number(await text(`/sys/kernel/mm/hugepages/${folder}/nr_hugepages`));
    const size = kiB >= 1024 * 1024 ? `${kiB / 1024 / 1024}Gi` : kiB >= 1024 ? `${kiB / 1024}Mi` : `${kiB}Ki`;
    found[`hugepages-${size}`] = pages ? `${pages * kiB}Ki` : "0";
  }
  return found;
}
