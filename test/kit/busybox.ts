/** Debian's static busybox, from which the tests make their image. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** As root with apt-get: installs busybox-static if it is missing. Tests that need it say so when it is not there. */
export function installBusybox(): void {
  if (existsSync("/bin/busybox") || process.getuid?.() !== 0) return;
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (...words: string[]) => spawnSync("apt-get", words, { env, stdio: ["ignore", "ignore", "inherit"] }).status === 0;
  const install = () => apt("install", "-y", "-qq", "--no-install-recommends", "busybox-static");
  if (!install() && apt("update", "-qq")) install();
}
