/** Bad input: a clear error with a fix, exit code 1, nothing lost. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dataDir, runServer } from "../kit/cluster.ts";
import { createSandbox, sandboxUnavailable, type Sandbox } from "../kit/sandbox.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: bad input ${reason}`);
const fixture = (name: string) => join(import.meta.dirname, "../fixtures/broken-plugins", name);

describe.skipIf(reason)("bad input", () => {
  let sandbox: Sandbox;
  beforeAll(() => void (sandbox = createSandbox()));
  afterAll(() => sandbox?.dispose());

  const own = (path: string) => join(sandbox.dir, "private", path);
  function put(path: string, text: string): void {
    mkdirSync(join(own(path), ".."), { recursive: true });
    writeFileSync(own(path), text);
  }
  const api = ["--profile", "api"];

  /** The error block that a user reads, without the log lines before it. */
  async function errorOf(args: readonly string[], env?: Record<string, string>): Promise<string> {
    const { code, stdout, stderr } = await runServer(sandbox, args, env ? { env } : {});
    expect(code, stdout + stderr).toBe(1);
    return stderr.split("\n").filter((line) => !line.startsWith("{")).join("\n").trim();
  }

  test("an unknown flag", async () => {
    expect(await errorOf(["--disble", "coredns"])).toBe('K3SP_FLAG_UNKNOWN  unknown flag --disble; did you mean "--disable"?\n  fix: see k3s-p help server; for an agent, k3s-p help agent');
  });

  test("a broken config.yaml, with line and column", async () => {
    put("/etc/rancher/k3s/bad.yaml", "node-name: a\ndisable: [x\ntoken: y\n");
    expect(await errorOf(["--config", "/etc/rancher/k3s/bad.yaml"])).toMatch(/^K3SP_CONFIG_SYNTAX {2}\/etc\/rancher\/k3s\/bad\.yaml:3:1: .+\n {2}fix: correct the line that is named$/);
  });

  test("a value that a plugin's schema does not allow", async () => {
    put("/etc/rancher/k3s/value.yaml", "plugins:\n  flannel:\n    config:\n      backend: vxlna\n");
    const text = await errorOf(["--config", "/etc/rancher/k3s/value.yaml"]);
    expect(text).toContain('K3SP_CONFIG_INVALID  plugins.flannel.config.backend: "vxlna" is not allowed');
    expect(text).toContain('did you mean "vxlan"?');
    expect(text).toContain("/etc/rancher/k3s/value.yaml:4:16");
  });

  test("a port in use", async () => {
    const blocker = sandbox.spawn([process.execPath, "-e", "require('net').createServer().listen(6443, '0.0.0.0', () => console.log('listening'))"]);
    await new Promise((resolve) => blocker.stdout!.once("data", resolve));
    const text = await errorOf(api);
    blocker.kill("SIGKILL");
    expect(text).toMatch(new RegExp(`^K3SP_PORT_IN_USE  .*:6443 is in use by .+ \\(process ${blocker.pid}\\)`));
    expect(text).toMatch(/fix: .*(--https-listen-port|another port)/);
  });

  test("a plugin that leaves a listener and a timer open when its start fails, and cannot undo: the process ends all the same", async () => {
    put("/etc/rancher/leaves-open/package.json", JSON.stringify({ name: "leaves-open", version: "1.0.0", type: "module", exports: "./plugin.js", k3sp: { api: "^0.1.0", isolation: "inline" } }));
    put("/etc/rancher/leaves-open/plugin.js", `
      import { createServer } from "node:net";
      import { definePlugin } from "@k3s-p/plugin-api";
      export default definePlugin({ start(ctx) {
        createServer().listen(0);
        setInterval(() => {}, 60_000);
        ctx.defer(() => { throw new Error("stuck"); });
        throw new Error("boom");
      } });`);
    const { code, stdout, stderr } = await runServer(sandbox, [...api, "--plugin", "/etc/rancher/leaves-open", "--allow-inline", "leaves-open"]);
    expect(stderr).toContain("K3SP_PLUGIN_START_FAILED  leaves-open 1.0.0 failed to start: boom");
    expect(stdout + stderr).toContain("an undo step failed: stuck");
    expect(code).toBe(1);
  });

  test("a signal during the start ends it, whatever a plugin waits for", async () => {
    put("/etc/rancher/waits/package.json", JSON.stringify({ name: "waits", version: "1.0.0", type: "module", exports: "./plugin.js", k3sp: { api: "^0.1.0", isolation: "inline" } }));
    put("/etc/rancher/waits/plugin.js", `
      import { definePlugin } from "@k3s-p/plugin-api";
      export default definePlugin({ start(ctx) {
        ctx.log.info("waiting");
        return new Promise(() => {});
      } });`);
    const main = join(import.meta.dirname, "../../core/src/cli/main.ts");
    const server = sandbox.spawn([process.execPath, main, "server", ...api, "--plugin", "/etc/rancher/waits", "--allow-inline", "waits"]);
    const ended = new Promise<number | null>((resolve) => server.on("close", resolve));
    let output = "";
    const read = (chunk: Buffer): void => {
      if (!output.includes('"msg":"waiting"') && String(chunk).includes('"msg":"waiting"')) server.kill("SIGTERM");
      output += String(chunk);
    };
    server.stdout!.on("data", read);
    server.stderr!.on("data", read);
    const tooLate = setTimeout(() => server.kill("SIGKILL"), 30_000);
    expect(await ended, output).toBe(0);
    clearTimeout(tooLate);
    expect(output.split("\n").filter((line) => line && !line.startsWith('{"level":30'))).toEqual([]);
  });

  test.each([
    ["is a file", "/etc/rancher/file", "it is not a folder"],
    ["is below /proc", "/proc/k3s/data", "its file system takes no folders"],
    ["is on a file system that is read-only", "/etc/rancher/read-only/data", "the file system is read-only"],
    ["is on a full disk", "/etc/rancher/full/data", "the disk is full"],
  ])("a data directory that %s", async (_, folder, why) => {
    put("/etc/rancher/file", "mine");
    await sandbox.run(["sh", "-c", "cd /etc/rancher && mkdir -p read-only full && mount -t tmpfs -o ro none read-only && mount -t tmpfs -o size=64k none full"]);
    const text = await errorOf([...api, "--data-dir", folder]);
    await sandbox.run(["sh", "-c", "cd /etc/rancher && umount read-only full"]);
    expect(text).toMatch(new RegExp(`^K3SP_PERMISSION_DENIED  data-dir: ${folder} cannot be made or written: ${why}\\n  cause: .*\\n  fix: .*--data-dir$`));
    expect((await sandbox.run(["cat", "/etc/rancher/file"])).stdout).toBe("mine");
  });

  test("a kubeconfig where nothing can be written", async () => {
    expect(await errorOf([...api, "--write-kubeconfig", "/proc/k3s/config"])).toMatch(/^K3SP_PERMISSION_DENIED  write-kubeconfig: \/proc\/k3s\/config cannot be written\n  cause: .*\n  fix: .*--write-kubeconfig$/);
  });

  test("an address that this machine does not have", async () => {
    expect(await errorOf([...api, "--bind-address", "10.9.9.9"])).toMatch(/^K3SP_CONFIG_INVALID  bind-address: 10\.9\.9\.9 is not an address of this machine\n  cause: .*\n  fix: give --bind-address one/);
  });

  test("a missing containerd", async () => {
    // Hidden on this machine only: a file that cannot be executed lies over each place where it could be.
    const places = (await sandbox.run(["sh", "-c", "ls /usr/bin/containerd /usr/sbin/containerd /usr/local/bin/containerd /bin/containerd 2>/dev/null"])).stdout.trim().split("\n");
    for (const place of places) await sandbox.run(["mount", "--bind", "/dev/null", place]);
    const text = await errorOf([]);
    for (const place of places) await sandbox.run(["umount", place]);
    expect(text).toMatch(/^K3SP_PROGRAM_MISSING {2}.*containerd/);
    expect(text).toMatch(/fix: .*apt-get install/);
  });

  test("a containerd that ends at once: the last lines of its log, and where the rest is", async () => {
    put("/etc/rancher/containerd", "#!/bin/sh\necho 'this disk is broken' >&2\nexit 3\n");
    const [place = ""] = (await sandbox.run(["which", "containerd"])).stdout.trim().split("\n");
    await sandbox.run(["sh", "-c", `chmod +x /etc/rancher/containerd && mount --bind /etc/rancher/containerd ${place}`]);
    const text = await errorOf([]);
    await sandbox.run(["umount", place]);
    expect(text).toBe([
      "K3SP_PLUGIN_CRASHED  containerd failed: its process ended with exit code 3", "  this disk is broken", "  fix: see /var/lib/rancher/k3s/agent/containerd/containerd.log",
    ].join("\n"));
    expect((await sandbox.run(["cat", "/var/lib/rancher/k3s/agent/containerd/containerd.log"])).stdout).toContain("this disk is broken\n");
  });

  test("an nft that is missing: the error ends with its package, and nothing is said of what was under way", async () => {
    const places = (await sandbox.run(["sh", "-c", "ls /usr/sbin/nft /sbin/nft /usr/bin/nft 2>/dev/null"])).stdout.trim().split("\n");
    for (const place of places) await sandbox.run(["mount", "--bind", "/dev/null", place]);
    const { code, stderr } = await runServer(sandbox, []);
    for (const place of places) await sandbox.run(["umount", place]);
    expect([code, stderr.match(/^K3SP_PROGRAM_MISSING {2}"nft" cannot be run\n {2}cause: .*\n {2}fix: apt-get install nftables$/m)], stderr).toEqual([1, expect.anything()]);
    expect(stderr).not.toContain("the database thread has ended");
  });

  test("a machine without the cgroup controllers that containers need", async () => {
    await sandbox.run(["mount", "-t", "tmpfs", "none", "/sys/fs/cgroup"]);
    const text = await errorOf([]);
    await sandbox.run(["umount", "/sys/fs/cgroup"]);
    expect(text).toMatch(/^K3SP_RUNTIME_FAILED {2}cgroup v1: the controllers memory and cpuset of \/sys\/fs\/cgroup are not enabled\n {2}k3s-p check-config .*\n {2}fix: add cgroup_memory=1 cgroup_enable=memory cgroup_enable=cpuset to the kernel's command line .*$/);
  });

  test("a kernel that takes no rules of nftables", async () => {
    put("/etc/rancher/nft", "#!/bin/sh\necho 'Error: Could not process rule: Operation not supported' >&2\necho '^^^^' >&2\nexit 1\n");
    const [place = ""] = (await sandbox.run(["sh", "-c", "ls /usr/sbin/nft /usr/bin/nft 2>/dev/null"])).stdout.trim().split("\n");
    await sandbox.run(["sh", "-c", `chmod +x /etc/rancher/nft && mount --bind /etc/rancher/nft ${place}`]);
    const text = await errorOf(["--disable", "network-policy"]);
    await sandbox.run(["umount", place]);
    expect(text).toMatch(/^K3SP_PLUGIN_START_FAILED {2}flannel: the kernel does not take the rules for masquerading: nft -f -: Error: Could not process rule: Operation not supported\n {2}fix: load nf_tables, .*check-config.*$/m);
  });

  test("networks of IPv6 alone", async () => {
    expect(await errorOf(["--cluster-cidr", "fd00:42::/56", "--service-cidr", "fd00:43::/112"])).toMatch(/^K3SP_CONFIG_INVALID {2}(cluster|service)-cidr: fd00:4\S+ is not of IPv4, and (flannel carries|kube-proxy serves) nothing else here\n {2}fix: give --/);
  });

  test.each([
    ["a host's name with an underscore", ["--node-name", "my_host"], /^K3SP_FLAG_INVALID {2}node-name: "my_host" is not a valid node name\n/],
    ["an argument that upstream's API server does not know", ["--kube-apiserver-arg", "audit-log-pth=-"], /^K3SP_FLAG_UNKNOWN {2}kube-apiserver-arg: unknown flag: --audit-log-pth; did you mean "--audit-log-path"\?\n {2}from --kube-apiserver-arg\n {2}fix: /],
  ])("%s", async (_, args, message) => {
    const { code, stdout, stderr } = await runServer(sandbox, [...api, ...args]);
    expect([code, stdout, stderr], "nothing has started").toEqual([1, "", expect.stringMatching(message)]);
  });

  test("a second server on the same data directory, which leaves the first one alone", async () => {
    const main = join(import.meta.dirname, "../../core/src/cli/main.ts");
    const first = sandbox.spawn([process.execPath, main, "server", "--node-name", "node1", ...api, "--data-dir", "/var/lib/rancher/one"]);
    let output = "";
    const ready = new Promise<void>((resolve) => first.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
      if (output.includes('"msg":"ready in ')) resolve();
    }));
    await Promise.race([ready, new Promise((resolve) => first.on("close", resolve))]);
    const text = await errorOf([...api, "--data-dir", "/var/lib/rancher/one", "--https-listen-port", "7443"]);
    const ended = new Promise((resolve) => first.on("close", resolve));
    first.kill("SIGTERM");
    expect(await ended, output).toBe(0);
    expect(output.split("\n").filter((line) => line && !line.startsWith('{"level":30'))).toEqual([]);
    expect(text).toMatch(/^K3SP_DATASTORE_LOCKED {2}\/var\/lib\/rancher\/one\/server\/db\/state\.db is used by another process\n {2}.*\n {2}fix: stop the other server that uses this data directory$/);
  });

  test("a machine without address and route runs, and says what will not be reached", async () => {
    const main = join(import.meta.dirname, "../../core/src/cli/main.ts");
    await sandbox.run(["sh", "-c", "ip -4 address save dev eth0 > /run/addresses && ip -4 address flush dev eth0"]);
    const server = sandbox.spawn([process.execPath, main, "server", "--node-name", "node1", "--data-dir", "/var/lib/rancher/alone"]);
    const ended = new Promise((resolve) => server.on("close", resolve));
    let output = "";
    server.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
      if (output.includes('"msg":"ready in ')) server.kill("SIGTERM");
    });
    expect(await ended, output).toBe(0);
    await sandbox.run(["sh", "-c", `ip address restore < /run/addresses; ip route replace default via ${sandbox.peerIp}`]);
    expect(output).toContain("node-ip: at 127.0.0.1 pods do not reach the API server: give this machine an IPv4 address, or name one with --node-ip");
    expect(output).toContain("this machine has no default route: its own programs reach no Service by its address");
  });

  test("no root: says so at once, and the API alone works", async () => {
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const main = join(import.meta.dirname, "../../core/src/cli/main.ts");
    const home = join(sandbox.dir, "home");
    await sandbox.run(["sh", "-c", `chmod 755 ${sandbox.dir} && mkdir ${home} && chown 65534:65534 ${home}`]);
    if ((await sandbox.run([...nobody, "test", "-r", main])).code !== 0) {
      console.log("skipped: the checkout cannot be read without root");
      return;
    }
    const run = (...args: string[]) => sandbox.run([...nobody, "env", `HOME=${home}`, "timeout", "5", process.execPath, main, "server", ...args], { timeout: 20_000 });
    const whole = await run();
    expect(whole.code).toBe(1);
    expect(whole.stderr).toMatch(/^K3SP_ROOT_REQUIRED {2}.*\n {2}fix: run it with sudo/m);
    expect((await run("--profile", "api")).stderr).toContain('"msg":"ready in');
  });

  test("a plugin that throws", async () => {
    const text = await errorOf([...api, "--plugin", fixture("throws-in-start")]);
    expect(text).toMatch(/^K3SP_PLUGIN_START_FAILED {2}throws-in-start 1\.0\.0 failed to start: no cable\n {2}from --plugin .*throws-in-start\n {2}at .*plugin\.ts:\d+:\d+.*\n {2}fix: correct the plugin, or start without it: --disable throws-in-start$/);
  });

  test("two plugins for one slot", async () => {
    const text = await errorOf(["--plugin", fixture("first-cni"), "--plugin", fixture("second-cni")]);
    expect(text).toMatch(/^K3SP_SLOT_CONFLICT {2}two plugins want the slot "cni"\n {2}first-cni 1\.0\.0 +from --plugin .*\n {2}second-cni 1\.0\.0 +from --plugin .*\n {2}fix: choose one with {2}--slot cni=first-cni$/);
  });

  test("a manifest with unknown fields, all problems at once", async () => {
    const text = await errorOf([...api, "--plugin", fixture("bad-manifest")]);
    expect(text).toContain("K3SP_MANIFEST_INVALID  4 problems in plugin manifests");
    expect(text).toContain('k3sp.provdes: unknown field; did you mean "provides"?');
    expect(text).toContain('k3sp.needs.datastor: unknown slot; did you mean "datastore"?');
    expect(text).toContain('k3sp.wants.cni: "*" does not pin a major version; use "^1"');
    expect(text).toContain('k3sp.criticality: "vital" is not allowed; allowed: required, optional');
  });

  test("a plugin that is not there", async () => {
    expect(await errorOf([...api, "--plugin", "./nowhere"])).toMatch(/^K3SP_PLUGIN_NOT_FOUND {2}.*nowhere: no such file or folder\n {2}fix: give --plugin a folder/);
  });

  test("a corrupt database file, which is left as it was", async () => {
    put(join(dataDir, "server/db/state.db"), "this is not a database".repeat(400));
    const text = await errorOf(api);
    expect(text).toMatch(/^K3SP_DATASTORE_CORRUPT {2}.*\/var\/lib\/rancher\/k3s\/server\/db\/state\.db/);
    expect(text).toMatch(/fix: .+/);
    const { stdout } = await sandbox.run(["head", "-c", "22", join(dataDir, "server/db/state.db")]);
    expect(stdout).toBe("this is not a database");
  });
});
