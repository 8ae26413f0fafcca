import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { persistentVolumeClaims, persistentVolumes, type Pod } from "@k3s-p/plugin-api/kube";
import { cgroups } from "../cgroups.ts";
import { podLogDir, volumeDir } from "../paths.ts";
import type { PodManager } from "../pod-manager.ts";
import type { PodServices } from "../pod-services.ts";
import { harness, testPod, type Harness } from "../testing/harness.ts";
import { cadvisorMetrics } from "./cadvisor.ts";
import { cgroupDetails } from "./cgroup-details.ts";
import { kubeletMetrics, resourceMetrics } from "./metrics.ts";
import { stats, type Stats } from "./stats.ts";
import { summary } from "./summary.ts";

const claim = {
  metadata: { name: "data", namespace: "default", uid: "u-data" }, spec: { volumeName: "pv-data" }, status: { phase: "Bound" },
};

describe("a node with one pod", () => {
  let root: string;
  let h: Harness;
  let pod: Pod;
  let services: PodServices;
  let figures: Stats;
  const manager = { pods: () => [pod], active: () => [pod] } as unknown as PodManager;
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  };

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "figures-"));
    h = harness(root);
    mkdirSync(join(root, "volume"));
    h.kube.put(persistentVolumes, { metadata: { name: "pv-data" }, spec: { hostPath: { path: join(root, "volume") }, claimRef: { uid: "u-data" } } } as never);
    h.kube.put(persistentVolumeClaims, claim as never);
    const mounts = ["scratch", "data", "host"].map((name) => ({ name, mountPath: `/${name}` }));
    const made = testPod("web", {
      containers: [{ name: "c", image: "busybox", volumeMounts: mounts }],
      volumes: [{ name: "scratch", emptyDir: {} }, { name: "data", persistentVolumeClaim: { claimName: "data" } }, { name: "host", hostPath: { path: "/tmp" } }],
    });
    h.run({ ...made, metadata: { ...made.metadata, creationTimestamp: new Date(Date.now() - 7000).toISOString() } } as unknown as Pod);
    await h.until(() => h.api("web")?.status?.phase === "Running");
    pod = h.api("web")!;
    const id = [...h.runtime.containers.keys()][0]!;
    const runtime = { ...h.runtime, listContainerStats: async () => [{
      id, labels: { "io.kubernetes.pod.uid": "uid-web" }, timestamp: BigInt(Date.now()) * 1_000_000n, cpuUsageCoreNanoSeconds: 2_500_000_000n,
      memoryWorkingSetBytes: 4096, writableLayerBytes: 100, writableLayerInodes: 3,
    }], imageFsInfo: async () => ({ mountpoint: "/", usedBytes: 77, inodesUsed: 7 }) };
    // Cgroup v2, as far as the figures need it.
    const cgroupRoot = join(root, "cg2");
    put(join(cgroupRoot, "cgroup.controllers"), "cpu memory pids io");
    services = { ...h.services, runtime, cgroupRoot, cgroups: { ...cgroups(cgroupRoot) } };
    const folder = join(cgroupRoot, services.cgroups.pathOf(pod));
    for (const path of [folder, join(folder, id), join(cgroupRoot, "kubepods")]) {
      put(join(path, "cpu.stat"), "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 500000\n");
      put(join(path, "cpu.max"), "50000 100000\n");
      put(join(path, "memory.current"), "10000\n");
      put(join(path, "memory.stat"), "anon 6000\nfile 3000\ninactive_file 1000\npgfault 12\npgmajfault 2\nfile_mapped 500\n");
      put(join(path, "memory.swap.current"), "64\n");
      put(join(path, "pids.current"), "9\n");
      put(join(path, "io.stat"), "8:0 rbytes=11 wbytes=22 rios=3 wios=4 dbytes=0\n");
    }
    put(join(folder, id, "cgroup.procs"), "4000001\n4000002\n");
    put(join(volumeDir(services.node.paths, "uid-web", "empty-dir", "scratch"), "deep/file"), "x".repeat(5000));
    put(join(podLogDir(services.node.paths, pod), "c/0.log"), "y".repeat(3000));
    figures = stats(services, manager);
  });
  afterAll(() => {
    h.stop();
    rmSync(root, { recursive: true, force: true });
  });

  it("is summed up as upstream does it, volumes with their claims", async () => {
    const { node, pods: [web] } = await summary(services, figures) as any;
    expect(Object.keys(node)).toEqual(["nodeName", "startTime", "cpu", "memory", "swap", "systemContainers", "network", "fs", "runtime", "rlimit"]);
    expect(node.systemContainers.map((c: { name: string }) => c.name)).toContain("pods");
    expect(node.runtime.imageFs).toMatchObject({ usedBytes: 77, inodesUsed: 7 });
    expect(node.runtime.containerFs.capacityBytes).toBeGreaterThan(0);
    expect(node.rlimit.maxpid).toBeGreaterThan(node.rlimit.curproc);
    expect(node.fs.inodes).toBe(node.fs.inodesFree + node.fs.inodesUsed);
    expect(web.memory).toMatchObject({ usageBytes: 10000, workingSetBytes: 9000, rssBytes: 6000, pageFaults: 12, majorPageFaults: 2 });
    expect(web.swap.swapUsageBytes).toBe(64);
    expect(web.process_stats).toEqual({ process_count: 2 });
    expect(web.volume.map((v: { name: string }) => v.name)).toEqual(["data", "scratch"]);
    const [data, scratch] = web.volume;
    expect(data.pvcRef).toEqual({ name: "data", namespace: "default" });
    expect(data.usedBytes).toBeGreaterThan(0);
    expect(scratch).toMatchObject({ usedBytes: 8192, inodesUsed: 3 });
    expect(scratch).not.toHaveProperty("pvcRef");
    const [c] = web.containers;
    expect(c).toMatchObject({ name: "c", cpu: { usageCoreNanoSeconds: 2_500_000_000 }, memory: { workingSetBytes: 4096, rssBytes: 6000 }, rootfs: { usedBytes: 100, inodesUsed: 3 }, logs: { usedBytes: 4096, inodesUsed: 2 } });
    expect(web["ephemeral-storage"]).toMatchObject({ usedBytes: 8192 + 100 + 4096, inodesUsed: 3 + 3 + 2 });
  });

  it("has the figures of claims, pods, containers, calls and mounts at /metrics", async () => {
    services.figures.recorded(services.runtime).version();
    const text = await kubeletMetrics(services, manager, figures);
    for (const line of [
      "kubelet_running_pods 1", 'kubelet_running_containers{container_state="running"} 1', 'kubelet_active_pods{static="false"} 1', 'kubelet_node_name{node="n1"} 1',
      "kubelet_started_pods_total 1", 'kubelet_started_containers_total{container_type="container"} 1', 'kubelet_started_containers_total{container_type="pod_sandbox"} 1',
      'kubelet_runtime_operations_total{operation_type="version"} 1', "kubelet_pod_start_duration_seconds_count 1",
      'kubelet_pod_start_total_duration_seconds_bucket{le="6"} 0',
      'storage_operation_duration_seconds_count{operation_name="volume_mount",volume_plugin="kubernetes.io/empty-dir",migrated="false",status="success"} 1',
      'volume_manager_total_volumes{plugin_name="kubernetes.io/empty-dir",state="actual_state_of_world"} 1',
    ]) expect(text).toContain(`${line}\n`);
    for (const name of ["available_bytes", "capacity_bytes", "inodes", "inodes_free", "inodes_used", "used_bytes"]) {
      expect(text).toMatch(new RegExp(`^kubelet_volume_stats_${name}\\{namespace="default",persistentvolumeclaim="data"\\} \\d+$`, "m"));
    }
    expect(text).toMatch(/^kubelet_pod_worker_duration_seconds_count\{operation_type="sync"\} \d+$/m);
    expect(text).toMatch(/^process_cpu_seconds_total \d/m);
    expect(text).not.toContain('persistentvolumeclaim="scratch"');
  });

  it("has cAdvisor's names and labels, for the pod as a whole and for each container", async () => {
    const text = await cadvisorMetrics(services, figures);
    const id = [...h.runtime.containers.keys()][0]!;
    const of = `container="c",id="/kubepods/besteffort/poduid-web/${id}",image="busybox:latest",name="${id}",namespace="default",pod="web"`;
    const whole = 'container="",id="/kubepods/besteffort/poduid-web",image="",name="",namespace="default",pod="web"';
    for (const start of [
      `container_cpu_usage_seconds_total{${of},cpu="total"} 2.5 `, `container_cpu_usage_seconds_total{${whole},cpu="total"} 3 `, `container_cpu_user_seconds_total{${of}} 2 `,
      `container_cpu_cfs_throttled_periods_total{${of}} 4 `, `container_cpu_cfs_periods_total{${of}} 10 `, `container_memory_working_set_bytes{${of}} 4096 `,
      `container_memory_rss{${of}} 6000 `, `container_memory_cache{${of}} 3000 `, `container_memory_swap{${of}} 64 `, `container_processes{${of}} 2 `, `container_threads{${of}} 9 `,
      `container_fs_reads_bytes_total{${of},device="8:0"} 11 `, `container_fs_writes_total{${of},device="8:0"} 4 `, `container_fs_usage_bytes{${of},device=""} 100 `,
      `container_memory_failures_total{${of},failure_type="pgmajfault",scope="hierarchy"} 2 `, `container_spec_cpu_quota{${of}} 50000 `,
    ]) expect(text).toContain(`\n${start}`);
    expect(text).toMatch(/^machine_cpu_cores \d+$/m);
    expect(text).toContain("machine_memory_bytes 8589934592\n");
  });

  it("has the names that the metrics API reads, with swap", async () => {
    const text = resourceMetrics(await figures.collect());
    expect(text).toMatch(/^container_cpu_usage_seconds_total\{container="c",namespace="default",pod="web"\} 2.5 \d+$/m);
    expect(text).toMatch(/^container_swap_usage_bytes\{container="c",namespace="default",pod="web"\} 64 \d+$/m);
    expect(text).toMatch(/^pod_memory_working_set_bytes\{namespace="default",pod="web"\} 9000 \d+$/m);
    expect(text).toContain("\nresource_scrape_error 0\n");
  });
});

it("reads cgroup v1 as well", async () => {
  const root = mkdtempSync(join(tmpdir(), "cg1-"));
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  put("cpuacct/p/cpuacct.stat", "user 150\nsystem 50\n");
  put("cpu/p/cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 500000000\n");
  put("cpu/p/cpu.cfs_quota_us", "-1\n");
  put("cpu/p/cpu.cfs_period_us", "100000\n");
  put("memory/p/memory.stat", "cache 1\ntotal_cache 3000\ntotal_mapped_file 500\n");
  put("memory/p/memory.limit_in_bytes", "9223372036854771712\n");
  put("pids/p/pids.current", "9\n");
  put("pids/p/pids.max", "max\n");
  put("pids/p/cgroup.procs", "1\n2\n");
  put("pids/p/c/cgroup.procs", "3\n");
  put("blkio/p/blkio.throttle.io_service_bytes_recursive", "8:16 Read 1\n8:16 Write 2\n8:16 Total 3\nTotal 3\n");
  put("blkio/p/blkio.throttle.io_serviced_recursive", "8:16 Read 5\n8:16 Write 6\n");
  expect(await cgroupDetails(root, 1, "p")).toEqual({
    cpuUser: 1.5, cpuSystem: 0.5, periods: 10, throttledPeriods: 4, throttledSeconds: 0.5, quota: 0, period: 100_000, shares: 0,
    memoryCache: 3000, memoryMapped: 500, memoryMax: 0, memoryLimit: 0, memoryFailures: 0, processes: 3, threads: 9, processLimit: 0,
    io: [{ device: "8:16", readBytes: 1, writeBytes: 2, reads: 5, writes: 6 }],
  });
  rmSync(root, { recursive: true });
});
