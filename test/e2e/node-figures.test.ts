/** What monitoring, load balancers and operators ask of a node: health ports, figures of pods and volumes, pressure and eviction, stop signals. */
import { describe, expect, test } from "vitest";
import { eventually, httpGet } from "../kit/cluster.ts";
import { sandboxUnavailable } from "../kit/sandbox.ts";
import { image, useCluster } from "./use-cluster.ts";

const reason = sandboxUnavailable();
if (reason) console.log(`skipped: figures of a node ${reason}`);

/** A node that is short of memory by its own measure, whatever it has. */
const short = ["eviction-soft=memory.available<100%", "eviction-soft-grace-period=memory.available=20s", "eviction-max-pod-grace-period=2", "healthz-port=10348"];

const toleration = { key: "node.kubernetes.io/memory-pressure", operator: "Exists", effect: "NoSchedule" };
const pod = (name: string, spec: object) => ({ apiVersion: "v1", kind: "Pod", metadata: { name }, spec: { tolerations: [toleration], restartPolicy: "Never", ...spec } });
const main = (script: string, more: object = {}) => ({ name: "main", image, command: ["sh", "-c", script], ...more });
const claim = {
  apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name: "data" }, spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Mi" } } },
};
/** Critical, so that it stays. */
const writer = pod("writer", {
  priorityClassName: "system-node-critical", terminationGracePeriodSeconds: 0,
  volumes: [{ name: "data", persistentVolumeClaim: { claimName: "data" } }, { name: "scratch", emptyDir: {} }],
  containers: [main("head -c 100000 /dev/zero > /scratch/x; echo hello; exec sleep 1000", {
    resources: { limits: { cpu: "100m", memory: "64Mi" } }, readinessProbe: { exec: { command: ["test", "-f", "/scratch/x"] }, periodSeconds: 1 },
    volumeMounts: [{ name: "data", mountPath: "/data" }, { name: "scratch", mountPath: "/scratch" }],
  })],
});
const trap = "trap 'exit 7' USR1; trap 'exit 8' TERM; while :; do sleep 0.1; done";
const signalled = pod("signalled", {
  priorityClassName: "system-node-critical", os: { name: "linux" }, activeDeadlineSeconds: 5, containers: [main(trap, { lifecycle: { stopSignal: "SIGUSR1" } })],
});
const victim = pod("victim", { containers: [main("exec sleep 1000")] });

describe.skipIf(reason)("a node", () => {
  const cluster = useCluster({
    args: ["--disable", "traefik,metrics-server", ...short.map((arg) => `--kubelet-arg=${arg}`)],
    manifest: JSON.stringify({ apiVersion: "v1", kind: "List", items: [claim, writer, signalled, victim] }), until: ["wait", "--for=condition=Ready", "pod/writer"],
  });
  const field = (object: string, path: string) => cluster.kubectl("get", object, "-o", `jsonpath={${path}}`);
  const page = (path: string) => cluster.kubectl("get", "--raw", `/api/v1/nodes/node1/proxy/${path}`);

  test("answers at the ports of the kubelet and the proxy", async () => {
    const get = async (port: number, path: string) => {
      const { status, body } = await httpGet(cluster.sandbox.run, "127.0.0.1", port, path);
      return [status, body] as const;
    };
    expect(await get(10348, "/healthz")).toEqual([200, "ok"]);
    const [status, body] = await get(10256, "/healthz");
    expect([status, JSON.parse(body)]).toEqual([200, expect.objectContaining({ nodeEligible: true })]);
    expect(await get(10249, "/proxyMode")).toEqual([200, "nftables"]);
    expect((await get(10249, "/metrics"))[1]).toMatch(/^kubeproxy_sync_proxy_rules_duration_seconds_count\{ip_family="IPv4"\} [1-9]/m);
  });

  test("tells how full volumes are, and what containers take, in upstream's words", async () => {
    const { node, pods } = JSON.parse(await page("stats/summary"));
    const found = pods.find(({ podRef }: { podRef: { name: string } }) => podRef.name === "writer");
    expect(node).toMatchObject({ nodeName: "node1", rlimit: { maxpid: expect.any(Number) }, runtime: { imageFs: { usedBytes: expect.any(Number) } } });
    const volumes = Object.fromEntries(found.volume.map((each: { name: string }) => [each.name, each]));
    expect(volumes.data).toMatchObject({ pvcRef: { name: "data", namespace: "default" }, capacityBytes: expect.any(Number) });
    expect(volumes.scratch.usedBytes).toBeGreaterThanOrEqual(100_000);
    expect(found.containers[0].logs.usedBytes).toBeGreaterThan(0);
    expect(found.process_stats.process_count).toBeGreaterThan(0);
    const metrics = await page("metrics");
    expect(metrics).toMatch(/^kubelet_volume_stats_used_bytes\{namespace="default",persistentvolumeclaim="data"\} \d+$/m);
    expect(metrics).toMatch(/^kubelet_runtime_operations_total\{operation_type="run_podsandbox"\} \d+$/m);
    const cadvisor = await page("metrics/cadvisor");
    const names = ["container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_memory_rss", "container_cpu_cfs_periods_total", "container_processes", "container_spec_memory_limit_bytes"];
    const told = (name: string) => new RegExp(`^${name}\\{container="main",[^}]*pod="writer"[^}]*\\} (0\\.\\d|[1-9])`, "m").test(cadvisor);
    expect(names.filter((name) => !told(name))).toEqual([]);
    expect(await page("metrics/probes")).toMatch(/^prober_probe_total\{container="main",namespace="default",pod="writer",pod_uid="[^"]+",probe_type="Readiness",result="successful"\} [1-9]/m);
  });

  test("stops a container by the signal that its pod names", async () => {
    expect(await field("pod/signalled", ".status.containerStatuses[0].stopSignal")).toBe("SIGUSR1");
    await cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/signalled", "--timeout=30s");
    expect(await field("pod/signalled", ".status.containerStatuses[0].state.terminated.exitCode")).toBe("7");
  });

  test("short of memory says so, is tainted, takes no pod that states nothing, and evicts after the grace period", async () => {
    expect(await field("node/node1", '.status.conditions[?(@.type=="MemoryPressure")].reason')).toBe("KubeletHasInsufficientMemory");
    await eventually(async () => (await field("node/node1", ".spec.taints[*].key")).includes("node.kubernetes.io/memory-pressure"), "the taint", 20_000);
    await cluster.apply(JSON.stringify(pod("late", { tolerations: [], nodeName: "node1", containers: [main("exec sleep 1000")] })));
    await cluster.kubectl("wait", "--for=jsonpath={.status.reason}=Evicted", "pod/late", "pod/victim", "--timeout=60s");
    expect(await field("pod/late", ".status.message")).toBe("Pod was rejected: The node had condition: [MemoryPressure]. ");
    expect(await field("pod/victim", ".status.message")).toMatch(/^The node was low on resource: memory\. Threshold quantity: \d+Ki, available: \d+Ki\. Container main was using \d+Ki, request is 0, has larger consumption of memory\. $/);
    expect(await field("pod/victim", '.status.conditions[?(@.type=="DisruptionTarget")].reason')).toBe("TerminationByKubelet");
    expect(await cluster.kubectl("get", "events", "-A", "--field-selector", "reason=EvictionThresholdMet", "-o", "jsonpath={.items[0].message}")).toBe("Attempting to reclaim memory");
    expect(await page("metrics")).toContain('kubelet_evictions{eviction_signal="memory.available"} ');
    expect(await field("pod/writer", ".status.phase")).toBe("Running");
  }, 90_000);
});
