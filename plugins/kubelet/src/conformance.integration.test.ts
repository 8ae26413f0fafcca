import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll } from "vitest";
import { conformance } from "@k3s-p/plugin-api/conformance/vitest";

const cgroup = `k3sp-conformance-kubelet-${process.pid}`;

afterAll(() => {
  const roots = ["/sys/fs/cgroup", ...readdirSync("/sys/fs/cgroup").map((name) => join("/sys/fs/cgroup", name))].map((root) => join(root, cgroup));
  for (const root of roots.filter((path) => existsSync(path))) spawnSync("find", [root, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
});

// Cgroups of its own, as those of the machine's pods may be in use.
await conformance(new URL("..", import.meta.url), { config: { port: 0, kubeletArg: [`cgroup-root=/${cgroup}`] } });
