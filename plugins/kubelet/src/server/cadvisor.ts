/** `/metrics/cadvisor`: the names and labels that cAdvisor has for containers, pods and the machine. */
import os from "node:os";
import { exposition, family, type Family, type Labels, type Sample } from "@k3s-p/plugin-api/prometheus";
import { nameOf, namespaceOf } from "../pod.ts";
import type { PodServices } from "../pod-services.ts";
import type { CgroupDetails } from "./cgroup-details.ts";
import type { ContainerFigures, PodFigures, Stats } from "./stats.ts";
import type { NetworkCounts, Usage } from "./usage.ts";

/** One cgroup: a container, or a pod as a whole, whose `container` is empty. */
interface Row {
  readonly labels: Labels;
  readonly time: number;
  readonly cpuSeconds: number;
  readonly workingSet: number;
  readonly memoryUsage: number;
  readonly usage: Usage | undefined;
  readonly details: CgroupDetails;
  readonly container: ContainerFigures | undefined;
}

export async function cadvisorMetrics({ node, memoryCapacity }: Pick<PodServices, "node" | "memoryCapacity">, stats: Stats): Promise<string> {
  const { pods } = await stats.collect();
  const rows = (await Promise.all(pods.map((pod) => rowsOf(pod, stats)))).flat();
  const disk = await stats.space(node.paths.kubelet);
  return exposition([
    family("cadvisor_version_info", "gauge", "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
      [{ labels: { cadvisorRevision: "", cadvisorVersion: "", dockerVersion: "", kernelVersion: os.release(), osVersion: os.version() }, value: 1 }]),
    ...columns.map(([name, type, help, value]) => family(name, type, help, rows.flatMap((row) => samplesOf(row, value(row))))),
    ...diskFamilies(rows, disk?.totalBytes),
    ...networkColumns.map(([name, help, value]) => family(name, "counter", help, pods.flatMap((pod) => networkSamples(pod, value)))),
    family("container_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise", [{ value: 0 }]),
    family("machine_cpu_cores", "gauge", "Number of logical CPU cores.", [{ value: os.availableParallelism() }]),
    family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.", [{ value: memoryCapacity }]),
    family("machine_scrape_error", "gauge", "1 if there was an error while getting machine metrics, 0 otherwise.", [{ value: 0 }]),
  ]);
}

async function rowsOf({ pod, cgroup, usage, containers }: PodFigures, stats: Stats): Promise<Row[]> {
  const common = { namespace: namespaceOf(pod), pod: nameOf(pod) };
  const whole: Row[] = usage ? [{
    labels: { container: "", id: `/${cgroup}`, image: "", name: "", ...common }, time: usage.time, cpuSeconds: Number(usage.cpuNanos) / 1e9, usage,
    workingSet: usage.workingSet, memoryUsage: usage.memoryUsage, details: await stats.details(cgroup), container: undefined,
  }] : [];
  const each = await Promise.all(containers.map(async (c): Promise<Row> => ({
    labels: { container: c.name, id: `/${c.cgroup}`, image: c.image, name: c.id, ...common }, time: c.time, cpuSeconds: Number(c.cpuNanos) / 1e9, usage: c.usage,
    workingSet: c.stats.memoryWorkingSetBytes, memoryUsage: c.stats.memoryUsageBytes ?? c.usage?.memoryUsage ?? c.stats.memoryWorkingSetBytes,
    details: await stats.details(c.cgroup), container: c,
  })));
  return [...whole, ...each];
}

type Value = number | undefined | readonly { readonly labels: Labels; readonly value: number }[];

function samplesOf({ labels, time }: Row, value: Value): Sample[] {
  if (value === undefined) return [];
  if (typeof value === "number") return [{ labels, value, time }];
  return value.map((more) => ({ labels: { ...labels, ...more.labels }, value: more.value, time }));
}

/** Only where a quota is set, as cAdvisor. */
const throttled = (value: (d: CgroupDetails) => number) => ({ details }: Row): Value => (details.quota > 0 ? value(details) : undefined);

const columns: readonly (readonly [name: string, type: Family["type"], help: string, value: (row: Row) => Value])[] = [
  ["container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", (r) => [{ labels: { cpu: "total" }, value: r.cpuSeconds }]],
  ["container_cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed in seconds.", (r) => r.details.cpuUser],
  ["container_cpu_system_seconds_total", "counter", "Cumulative system cpu time consumed in seconds.", (r) => r.details.cpuSystem],
  ["container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.", throttled((d) => d.periods)],
  ["container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.", throttled((d) => d.throttledPeriods)],
  ["container_cpu_cfs_throttled_seconds_total", "counter", "Total time duration the container has been throttled.", throttled((d) => d.throttledSeconds)],
  ["container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory regardless of when it was accessed", (r) => r.memoryUsage],
  ["container_memory_working_set_bytes", "gauge", "Current working set in bytes.", (r) => r.workingSet],
  ["container_memory_rss", "gauge", "Size of RSS in bytes.", (r) => r.usage?.rss ?? r.container?.stats.memoryRssBytes],
  ["container_memory_cache", "gauge", "Number of bytes of page cache memory.", (r) => r.details.memoryCache],
  ["container_memory_mapped_file", "gauge", "Size of memory mapped files in bytes.", (r) => r.details.memoryMapped],
  ["container_memory_swap", "gauge", "Container swap usage in bytes.", (r) => r.usage?.swap],
  ["container_memory_max_usage_bytes", "gauge", "Maximum memory usage recorded in bytes", (r) => r.details.memoryMax],
  ["container_memory_failcnt", "counter", "Number of memory usage hits limits", (r) => r.details.memoryFailures],
  ["container_memory_failures_total", "counter", "Cumulative count of memory allocation failures.", (r) => r.usage && [
    { labels: { failure_type: "pgfault", scope: "hierarchy" }, value: r.usage.pageFaults }, { labels: { failure_type: "pgmajfault", scope: "hierarchy" }, value: r.usage.majorPageFaults },
  ]],
  ["container_processes", "gauge", "Number of processes running inside the container.", (r) => r.details.processes],
  ["container_threads", "gauge", "Number of threads running inside the container", (r) => r.details.threads],
  ["container_threads_max", "gauge", "Maximum number of threads allowed inside the container, infinity if value is zero", (r) => r.details.processLimit],
  ["container_spec_cpu_period", "gauge", "CPU period of the container.", (r) => r.details.period],
  ["container_spec_cpu_quota", "gauge", "CPU quota of the container.", throttled((d) => d.quota)],
  ["container_spec_cpu_shares", "gauge", "CPU share of the container.", (r) => r.details.shares],
  ["container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", (r) => r.details.memoryLimit],
  ["container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", (r) => r.container && Math.floor(Number(r.container.startedAt) / 1e9)],
  ["container_last_seen", "gauge", "Last time a container was seen by the exporter", (r) => Math.floor(r.time / 1000)],
  ["container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container on this filesystem.", (r) => r.container && [{ labels: { device: "" }, value: r.container.stats.writableLayerBytes ?? 0 }]],
];

const diskColumns: readonly (readonly [name: string, help: string, value: (io: CgroupDetails["io"][number]) => number])[] = [
  ["container_fs_reads_bytes_total", "Cumulative count of bytes read", (io) => io.readBytes],
  ["container_fs_writes_bytes_total", "Cumulative count of bytes written", (io) => io.writeBytes],
  ["container_fs_reads_total", "Cumulative count of reads completed", (io) => io.reads],
  ["container_fs_writes_total", "Cumulative count of writes completed", (io) => io.writes],
];

function diskFamilies(rows: readonly Row[], capacity: number | undefined): Family[] {
  const limit = rows.flatMap((row) => (row.container && capacity !== undefined ? samplesOf(row, [{ labels: { device: "" }, value: capacity }]) : []));
  return [
    family("container_fs_limit_bytes", "gauge", "Number of bytes that can be consumed by the container on this filesystem.", limit),
    ...diskColumns.map(([name, help, value]) => family(name, "counter", help,
      rows.flatMap((row) => samplesOf(row, row.details.io.map((io) => ({ labels: { device: io.device }, value: value(io) })))))),
  ];
}

const networkColumns: readonly (readonly [name: string, help: string, value: (i: NetworkCounts) => number])[] = [
  ["container_network_receive_bytes_total", "Cumulative count of bytes received", (i) => i.rxBytes],
  ["container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", (i) => i.rxErrors],
  ["container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving", (i) => i.rxDropped],
  ["container_network_receive_packets_total", "Cumulative count of packets received", (i) => i.rxPackets],
  ["container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", (i) => i.txBytes],
  ["container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", (i) => i.txErrors],
  ["container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting", (i) => i.txDropped],
  ["container_network_transmit_packets_total", "Cumulative count of packets transmitted", (i) => i.txPackets],
];

/** The network belongs to the pod: to its sandbox, in cAdvisor's eyes. */
function networkSamples({ pod, cgroup, sandboxId, usage, network }: PodFigures, value: (i: NetworkCounts) => number): Sample[] {
  const labels = { container: "", id: `/${cgroup}`, image: "", name: sandboxId, namespace: namespaceOf(pod), pod: nameOf(pod) };
  return network.map((i) => ({ labels: { ...labels, interface: i.name }, value: value(i), ...(usage && { time: usage.time }) }));
}
