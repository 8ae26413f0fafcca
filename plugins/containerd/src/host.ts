/** What this machine offers: programs, kernel abilities, and the distribution's CNI programs. */
import { constants } from "node:fs";
import { access, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink } from "node:fs/promises";
import { basename, delimiter, join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import type { Runner } from "@k3s-p/plugin-api/slots";

/** Where containerd and its children look for programs; systemd units often lack the sbin folders. */
export const searchPath = [
  ...new Set([...(process.env.PATH ?? "").split(delimiter), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
].filter(Boolean);

const cniFolders = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

export interface Programs {
  readonly containerd: string;
  readonly ctr: string;
  readonly shim: string;
  /** Handler name to program. */
  readonly runtimes: Readonly<Record<string, string>>;
  readonly cni: readonly string[];
}

/** Finds everything that is needed, or says in one error all that is missing. */
export async function findPrograms(path: readonly string[] = searchPath, cniPath: readonly string[] = cniFolders): Promise<Programs> {
  const names = ["containerd", "ctr", "containerd-shim-runc-v2", "runc", "crun"];
  const [found, cni] = await Promise.all([Promise.all(names.map((name) => findProgram(name, path))), findCni(cniPath)]);
  const [containerd, ctr, shim, runc, crun] = found;
  const missing = [
    ...(containerd && ctr && shim ? [] : ["containerd"]),
    ...(runc || crun ? [] : ["runc"]),
    ...(cni.length ? [] : ["containernetworking-plugins"]),
  ];
  if (missing.length) throw missingPackages(missing);
  const runtimes = { ...(runc && { runc }), ...(crun && { crun }) };
  return { containerd: containerd!, ctr: ctr!, shim: shim!, runtimes, cni };
}

const programOf: Readonly<Record<string, string>> = {
  containerd: "containerd, ctr and containerd-shim-runc-v2",
  runc: "runc or crun",
  "containernetworking-plugins": "the CNI programs (bridge, host-local, loopback, portmap)",
};

const missingPackages = (packages: readonly string[]) =>
  k3spError("K3SP_PROGRAM_MISSING", {
    message: `not installed: ${packages.map((name) => programOf[name]).join("; ")}`,
    detail: [`searched: ${searchPath.join(":")}`, `CNI programs: ${cniFolders.join(":")}`],
    fix: `apt-get install ${packages.join(" ")}   (or disable the plugin with --disable containerd)`,
  });

export async function findProgram(name: string, path: readonly string[] = searchPath): Promise<string | undefined> {
  for (const folder of path) {
    const candidate = join(folder, name);
    if (await isExecutable(candidate)) return candidate;
  }
  return undefined;
}

const isExecutable = (path: string) =>
  access(path, constants.X_OK).then(() => true, () => false);

/** The first folder that has a program wins, as on PATH. */
async function findCni(folders: readonly string[]): Promise<string[]> {
  const byName = new Map<string, string>();
  for (const folder of folders) {
    for (const name of await readdir(folder).catch(() => [])) {
      if (!byName.has(name)) byName.set(name, join(folder, name));
    }
  }
  return byName.has("loopback") ? [...byName.values()].sort() : [];
}

/** Makes `folder` hold a link to each program; programs that others put there stay. */
export async function linkPrograms(folder: string, programs: readonly string[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  await Promise.all(programs.map(async (target) => {
    const path = join(folder, basename(target));
    const before = await lstat(path).catch(() => undefined);
    if (before && !before.isSymbolicLink()) return;
    if (before && (await readlink(path)) === target) return;
    await rm(path, { force: true });
    await symlink(target, path);
  }));
}

/** `containerd github.com/containerd/containerd 1.6.20~ds1 ...` or `... v2.1.0 ...` */
export function majorVersion(output: string): number {
  return Number(/\bv?(\d+)\.\d+\.\d+/.exec(output)?.[1] ?? 1);
}

const capSysResource = 24n;

/** Without CAP_SYS_RESOURCE nobody may lower oom_score_adj, and every sandbox would fail to start. */
export function lacksSysResource(procStatus: string): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/im.exec(procStatus)?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> capSysResource) & 1n) === 0n;
}

export const readProcStatus = () => readFile("/proc/self/status", "utf8").catch(() => "");

/** Tries a real overlay mount below `folder`: some file systems (NFS, overlay itself) refuse to carry one. */
export async function overlaySupported(runner: Runner, folder: string): Promise<boolean> {
  await mkdir(folder, { recursive: true });
  const probe = await mkdtemp(join(folder, ".overlay-"));
  const [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map((name) => join(probe, name)) as [string, string, string, string];
  try {
    await Promise.all([lower, upper, work, merged].map((dir) => mkdir(dir)));
    const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    // One command, so that no mount stays behind when the server is killed in between.
    const script = 'mount -t overlay overlay -o "$1" "$2" && umount "$2"';
    return (await runner.run("sh", ["-c", script, "sh", layers, merged])).code === 0;
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
}
