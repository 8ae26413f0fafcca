/** What the kubelet counts of its own work, under upstream's names. */
import { counter, exponential, exposition, histogram, linear, type Family, type Labels } from "@k3s-p/plugin-api/prometheus";
import type { Runtime } from "@k3s-p/plugin-api/slots";

export interface Figures {
  /** Runs the work and records how long it took, and whether it failed. */
  timed<T>(operation: Operation, labels: Labels, work: () => Promise<T>): Promise<T>;
  probed(labels: Labels, result: "successful" | "failed" | "unknown", seconds: number): void;
  /** The pod is gone: so are the figures of its probes. */
  forgetPod(uid: string): void;
  /** `seconds` since the kubelet saw the pod, and since it was made. */
  podStarted(seconds: number, total: number): void;
  containerStarted(type: string): void;
  containerFailed(type: string, code: string): void;
  pulled(bytes: number, seconds: number): void;
  evicted(signal: string): void;
  answered(labels: Labels, seconds: number): void;
  /** The runtime with its calls counted. */
  recorded(runtime: Runtime): Runtime;
  families(): readonly Family[];
  probeText(): string;
}

export type Operation = "turn" | "cgroup" | "mount" | "list";

const defaults = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const podBounds = [0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600];
const storageBounds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600];
const pullBounds = [1, 5, 10, 20, 30, 60, 180, 300, 600, 900, 1200, 1800, 2700, 3600];

export function kubeletFigures(now: () => number = () => performance.now()): Figures {
  const operations = {
    turn: histogram("kubelet_pod_worker_duration_seconds", "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync", defaults),
    cgroup: histogram("kubelet_cgroup_manager_duration_seconds", "Duration in seconds for cgroup manager operations. Broken down by method.", defaults),
    mount: histogram("storage_operation_duration_seconds", "Storage operation duration", storageBounds),
    list: histogram("kubelet_pleg_relist_duration_seconds", "Duration in seconds for relisting pods in PLEG.", defaults),
  };
  const podStart = histogram("kubelet_pod_start_duration_seconds", "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run", podBounds);
  const podTotal = histogram("kubelet_pod_start_total_duration_seconds", "Duration in seconds to start a pod since creation, including time to pull images and run init containers", podBounds);
  const pods = counter("kubelet_started_pods_total", "Cumulative number of pods started");
  const containers = counter("kubelet_started_containers_total", "Cumulative number of containers started");
  const failures = counter("kubelet_started_containers_errors_total", "Cumulative number of errors when starting containers");
  const pulls = histogram("kubelet_image_pull_duration_seconds", "Duration in seconds to pull an image.", pullBounds);
  const evictions = counter("kubelet_evictions", "Cumulative number of pod evictions by eviction signal");
  const requests = counter("kubelet_http_requests_total", "Number of the http requests received since the server started");
  const answers = histogram("kubelet_http_requests_duration_seconds", "Duration in seconds to serve http requests", defaults);
  const probes = counter("prober_probe_total", "Cumulative number of a liveness, readiness or startup probe for a container by result.");
  const probeTimes = histogram("prober_probe_duration_seconds", "Duration in seconds for a probe response.", [...defaults.slice(0, 8), ...linear(2, 1, 1), ...exponential(5, 2, 4)]);
  const probedPods = new Map<string, Labels>();
  const runtimeCalls = counter("kubelet_runtime_operations_total", "Cumulative number of runtime operations by operation type.");
  const runtimeErrors = counter("kubelet_runtime_operations_errors_total", "Cumulative number of runtime operation errors by operation type.");
  const runtimeTimes = histogram("kubelet_runtime_operations_duration_seconds", "Duration in seconds of runtime operations. Broken down by operation type.", exponential(0.005, 2.5, 14));

  async function call(operation: string, work: () => Promise<unknown>): Promise<unknown> {
    const labels = { operation_type: operation };
    const begun = now();
    runtimeCalls.add(labels);
    try {
      return await work();
    } catch (error) {
      runtimeErrors.add(labels);
      throw error;
    } finally {
      runtimeTimes.observe((now() - begun) / 1000, labels);
    }
  }

  return {
    async timed(operation, labels, work) {
      const begun = now();
      let status = "success";
      try {
        return await work();
      } catch (error) {
        status = "fail-unknown";
        throw error;
      } finally {
        operations[operation].observe((now() - begun) / 1000, operation === "mount" ? { ...labels, status } : labels);
      }
    },
    probed(labels, result, seconds) {
      const { pod_uid: uid = "", ...rest } = labels;
      probes.add({ ...labels, result });
      if (result !== "unknown") probeTimes.observe(seconds, rest);
      probedPods.set(uid, { namespace: labels.namespace!, pod: labels.pod! });
    },
    forgetPod(uid) {
      const pod = probedPods.get(uid);
      if (!pod) return;
      probedPods.delete(uid);
      probes.drop({ pod_uid: uid });
      probeTimes.drop(pod);
    },
    podStarted(seconds, total) {
      pods.add();
      podStart.observe(seconds);
      podTotal.observe(total);
    },
    containerStarted: (type) => containers.add({ container_type: type }),
    containerFailed: (type, code) => failures.add({ code, container_type: type }),
    pulled: (bytes, seconds) => pulls.observe(seconds, { image_size_in_bytes: sizeClass(bytes) }),
    evicted: (signal) => evictions.add({ eviction_signal: signal }),
    answered(labels, seconds) {
      requests.add(labels);
      answers.observe(seconds, labels);
    },
    recorded(runtime) {
      const methods = Object.entries(calls).map(([method, operation]) =>
        [method, (...args: unknown[]) => call(operation, () => (runtime as any)[method](...args))]);
      const own: Readonly<Record<PropertyKey, unknown>> = Object.fromEntries(methods);
      return new Proxy({} as Runtime, { get: (_, key) => own[key] ?? Reflect.get(runtime, key) });
    },
    families: () => [
      ...Object.values(operations), podStart, podTotal, pods, containers, failures, pulls, evictions, requests, answers,
      runtimeCalls, runtimeErrors, runtimeTimes,
    ].map((each) => each.family()),
    probeText: () => exposition([probes.family(), probeTimes.family()]),
  };
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const sizes: readonly (readonly [limit: number, name: string])[] = [
  [10 * MIB, "0-10MB"], [100 * MIB, "10MB-100MB"], [500 * MIB, "100MB-500MB"], [GIB, "500MB-1GB"], [5 * GIB, "1GB-5GB"], [10 * GIB, "5GB-10GB"],
  [20 * GIB, "10GB-20GB"], [30 * GIB, "20GB-30GB"], [40 * GIB, "30GB-40GB"], [60 * GIB, "40GB-60GB"], [100 * GIB, "60GB-100GB"],
];

const sizeClass = (bytes: number): string => sizes.find(([limit]) => bytes <= limit)?.[1] ?? "GT100GB";

/** Upstream's names of the calls that it counts. */
const calls: Readonly<Partial<Record<keyof Runtime, string>>> = {
  version: "version", status: "status", runPodSandbox: "run_podsandbox", stopPodSandbox: "stop_podsandbox", removePodSandbox: "remove_podsandbox",
  podSandboxStatus: "podsandbox_status", listPodSandboxes: "list_podsandbox", createContainer: "create_container", startContainer: "start_container",
  stopContainer: "stop_container", removeContainer: "remove_container", listContainers: "list_containers", containerStatus: "container_status",
  updateContainerResources: "update_container", reopenContainerLog: "reopen_container_log", execSync: "exec_sync", execUrl: "exec", attachUrl: "attach",
  portForwardUrl: "port_forward", listContainerStats: "list_container_stats", pullImage: "pull_image", imageStatus: "image_status",
  listImages: "list_images", removeImage: "remove_image", imageFsInfo: "image_fs_info",
};
