/** What this machine offers: programs, kernel abilities, and the distribution's CNI programs. */
import { accessSync, constants, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { basename, delimiter, join } from "node:path";
import { k3spError } from "@k3s-p/plugin-api";
import type { Runner } from "@k3s-p/plugin-api/slots";

// Everything here is a handful of local look-ups. At start the event loop is crowded with other plugins, so each
// `await` would cost more than the call itself: they are synchronous.

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
export function findPrograms(path: readonly string[] = searchPath, cniPath: readonly string[] = cniFolders): Programs {
  const names = ["containerd", "ctr", "containerd-shim-runc-v2", "runc", "crun"];
  const [containerd, ctr, shim, runc, crun] = names.map((name) => findProgram(name, path));
  const cni = findCni(cniPath);
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

const findProgram = (name: string, path: readonly string[]) => path.map((folder) => join(folder, name)).find(isExecutable);

const isExecutable = (path: string) => attempt(() => (accessSync(path, constants.X_OK), true)) ?? false;

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** The first folder that has a program wins, as on PATH. */
function findCni(folders: readonly string[]): string[] {
  const byName = new Map<string, string>();
  for (const folder of folders) {
    for (const name of attempt(() => readdirSync(folder)) ?? []) {
      if (!byName.has(name)) byName.set(name, join(folder, name));
    }
  }
  return byName.has("loopback") ? [...byName.values()].sort() : [];
}

/** Makes `folder` hold a link to each program; programs that others put there stay. */
export function linkPrograms(folder: string, programs: readonly string[]): void {
  mkdirSync(folder, { recursive: true });
  for (const target of programs) {
    const path = join(folder, basename(target));
    const before = attempt(() => lstatSync(path));
    if (before && (!before.isSymbolicLink() || readlinkSync(path) === target)) continue;
    rmSync(path, { force: true });
    symlinkSync(target, path);
  }
}

export interface HostFacts {
  /** Major version of containerd. */
  readonly major: number;
  /** Whether containerd's root can carry overlay mounts. */
  readonly overlay: boolean;
}

/** Found out with two commands once, then remembered until containerd's program or the kernel changes. */
export async function hostFacts(runner: Runner, containerd: string, root: string): Promise<HostFacts> {
  const { mtimeMs, size } = statSync(containerd);
  const about = `${containerd} ${mtimeMs} ${size} ${release()}`;
  const file = join(root, "host-facts.json");
  const known = attempt(() => JSON.parse(readFileSync(file, "utf8")) as HostFacts & { readonly about: string });
  if (known?.about === about) return known;
  mkdirSync(root, { recursive: true, mode: 0o711 });
  const [version, overlay] = await Promise.all([runner.run(containerd, ["--version"]), overlaySupported(runner, root)]);
  const facts = { major: majorVersion(version.stdout), overlay };
  writeFileSync(file, JSON.stringify({ about, ...facts }), { mode: 0o600 });
  return facts;
}

/** `containerd github.com/containerd/containerd 1.6.20~ds1 ...` or `... v2.1.0 ...` */
export function majorVersion(output: string): number {
  return Number(/\bv?(\d+)\.\d+\.\d+/.exec(output)?.[1] ?? 1);
}

/** Without these no container starts, or none keeps to its limits; K3s refuses to start without them, too. */
const controllers = ["memory", "cpuset"];

/** Of the unified hierarchy, or each with a folder of its own. */
export function checkControllers(root = "/sys/fs/cgroup"): void {
  const unified = attempt(() => readFileSync(join(root, "cgroup.controllers"), "utf8"))?.trim().split(/\s+/);
  const missing = controllers.filter((name) => (unified ? !unified.includes(name) : !existsSync(join(root, name))));
  if (missing.length === 0) return;
  throw k3spError("K3SP_RUNTIME_FAILED", {
    message: `cgroup v${unified ? 2 : 1}: the controller${missing.length > 1 ? "s" : ""} ${missing.join(" and ")} of ${root} ${missing.length > 1 ? "are" : "is"} not enabled`,
    detail: ["k3s-p check-config looks for what else is missing"],
    fix: `add ${missing.flatMap((name) => (name === "memory" ? ["cgroup_memory=1", "cgroup_enable=memory"] : [`cgroup_enable=${name}`])).join(" ")} to the kernel's command line (on a Raspberry Pi, /boot/firmware/cmdline.txt) and reboot`,
    plugin: "containerd",
  });
}

const capSysResource = 24n;

/** Without CAP_SYS_RESOURCE nobody may lower oom_score_adj, and every sandbox would fail to start. */
export function lacksSysResource(procStatus: string): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/im.exec(procStatus)?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> capSysResource) & 1n) === 0n;
}

export const readProcStatus = () => attempt(() => readFileSync("/proc/self/status", "utf8")) ?? "";

/** Tries a real overlay mount below `folder`: some file systems (NFS, overlay itself) refuse to carry one. */
async function overlaySupported(runner: Runner, folder: string): Promise<boolean> {
  const probe = mkdtempSync(join(folder, ".overlay-"));
  const [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map((name) => join(probe, name)) as [string, string, string, string];
  for (const dir of [lower, upper, work, merged]) mkdirSync(dir);
  const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  // One command, so that no mount stays behind when the server is killed in between.
  const script = 'mount -t overlay overlay -o "$1" "$2" && umount "$2"';
  const result = await runner.run("sh", ["-c", script, "sh", layers, merged]);
  rmSync(probe, { recursive: true, force: true });
  return result.code === 0;
}
