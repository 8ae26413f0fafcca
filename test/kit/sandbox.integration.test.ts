/** Machines on one network reach each other, the outside and nobody else's files; each goes without the others. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { createSandbox, sandboxUnavailable, type Sandbox, type SandboxOptions } from "./sandbox.ts";

const reason = sandboxUnavailable() ?? (existsSync("/bin/busybox") ? undefined : "needs busybox-static");
if (reason) console.log(`skipped: machines on one network: ${reason}`);

describe.skipIf(reason)("machines on one network", () => {
  const machines: Sandbox[] = [];
  const machine = (options?: SandboxOptions): Sandbox => {
    const one = createSandbox(options);
    machines.push(one);
    return one;
  };
  const ping = async (from: Sandbox, to: string, ...options: string[]) => (await from.run(["busybox", "ping", "-c", "1", "-W", "2", ...options, to])).code;
  const ip = async (on: Sandbox, words: string): Promise<void> => {
    const { code, stderr } = await on.run(["ip", ...words.split(" ")]);
    if (code !== 0) throw new Error(`ip ${words}: ${stderr}`);
  };
  const namespaces = (network: string): string[] =>
    spawnSync("ip", ["netns", "list"], { encoding: "utf8" }).stdout.split("\n").map((line) => line.split(" ")[0]!).filter((name) => name.startsWith(network)).sort();

  afterEach(() => {
    for (const one of machines.splice(0)) one.dispose();
  });

  test("a second one has the next address, reaches the first and the peer, and is reached", async () => {
    const first = machine();
    const second = machine({ lan: first });
    expect(second.peerIp).toBe(first.peerIp);
    expect([first.ip, second.ip].map((address) => address.split(".").at(-1))).toEqual(["2", "3"]);
    expect(await ping(first, second.ip)).toBe(0);
    expect(await ping(second, first.ip)).toBe(0);
    expect(await ping(second, second.peerIp)).toBe(0);
    expect((await second.runPeer(["busybox", "ping", "-c", "1", "-W", "2", second.ip])).code).toBe(0);
  });

  test("a VXLAN tunnel carries full frames between them", async () => {
    const first = machine();
    const second = machine({ lan: first });
    for (const [on, other, inner] of [[first, second, "10.99.0.1"], [second, first, "10.99.0.2"]] as const) {
      await ip(on, `link add tunnel type vxlan id 1 dev eth0 local ${on.ip} remote ${other.ip} dstport 8472`);
      await ip(on, `addr add ${inner}/24 dev tunnel`);
      await ip(on, "link set tunnel up");
    }
    expect(await ping(first, "10.99.0.2", "-s", String(1450 - 28))).toBe(0);
    expect(await ping(second, "10.99.0.1", "-s", String(1450 - 28))).toBe(0);
  });

  test("files and processes of one are not those of the other", async () => {
    const first = machine();
    const second = machine({ lan: first });
    expect((await first.run(["sh", "-c", "mkdir -p /etc/rancher/node /run/k3s && echo a > /etc/rancher/node/password && echo a > /run/k3s/x"])).code).toBe(0);
    expect((await second.run(["sh", "-c", "test ! -e /etc/rancher/node/password && test ! -e /run/k3s/x"])).code).toBe(0);
    const sleeping = first.spawn(["sleep", "1000"]);
    second.dispose();
    expect(sleeping.exitCode).toBeNull();
    expect(await ping(first, first.peerIp)).toBe(0);
    first.dispose();
    expect(await new Promise((resolve) => sleeping.on("close", (_, signal) => resolve(signal)))).toBe("SIGKILL");
  });

  test("they go in any order, and leave nothing", async () => {
    const first = machine();
    const second = machine({ lan: first });
    first.dispose();
    expect(namespaces(first.network)).toEqual([`${first.network}n3`]);
    const other = machine();
    expect(other.network).not.toBe(first.network);
    second.dispose();
    expect(namespaces(first.network)).toEqual([]);
    expect([first, second].map(({ dir }) => existsSync(dir))).toEqual([false, false]);
  });
});
