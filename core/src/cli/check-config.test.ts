import { expect, test } from "vitest";
import { examine, report, type Host } from "./check-config.ts";

const options = "NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_PIDS CGROUP_SCHED CPUSETS MEMCG KEYS BRIDGE NF_TABLES NFT_NAT NFT_MASQ NF_CONNTRACK OVERLAY_FS POSIX_MQUEUE";
const kernel = `${options.split(" ").map((name) => `CONFIG_${name}=y\n`).join("")}CONFIG_VETH=m\n# CONFIG_VXLAN is not set\n`;

/** A machine on which all is well, but for `files` and programs that are not there. */
function host(files: Readonly<Record<string, string | undefined>> = {}, missing: readonly string[] = []): Host {
  const all: Readonly<Record<string, string | undefined>> = { "/boot/config-6.1": kernel, "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n", "/proc/swaps": "Filename\n", ...files };
  return { read: (path) => all[path], hasProgram: (name) => !missing.includes(name), release: "6.1" };
}
const told = (one: Host) => report(examine(one));

test("a machine that has everything passes, and is told what is optional and missing", () => {
  const text = told(host());
  expect(text).toMatch(/\nSTATUS: pass\n$/);
  expect(text).toContain("- CONFIG_VETH: enabled (as module)\n");
  expect(text).toContain("- CONFIG_VXLAN: missing (for the flannel backend vxlan)\n");
  expect(text).toContain("- swap: off\n- default networks: free\n");
});

test.each([
  ["a kernel option", host({ "/boot/config-6.1": kernel.replace("CONFIG_OVERLAY_FS=y", "") }), "- CONFIG_OVERLAY_FS: missing\n"],
  ["a controller", host({ "/sys/fs/cgroup/cgroup.controllers": "cpu memory cpuset" }), "cgroup v2:\n- pids: missing\n"],
  ["a controller of cgroup v1", host({ "/sys/fs/cgroup/cgroup.controllers": undefined, "/proc/cgroups": "#subsys_name\nmemory\t1\t2\t1\ncpuset\t1\t2\t1\npids\t1\t2\t0\n" }), "cgroup v1:\n- pids: missing\n"],
  ["a program", host({}, ["nft"]), "- nft: missing (apt-get install nftables)\n"],
])("%s that is missing fails the check, by name", (_, one, line) => {
  expect(told(one)).toContain(line);
  expect(told(one)).toMatch(/\nSTATUS: 1 \(fail\)\n$/);
});

test("swap and routes of others are told, and a kernel whose configuration is hidden is no failure", () => {
  const text = told(host({ "/boot/config-6.1": undefined, "/proc/swaps": "Filename\n/swapfile file\n", "/proc/net/fib_trie": "  |-- 10.42.0.0/16 2 0 2\n" }));
  expect(text).toContain("- configuration: not to be read (looked for /proc/config.gz and /boot/config-6.1)\n");
  expect(text).toContain("- swap: on");
  expect(text).toContain("- default networks: 10.42.0.0/16 routed already");
  expect(text).toMatch(/\nSTATUS: pass\n$/);
});
