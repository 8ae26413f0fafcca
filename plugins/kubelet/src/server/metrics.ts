/** Prometheus text of `/metrics`, `/metrics/resource` and `/metrics/cadvisor`. */
import { nameOf, namespaceOf } from "../pod.ts";
import type { NodeFigures } from "./stats.ts";

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

type PodSample = (name: string, type: Family["type"], help: string, value: (p: NodeFigures["pods"][number]) => number) => Family;

export function resourceMetrics({ usage, pods }: NodeFigures): string {
  const containers = pods.flatMap(({ pod, containers: list }) => list.map((c) => ({
    c, labels: { container: c.name, namespace: namespaceOf(pod), pod: nameOf(pod) },
  })));
  const withUsage = pods.filter((p) => p.usage !== undefined);
  const ofPods: PodSample = (name, type, help, value) => ({
    name, type, help,
    samples: withUsage.map((p) => ({ labels: { namespace: namespaceOf(p.pod), pod: nameOf(p.pod) }, value: value(p), time: p.usage!.time })),
  });
  return exposition([
    {
      name: "container_cpu_usage_seconds_total", type: "counter", help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
      samples: containers.map(({ c, labels }) => ({ labels, value: seconds(c.cpuNanos), time: c.time })),
    },
    {
      name: "container_memory_working_set_bytes", type: "gauge", help: "[STABLE] Current working set of the container in bytes",
      samples: containers.map(({ c, labels }) => ({ labels, value: c.stats.memoryWorkingSetBytes, time: c.time })),
    },
    {
      name: "container_start_time_seconds", type: "gauge", help: "[STABLE] Start time of the container since unix epoch in seconds",
      samples: containers.map(({ c, labels }) => ({ labels, value: seconds(c.startedAt) })),
    },
    { name: "node_cpu_usage_seconds_total", type: "counter", help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds", samples: [{ value: seconds(usage.cpuNanos), time: usage.time }] },
    { name: "node_memory_working_set_bytes", type: "gauge", help: "[STABLE] Current working set of the node in bytes", samples: [{ value: usage.workingSet, time: usage.time }] },
    ofPods("pod_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds", (p) => seconds(p.usage!.cpuNanos)),
    ofPods("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes", (p) => p.usage!.workingSet),
    { name: "resource_scrape_error", type: "gauge", help: "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise", samples: [{ value: 0 }] },
  ]);
}

/** The names that dashboards of cAdvisor look for. */
export function cadvisorMetrics({ pods }: NodeFigures): string {
  const containers = pods.flatMap(({ pod, containers: list }) => list.map((c) => ({
    c, labels: { container: c.name, id: c.id, image: c.image, name: c.id, namespace: namespaceOf(pod), pod: nameOf(pod) },
  })));
  const network = pods.flatMap(({ pod, network: list }) => list.map((i) => ({
    i, labels: { interface: i.name, namespace: namespaceOf(pod), pod: nameOf(pod) },
  })));
  return exposition([
    { name: "container_cpu_usage_seconds_total", type: "counter", help: "Cumulative cpu time consumed in seconds.", samples: containers.map(({ c, labels }) => ({ labels: { ...labels, cpu: "total" }, value: seconds(c.cpuNanos), time: c.time })) },
    { name: "container_memory_working_set_bytes", type: "gauge", help: "Current working set in bytes.", samples: containers.map(({ c, labels }) => ({ labels, value: c.stats.memoryWorkingSetBytes, time: c.time })) },
    { name: "container_memory_usage_bytes", type: "gauge", help: "Current memory usage in bytes.", samples: containers.map(({ c, labels }) => ({ labels, value: c.stats.memoryUsageBytes ?? c.stats.memoryWorkingSetBytes, time: c.time })) },
    { name: "container_start_time_seconds", type: "gauge", help: "Start time of the container since unix epoch in seconds.", samples: containers.map(({ c, labels }) => ({ labels, value: seconds(c.startedAt) })) },
    { name: "container_network_receive_bytes_total", type: "counter", help: "Cumulative count of bytes received", samples: network.map(({ i, labels }) => ({ labels, value: i.rxBytes })) },
    { name: "container_network_transmit_bytes_total", type: "counter", help: "Cumulative count of bytes transmitted", samples: network.map(({ i, labels }) => ({ labels, value: i.txBytes })) },
  ]);
}

export function kubeletMetrics(nodeName: string, pods: number, containers: number): string {
  const { rss } = process.memoryUsage();
  return exposition([
    { name: "kubelet_node_name", type: "gauge", help: "The node's name. The count is always 1.", samples: [{ labels: { node: nodeName }, value: 1 }] },
    { name: "kubelet_running_pods", type: "gauge", help: "Number of pods that have a running pod sandbox", samples: [{ value: pods }] },
    { name: "kubelet_running_containers", type: "gauge", help: "Number of containers currently running", samples: [{ labels: { container_state: "running" }, value: containers }] },
    { name: "process_cpu_seconds_total", type: "counter", help: "Total user and system CPU time spent in seconds.", samples: [{ value: (process.cpuUsage().user + process.cpuUsage().system) / 1e6 }] },
    { name: "process_resident_memory_bytes", type: "gauge", help: "Resident memory size in bytes.", samples: [{ value: rss }] },
    { name: "process_start_time_seconds", type: "gauge", help: "Start time of the process since unix epoch in seconds.", samples: [{ value: Math.round(Date.now() / 1000 - process.uptime()) }] },
  ]);
}
