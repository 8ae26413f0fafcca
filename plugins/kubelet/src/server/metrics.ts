/** `/metrics` and `/metrics/resource`: upstream's names, for what there is here. */
import { exposition, family, processFamilies, single, type Family, type Labels } from "@k3s-p/plugin-api/prometheus";
import { allContainers, isMirror, isStatic, nameOf, namespaceOf, uidOf } from "../pod.ts";
import { KUBELET_VERSION } from "../node/node-object.ts";
import type { PodManager } from "../pod-manager.ts";
import type { PodServices } from "../pod-services.ts";
import { pluginName } from "../volumes/names.ts";
import type { ContainerFigures, NodeFigures, Stats, VolumeFigures } from "./stats.ts";

const seconds = (nanos: bigint): number => Number(nanos) / 1e9;

/** Every container with the labels that name it. */
const containersOf = ({ pods }: NodeFigures) => pods.flatMap(({ pod, containers }) => containers.map((c) => ({
  c, labels: { container: c.name, namespace: namespaceOf(pod), pod: nameOf(pod) } as Labels,
})));

export function resourceMetrics(figures: NodeFigures): string {
  const { usage, pods } = figures;
  const containers = containersOf(figures);
  const measured = pods.flatMap(({ pod, usage: used }) =>
    used ? [{ used, labels: { namespace: namespaceOf(pod), pod: nameOf(pod) } }] : []);
  const ofContainers = (value: (c: ContainerFigures) => number | undefined) => containers.flatMap(({ c, labels }) => {
    const found = value(c);
    return found === undefined ? [] : [{ labels, value: found, time: c.time }];
  });
  return exposition([
    family("container_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds", ofContainers((c) => seconds(c.cpuNanos))),
    family("container_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the container in bytes", ofContainers((c) => c.stats.memoryWorkingSetBytes)),
    family("container_start_time_seconds", "gauge", "[STABLE] Start time of the container since unix epoch in seconds",
      containers.map(({ c, labels }) => ({ labels, value: seconds(c.startedAt) }))),
    family("container_swap_usage_bytes", "gauge", "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems", ofContainers((c) => c.usage?.swap)),
    family("node_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
      [{ value: seconds(usage.cpuNanos), time: usage.time }]),
    family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes", [{ value: usage.workingSet, time: usage.time }]),
    family("node_swap_usage_bytes", "gauge", "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems", [{ value: usage.swap, time: usage.time }]),
    family("pod_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
      measured.map(({ used, labels }) => ({ labels, value: seconds(used.cpuNanos), time: used.time }))),
    family("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes",
      measured.map(({ used, labels }) => ({ labels, value: used.workingSet, time: used.time }))),
    family("pod_swap_usage_bytes", "gauge", "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
      measured.map(({ used, labels }) => ({ labels, value: used.swap, time: used.time }))),
    family("resource_scrape_error", "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise", [{ value: 0 }]),
  ]);
}

export async function kubeletMetrics(services: PodServices, manager: PodManager, stats: Stats): Promise<string> {
  const { node, figures } = services;
  const [major = "", minor = ""] = KUBELET_VERSION.slice(1).split(".");
  return exposition([
    family("kubernetes_build_info", "gauge", "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version of Kubernetes.",
      [{ labels: { git_version: KUBELET_VERSION, major, minor, platform: `linux/${process.arch === "x64" ? "amd64" : process.arch}` }, value: 1 }]),
    family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.", [{ labels: { node: node.name }, value: 1 }]),
    ...podFamilies(services, manager),
    ...volumeFamilies((await Promise.all(manager.active().map(stats.volumes))).flat()),
    ...managedVolumes(services, manager),
    ...figures.families(), ...processFamilies(),
  ]);
}

function podFamilies({ view }: PodServices, manager: PodManager): Family[] {
  const pods = manager.pods();
  const running = pods.filter((pod) => view.pod(uidOf(pod)).sandboxes.some((s) => s.state === "READY")).length;
  const states = view.uids().flatMap((uid) => view.pod(uid).containers.map((c) => c.state.toLowerCase()));
  const byOrigin = (list: typeof pods) => ["true", "false"].map((text) => ({ labels: { static: text }, value: list.filter((pod) => String(isStatic(pod)) === text).length }));
  return [
    single("kubelet_running_pods", "gauge", "[BETA] Number of pods that have a running pod sandbox", running),
    family("kubelet_running_containers", "gauge", "[BETA] Number of containers currently running",
      ["created", "exited", "running", "unknown"].map((state) => ({ labels: { container_state: state }, value: states.filter((s) => s === state).length }))),
    family("kubelet_active_pods", "gauge", "[ALPHA] The number of pods the kubelet considers active and which are being considered when admitting new pods.", byOrigin(manager.active())),
    family("kubelet_desired_pods", "gauge", "[ALPHA] The number of pods the kubelet is being instructed to run.", byOrigin(pods)),
    single("kubelet_mirror_pods", "gauge", "[ALPHA] The number of mirror pods the kubelet will try to create (one per admitted static pod)",
      pods.filter((pod) => isStatic(pod) && !isMirror(pod)).length),
  ];
}

const volumeColumns: readonly (readonly [name: string, help: string, value: (v: VolumeFigures) => number])[] = [
  ["available_bytes", "Number of available bytes in the volume", (v) => v.availableBytes],
  ["capacity_bytes", "Capacity in bytes of the volume", (v) => v.capacityBytes],
  ["inodes", "Maximum number of inodes in the volume", (v) => v.inodes],
  ["inodes_free", "Number of free inodes in the volume", (v) => v.inodesFree],
  ["inodes_used", "Number of used inodes in the volume", (v) => v.inodesUsed],
  ["used_bytes", "Number of used bytes in the volume", (v) => v.usedBytes],
];

/** Of claims alone, each once, whoever mounts it. */
function volumeFamilies(volumes: readonly VolumeFigures[]): Family[] {
  const claims = new Map(volumes.flatMap((v) => (v.pvcRef ? [[`${v.pvcRef.namespace}/${v.pvcRef.name}`, v] as const] : [])));
  return volumeColumns.map(([name, help, value]) => family(`kubelet_volume_stats_${name}`, "gauge", `[ALPHA] ${help}`,
    [...claims.values()].map((v) => ({ labels: { namespace: v.pvcRef!.namespace, persistentvolumeclaim: v.pvcRef!.name }, value: value(v) }))));
}

/** By plugin, as the volume manager wants them and as it has them. */
function managedVolumes({ volumes }: PodServices, manager: PodManager): Family[] {
  const counts = new Map<string, number>();
  const add = (state: string, plugin: string): void => void counts.set(`${plugin} ${state}`, (counts.get(`${plugin} ${state}`) ?? 0) + 1);
  for (const pod of manager.active()) {
    const used = new Set(allContainers(pod).flatMap(({ spec }) => (spec.volumeMounts ?? []).map((m) => m.name)));
    const mounted = volumes.mounted(uidOf(pod));
    for (const volume of pod.spec?.volumes ?? []) {
      if (!used.has(volume.name)) continue;
      const plugin = pluginName(volume);
      add("desired_state_of_world", plugin);
      if (mounted.has(volume.name)) add("actual_state_of_world", plugin);
    }
  }
  return [family("volume_manager_total_volumes", "gauge", "[ALPHA] Number of volumes in Volume Manager", [...counts].sort().map(([key, value]) => {
    const [plugin = "", state = ""] = key.split(" ");
    return { labels: { plugin_name: plugin, state }, value };
  }))];
}
