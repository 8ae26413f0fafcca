/** Prometheus text of `/metrics`, `/metrics/resource` and `/metrics/cadvisor`. */
import { nameOf, namespaceOf } from "../pod.ts";
import type { ContainerFigures, NodeFigures } from "./stats.ts";

interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
  /** Unix milliseconds. */
  readonly time?: number;
}

interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly samples: readonly Sample[];
}

const seconds = (nanos: bigint): number => Number(nanos) / 1e9;
const escape = (text: string): string => text.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n");

export function exposition(families: readonly Family[]): string {
  return families.map(({ name, type, help, samples }) => [
    `# HELP ${name} ${help}`, `# TYPE ${name} ${type}`,
    ...samples.map(({ labels, value, time }) => {
      const list = Object.entries(labels ?? {}).map(([key, text]) => `${key}="${escape(text)}"`).join(",");
      return `${name}${list && `{${list}}`} ${value}${time === undefined ? "" : ` ${time}`}`;
    }),
  ].join("\n")).join("\n") + "\n";
}

type Labels = Readonly<Record<string, string>>;

const family = (name: string, type: Family["type"], help: string, samples: readonly Sample[]): Family =>
  ({ name, type, help, samples });

/** Every container with the labels that name it. */
const containersOf = ({ pods }: NodeFigures, labels: (c: ContainerFigures) => Labels) =>
  pods.flatMap(({ pod, containers }) => containers.map((c) => ({
    c, labels: { ...labels(c), namespace: namespaceOf(pod), pod: nameOf(pod) },
  })));

export function resourceMetrics(figures: NodeFigures): string {
  const { usage, pods } = figures;
  const containers = containersOf(figures, (c) => ({ container: c.name }));
  const measured = pods.flatMap(({ pod, usage: used }) =>
    used ? [{ used, labels: { namespace: namespaceOf(pod), pod: nameOf(pod) } }] : []);
  return exposition([
    family("container_cpu_usage_seconds_total", "counter",
      "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
      containers.map(({ c, labels }) => ({ labels, value: seconds(c.cpuNanos), time: c.time }))),
    family("container_memory_working_set_bytes", "gauge",
      "[STABLE] Current working set of the container in bytes",
      containers.map(({ c, labels }) => ({ labels, value: c.stats.memoryWorkingSetBytes, time: c.time }))),
    family("container_start_time_seconds", "gauge",
      "[STABLE] Start time of the container since unix epoch in seconds",
      containers.map(({ c, labels }) => ({ labels, value: seconds(c.startedAt) }))),
    family("node_cpu_usage_seconds_total", "counter",
      "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
      [{ value: seconds(usage.cpuNanos), time: usage.time }]),
    family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes",
      [{ value: usage.workingSet, time: usage.time }]),
    family("pod_cpu_usage_seconds_total", "counter",
      "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
      measured.map(({ used, labels }) => ({ labels, value: seconds(used.cpuNanos), time: used.time }))),
    family("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes",
      measured.map(({ used, labels }) => ({ labels, value: used.workingSet, time: used.time }))),
    family("resource_scrape_error", "gauge",
      "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise", [{ value: 0 }]),
  ]);
}

/** The names that dashboards of cAdvisor look for. */
export function cadvisorMetrics(figures: NodeFigures): string {
  const containers = containersOf(figures, (c) => ({ container: c.name, id: c.id, image: c.image, name: c.id }));
  const network = figures.pods.flatMap(({ pod, network: list }) => list.map((i) => ({
    i, labels: { interface: i.name, namespace: namespaceOf(pod), pod: nameOf(pod) },
  })));
  const ofContainers = (value: (c: ContainerFigures) => number, more: Labels = {}): Sample[] =>
    containers.map(({ c, labels }) => ({ labels: { ...labels, ...more }, value: value(c), time: c.time }));
  return exposition([
    family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.",
      ofContainers((c) => seconds(c.cpuNanos), { cpu: "total" })),
    family("container_memory_working_set_bytes", "gauge", "Current working set in bytes.",
      ofContainers((c) => c.stats.memoryWorkingSetBytes)),
    family("container_memory_usage_bytes", "gauge", "Current memory usage in bytes.",
      ofContainers((c) => c.stats.memoryUsageBytes ?? c.stats.memoryWorkingSetBytes)),
    family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.",
      ofContainers((c) => seconds(c.startedAt))),
    family("container_network_receive_bytes_total", "counter", "Cumulative count of bytes received",
      network.map(({ i, labels }) => ({ labels, value: i.rxBytes }))),
    family("container_network_transmit_bytes_total", "counter", "Cumulative count of bytes transmitted",
      network.map(({ i, labels }) => ({ labels, value: i.txBytes }))),
  ]);
}

export function kubeletMetrics(nodeName: string, pods: number, containers: number): string {
  const { user, system } = process.cpuUsage();
  return exposition([
    family("kubelet_node_name", "gauge", "The node's name. The count is always 1.",
      [{ labels: { node: nodeName }, value: 1 }]),
    family("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox", [{ value: pods }]),
    family("kubelet_running_containers", "gauge", "Number of containers currently running",
      [{ labels: { container_state: "running" }, value: containers }]),
    family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
      [{ value: (user + system) / 1e6 }]),
    family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
      [{ value: process.memoryUsage.rss() }]),
    family("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
      [{ value: Math.round(Date.now() / 1000 - process.uptime()) }]),
  ]);
}
