/** What a conformance test may need of the machine, and how to find out whether it is there. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** `netns`: network namespaces with nft and busybox; `cni-programs`: the distribution's CNI programs. */
export type Requirement = "root" | "netns" | "cni-programs" | "containerd";

export const cniPrograms = ["/usr/lib/cni", "/opt/cni/bin"].find((dir) => existsSync(`${dir}/bridge`));

const runs = (program: string, flag = "--version"): boolean => !spawnSync(program, [flag]).error;
const isRoot = (): boolean => process.getuid?.() === 0;

const checks: Readonly<Record<Requirement, () => string | undefined>> = {
  root: () => (isRoot() ? undefined : "root"),
  netns: () => {
    const missing = [
      isRoot() ? "" : "root", ...[["ip", "iproute2"], ["nft", "nftables"]].map(([name, pkg]) => (runs(name!, "-V") ? "" : pkg!)),
      existsSync("/bin/busybox") || existsSync("/usr/bin/busybox") ? "" : "busybox-static",
    ].filter(Boolean);
    if (missing.length) return missing.join(", ");
    return spawnSync("unshare", ["-n", "true"]).status === 0 ? undefined : "the right to make network namespaces";
  },
  "cni-programs": () => (cniPrograms ? undefined : "containernetworking-plugins"),
  containerd: () => [isRoot() ? "" : "root", ...["containerd", "runc", "ctr"].map((name) => (runs(name) ? "" : name))].filter(Boolean).join(", ") || undefined,
};

const known = new Map<Requirement, string | undefined>();

/** What is missing here of what is required, or undefined. */
export function unmet(requires: readonly Requirement[]): string | undefined {
  const missing = requires.map((name) => {
    if (!known.has(name)) known.set(name, checks[name]());
    return known.get(name);
  });
  return [...new Set(missing.filter((text) => text !== undefined))].join(", ") || undefined;
}
