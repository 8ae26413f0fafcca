/** `/metrics`: counts and durations of requests, and what the cache holds, in Prometheus' text form. */
import type { Store } from "../store/store.ts";
import type { RequestInfo } from "./request.ts";

export interface Metrics {
  observe(info: RequestInfo, status: number, seconds: number): void;
  /** A request that lasts begins (1) or ends (-1). */
  lasting(info: RequestInfo, change: 1 | -1): void;
  render(): string;
}

const BUCKETS = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60];

interface Series {
  readonly info: RequestInfo;
  readonly scope: string;
  readonly labels: string;
  count: number;
  sum: number;
  readonly buckets: number[];
  readonly codes: Map<number, number>;
}

export function createMetrics(store: Store): Metrics {
  /** By resource. */
  const series = new Map<string, Series[]>();
  const lasting = new Map<string, number>();
  function seriesOf(info: RequestInfo): Series {
    const { verb, group, version, resource, subresource } = info;
    const scope = scopeOf(info);
    let list = series.get(resource);
    if (!list) series.set(resource, (list = []));
    for (const found of list) {
      const { info: known } = found;
      if (known.verb === verb && found.scope === scope && known.subresource === subresource && known.group === group && known.version === version) return found;
    }
    const made: Series = { info, scope, labels: labelsOf(info, 'dry_run="",'), count: 0, sum: 0, buckets: BUCKETS.map(() => 0), codes: new Map() };
    list.push(made);
    return made;
  }

  return {
    observe(info, status, seconds) {
      const found = seriesOf(info);
      found.codes.set(status, (found.codes.get(status) ?? 0) + 1);
      if (info.verb === "watch") return;
      found.count++;
      found.sum += seconds;
      let bucket = 0;
      while (bucket < BUCKETS.length && seconds > BUCKETS[bucket]!) bucket++;
      if (bucket < BUCKETS.length) found.buckets[bucket]!++;
    },
    lasting(info, change) {
      const labels = labelsOf(info, "");
      lasting.set(labels, (lasting.get(labels) ?? 0) + change);
    },
    render() {
      const all = [...series.values()].flat();
      const lines = [
        ...family("apiserver_request_total", "counter", "Counter of apiserver requests broken out for each verb, resource and HTTP response code",
          all.flatMap(({ labels, codes }) => [...codes].map(([code, count]) => `{code="${code}",${labels}} ${count}`))),
        ...family("apiserver_request_duration_seconds", "histogram", "Response latency distribution in seconds", []),
        ...all.filter(({ count }) => count > 0).flatMap(histogram),
        ...family("apiserver_longrunning_requests", "gauge", "Gauge of all active long-running apiserver requests", [...lasting].map(([labels, count]) => `{${labels}} ${count}`)),
        ...family("apiserver_storage_objects", "gauge", "Number of stored objects by kind",
          store.collections().map(({ group, plural, count }) => `{resource="${group ? `${plural}.${group}` : plural}"} ${count}`)),
        ...processFigures(),
      ];
      return `${lines.join("\n")}\n`;
    },
  };
}

const family = (name: string, type: string, help: string, samples: readonly string[]): string[] =>
  [`# HELP ${name} ${help}.`, `# TYPE ${name} ${type}`, ...samples.map((sample) => name + sample)];

const scopeOf = ({ isResource, name, namespace }: RequestInfo): string => (!isResource ? "" : name ? "resource" : namespace ? "namespace" : "cluster");

function labelsOf(info: RequestInfo, dryRun: string): string {
  const { verb, group, version, resource, subresource } = info;
  return `component="apiserver",${dryRun}group="${group}",resource="${resource}",scope="${scopeOf(info)}",subresource="${subresource}",verb="${metricVerb(verb)}",version="${version}"`;
}

/** What every process tells, under the names that all exporters use. */
function processFigures(): string[] {
  const { user, system } = process.cpuUsage();
  return [
    ...family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds", [` ${(user + system) / 1e6}`]),
    ...family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes", [` ${process.memoryUsage.rss()}`]),
    ...family("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds", [` ${performance.timeOrigin / 1000}`]),
  ];
}

const metricVerb = (verb: string): string =>
  ({ create: "POST", update: "PUT", patch: "PATCH", delete: "DELETE", deletecollection: "DELETECOLLECTION" })[verb] ?? verb.toUpperCase();

function histogram({ labels, count, sum, buckets }: Series): string[] {
  let total = 0;
  const name = "apiserver_request_duration_seconds";
  return [
    ...buckets.map((n, i) => `${name}_bucket{${labels},le="${BUCKETS[i]}"} ${(total += n)}`),
    `${name}_bucket{${labels},le="+Inf"} ${count}`, `${name}_sum{${labels}} ${sum}`, `${name}_count{${labels}} ${count}`,
  ];
}
