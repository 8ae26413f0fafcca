/** The few things the kubelet does with mounts: tmpfs, bind, nfs, and taking them away again. */
import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Runner } from "@k3s-p/plugin-api/slots";

export interface Mounter {
  isMountPoint(path: string): Promise<boolean>;
  tmpfs(path: string, options?: readonly string[]): Promise<void>;
  bind(source: string, target: string): Promise<void>;
  nfs(source: string, target: string, options: readonly string[]): Promise<void>;
  /** Mount points at or below `folder`, the deepest first. */
  below(folder: string): Promise<readonly string[]>;
  /** Unmounts everything at or below `folder`; rejects when something stays. */
  unmountBelow(folder: string): Promise<void>;
}

export function mounter(runner: Runner, mountInfo = "/proc/self/mountinfo"): Mounter {
  async function mount(args: readonly string[]): Promise<void> {
    const { code, stderr } = await runner.run("mount", args);
    if (code !== 0) throw new Error(`mount failed: exit status ${code}: ${stderr.trim()}`);
  }

  async function below(folder: string): Promise<string[]> {
    const text = await readFile(mountInfo, "utf8");
    const points = text.split("\n").map((line) => unescape(line.split(" ")[4] ?? ""));
    return points.filter((p) => p === folder || p.startsWith(`${folder}/`)).sort((a, b) => b.length - a.length);
  }

  return {
    below,
    async isMountPoint(path) {
      const [own, parent] = await Promise.all([stat(path), stat(dirname(path))]).catch(() => []);
      return own !== undefined && parent !== undefined && own.dev !== parent.dev;
    },
    tmpfs: (path, options = []) =>
      mount(["-t", "tmpfs", ...(options.length ? ["-o", options.join(",")] : []), "tmpfs", path]),
    bind: (source, target) => mount(["--bind", source, target]),
    nfs: (source, target, options) =>
      mount(["-t", "nfs", ...(options.length ? ["-o", options.join(",")] : []), source, target]),
    async unmountBelow(folder) {
      const points = await below(folder);
      if (points.length === 0) return;
      const first = await runner.run("umount", points);
      if (first.code === 0) return;
      await runner.run("umount", ["-l", ...(await below(folder))]);
      const left = await below(folder);
      if (left.length) throw new Error(`still mounted: ${left.join(", ")}: ${first.stderr.trim()}`);
    },
  };
}

/** mountinfo writes space, tab, newline and backslash as octal escapes. */
const unescape = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
