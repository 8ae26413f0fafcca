/** The plugin against the real containerd, in folders and on a socket of its own. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ContainerConfig, PodSandboxConfig, Runtime, RuntimeEvent } from "@k3s-p/plugin-api/slots";
import { localRunner, startAlone, testNode, type StartedPlugin } from "@k3s-p/plugin-api/testing";
import plugin from "./plugin.ts";
import { busyboxArchive } from "./test-image.ts";

const busybox = "/usr/bin/busybox";
const missing = [
  process.getuid?.() === 0 ? "" : "root",
  ...["containerd", "runc", "ctr"].map((name) => (spawnSync(name, ["--version"]).error ? name : "")),
  existsSync(busybox) ? "" : "busybox-static",
].filter(Boolean);
if (missing.length) console.warn(`containerd integration test skipped: needs ${missing.join(", ")}`);

const image = "docker.io/library/busybox:k3sp-test";
const bridge = "k3spct0";

describe.skipIf(missing.length > 0)("containerd, for real", () => {
  let root: string;
  let started: StartedPlugin<Runtime>;
  let runtime: Runtime;
  const events: RuntimeEvent[] = [];
  const runner = localRunner();
  const begin = () => startAlone<Runtime>(plugin, { needs: { node: testNode(root), runner }, dir: root, program: "containerd" });
  const daemonPid = () => Number(readFileSync(join(root, "run/containerd/containerd.pid"), "utf8"));

  const sandboxConfig = (name: string, hostNetwork: boolean): PodSandboxConfig => ({
    metadata: { name, uid: `uid-${name}`, namespace: "default", attempt: 0 },
    ...(hostNetwork ? {} : { hostname: name }),
    logDirectory: join(root, "log", name),
    labels: { app: name },
    linux: {
      cgroupParent: `/k3sp-test-${process.pid}/${name}`,
      securityContext: { namespaceOptions: { network: hostNetwork ? 2 : 0, pid: 1, ipc: 0 } },
    },
  });
  const create = async (sandbox: string, config: PodSandboxConfig, name: string, command: readonly string[], more: Partial<ContainerConfig> = {}) => {
    const id = await runtime.createContainer(
      sandbox, { metadata: { name, attempt: 0 }, image: { image }, command, logPath: `${name}.log`, labels: { app: name }, ...more }, config,
    );
    await runtime.startContainer(id);
    return id;
  };
  const until = async (what: () => unknown, ms = 10_000) => {
    for (const end = Date.now() + ms; !(await what());) {
      if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };

  beforeAll(async () => {
    root = mkdtempSync("/tmp/k3sp-ct-");
    mkdirSync(join(root, "agent/images"), { recursive: true });
    writeFileSync(join(root, "agent/images/busybox.tar"), busyboxArchive(readFileSync(busybox), image));
    started = await begin();
    runtime = started.impl;
    runtime.subscribe((event) => events.push(event), () => undefined);
  }, 60_000);

  afterAll(async () => {
    for (const { id } of await runtime.listPodSandboxes()) {
      await runtime.stopPodSandbox(id);
      await runtime.removePodSandbox(id);
    }
    await started.stop();
    spawnSync("ip", ["link", "delete", bridge]);
    for (const controller of ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified", "."]) {
      const top = `/sys/fs/cgroup/${controller}/k3sp-test-${process.pid}`;
      if (existsSync(top)) spawnSync("find", [top, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
    }
    const mounts = readFileSync("/proc/mounts", "utf8").split("\n").map((line) => line.split(" ")[1] ?? "");
    expect(mounts.filter((path) => path.startsWith(root))).toEqual([]);
    rmSync(root, { recursive: true, force: true });
  }, 60_000);

  it("says its version and that the runtime is ready", async () => {
    expect((await runtime.version()).runtimeName).toBe("containerd");
    expect((await runtime.status()).runtimeReady).toBe(true);
  });

  it("imports archives of agent/images at start and keeps them from garbage collection", async () => {
    const found = await runtime.imageStatus(image);
    expect(found?.repoTags).toEqual([image]);
    expect(found?.pinned).toBe(true);
    expect((await runtime.imageStatus(runtime.pauseImage))?.pinned).toBe(true);
    expect(await runtime.imageStatus("docker.io/library/nothing:here")).toBeUndefined();
  });

  it("imports a gzipped archive that is put there later", async () => {
    const later = "docker.io/library/later:1";
    writeFileSync(join(root, "agent/images/later.tar.gz"), gzipSync(busyboxArchive(readFileSync(busybox), later)));
    await until(async () => (await runtime.imageStatus(later)) !== undefined);
  }, 20_000);

  it("stops a container by the signal that its configuration names", async () => {
    const config = sandboxConfig("signal", true);
    const sandbox = await runtime.runPodSandbox(config);
    const command = ["sh", "-c", "trap 'exit 7' USR1; trap 'exit 8' TERM; echo ready; while :; do sleep 0.1; done"];
    const id = await create(sandbox, config, "main", command, { stopSignal: "SIGUSR1" });
    expect((await runtime.containerStatus(id))?.stopSignal).toBe("SIGUSR1");
    await until(() => readFileSync(join(root, "log/signal/main.log"), "utf8").includes("ready"));
    await runtime.stopContainer(id, 20);
    expect(await runtime.containerStatus(id)).toMatchObject({ state: "EXITED", exitCode: 7 });
    await runtime.stopPodSandbox(sandbox);
    await runtime.removePodSandbox(sandbox);
  }, 20_000);

  it("runs a pod on the host's network: exec, logs, stats, stop, remove", async () => {
    const config = sandboxConfig("host", true);
    const sandbox = await runtime.runPodSandbox(config);
    expect(await runtime.podSandboxStatus(sandbox)).toMatchObject({ state: "READY", ips: [], labels: { app: "host" } });
    const id = await create(sandbox, config, "main", ["sh", "-c", "echo hello; sleep 1000"]);
    expect(await runtime.containerStatus(id)).toMatchObject({ state: "RUNNING", podSandboxId: sandbox, exitCode: 0 });
    expect(existsSync(join(root, "run/containerd/io.containerd.runtime.v2.task/k8s.io", id, "rootfs/bin/busybox"))).toBe(true);

    const exec = await runtime.execSync(id, ["sh", "-c", "echo out; echo err >&2; exit 3"], 10);
    expect([String(exec.stdout), String(exec.stderr), exec.exitCode]).toEqual(["out\n", "err\n", 3]);
    await expect(runtime.execSync(id, ["sleep", "100"], 1)).rejects.toMatchObject({ code: 4 });
    await until(() => readFileSync(join(root, "log/host/main.log"), "utf8").includes(" stdout F hello\n"));
    const [stats] = await runtime.listContainerStats();
    expect(stats).toMatchObject({ id, labels: { app: "main" } });
    expect(stats!.memoryWorkingSetBytes).toBeGreaterThan(0);
    expect(await runtime.execUrl(id, ["sh"], { stdin: true, stdout: true, tty: true })).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/exec\//);
    expect((await runtime.imageFsInfo()).mountpoint).toContain(root);

    await runtime.updateContainerResources(id, { memoryLimitInBytes: 64 * 1024 * 1024 });
    await runtime.reopenContainerLog(id);
    await runtime.stopContainer(id, 0);
    await until(() => events.some((event) => event.type === "exited" && event.containerId === id));
    expect(await runtime.containerStatus(id)).toMatchObject({ state: "EXITED", exitCode: 137 });
    await runtime.removeContainer(id);
    expect(await runtime.containerStatus(id)).toBeUndefined();
    await runtime.stopPodSandbox(sandbox);
    await runtime.removePodSandbox(sandbox);
    expect(await runtime.podSandboxStatus(sandbox)).toBeUndefined();
  }, 60_000);

  it("pushes an exit only when the status shows it", async () => {
    const config = sandboxConfig("exits", true);
    const sandbox = await runtime.runPodSandbox(config);
    const seen = new Promise<string | undefined>((resolve) => {
      const end = runtime.subscribe(({ type, containerId }) => {
        if (type !== "exited" || containerId === sandbox) return;
        end();
        void runtime.containerStatus(containerId).then((status) => resolve(`${status?.state} ${status?.exitCode} ${status?.reason}`));
      }, () => undefined);
    });
    await create(sandbox, config, "brief", ["sh", "-c", "exit 7"]);
    expect(await seen).toBe("EXITED 7 Error");
    await runtime.removePodSandbox(sandbox);
  }, 60_000);

  it("gives a pod an address by CNI and tells the reason when the network is missing", async () => {
    const config = sandboxConfig("net", false);
    await expect(runtime.runPodSandbox(config)).rejects.toThrow(/cni/i);
    mkdirSync(join(root, "agent/etc/cni/net.d"), { recursive: true });
    writeFileSync(join(root, "agent/etc/cni/net.d/10-test.conflist"), JSON.stringify({
      cniVersion: "1.0.0", name: "test",
      plugins: [{ type: "bridge", bridge, ipam: { type: "host-local", subnet: "10.213.77.0/24", dataDir: join(root, "ipam") } }],
    }));
    await until(async () => (await runtime.status()).networkReady);
    const sandbox = await runtime.runPodSandbox({ ...config, metadata: { ...config.metadata, attempt: 1 } });
    expect((await runtime.podSandboxStatus(sandbox))?.ips[0]).toMatch(/^10\.213\.77\./);
    const id = await create(sandbox, config, "main", ["sleep", "1000"]);
    expect(String((await runtime.execSync(id, ["hostname"], 10)).stdout)).toBe("net\n");
    expect(await runtime.portForwardUrl(sandbox, [80])).toMatch(/^http/);
  }, 60_000);

  it("is refused where another containerd answers", async () => {
    await expect(begin()).rejects.toThrow(`another containerd answers on ${join(root, "run/containerd/containerd.sock")}`);
  }, 20_000);

  const running = async () => (await runtime.listContainers()).filter((each) => each.state === "RUNNING");

  it("ends containerd with the plugin, and finds the containers running after the next start", async () => {
    const before = await running();
    expect(before).toHaveLength(1);
    const pid = daemonPid();
    await started.stop();
    expect([existsSync(`/proc/${pid}`), existsSync(join(root, "run/containerd/containerd.pid"))]).toEqual([false, false]);
    expect(readFileSync(join(root, "agent/containerd/containerd.log"), "utf8")).toContain("level=info");
    started = await begin();
    runtime = started.impl;
    expect(await running()).toEqual(before);
  }, 60_000);

  it("fails with containerd, and finds the containers running after a restart", async () => {
    const [container] = await running();
    process.kill(daemonPid(), "SIGKILL");
    await until(() => started.failures.length);
    await started.stop();
    started = await begin();
    runtime = started.impl;
    expect((await runtime.containerStatus(container!.id))?.state).toBe("RUNNING");
    expect(String((await runtime.execSync(container!.id, ["echo", "still here"], 10)).stdout)).toBe("still here\n");
  }, 60_000);
});
