/** `/metrics`: counts and durations of requests, and what the cache holds, in Prometheus' text form. */
import type { Store } from "../store/store.ts";
import type { RequestInfo } from "./request.ts";

export interface Metrics {
  observe(method: string, info: RequestInfo, status: number, seconds: number): void;
  render(): string;
}

const BUCKETS = [0.005, 0.025, 0.1, 0.5, 1, 5, 30];

interface Series {
  readonly labels: string;
  count: number;
  sum: number;
  readonly buckets: number[];
  readonly codes: Map<number, number>;
}

export function createMetrics(store: Store): Metrics {
  const series = new Map<string, Series>();
  return {
    observe(_method, info, status, seconds) {
      const { verb, group, version, resource, subresource, namespace, name } = info;
      const scope = !info.isResource ? "" : name ? "resource" : namespace ? "namespace" : "cluster";
      const key = `${verb}|${group}|${version}|${resource}|${subresource}|${scope}`;
      let found = series.get(key);
      if (!found) {
        const labels = `verb="${metricVerb(verb)}",group="${group}",version="${version}",resource="${resource}",subresource="${subresource}",scope="${scope}"`;
        series.set(key, (found = { labels, count: 0, sum: 0, buckets: BUCKETS.map(() => 0), codes: new Map() }));
      }
      found.codes.set(status, (found.codes.get(status) ?? 0) + 1);
      if (verb === "watch") return;
      found.count++;
      found.sum += seconds;
      const bucket = BUCKETS.findIndex((bound) => seconds <= bound);
      if (bucket >= 0) found.buckets[bucket]!++;
    },
    render() {
      const lines = ["# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, resource and HTTP response code.",
        "# TYPE apiserver_request_total counter"];
      for (const { labels, codes } of series.values()) {
        for (const [code, count] of codes) lines.push(`apiserver_request_total{code="${code}",${labels}} ${count}`);
      }
      lines.push("# HELP apiserver_request_duration_seconds Response latency distribution in seconds.", "# TYPE apiserver_request_duration_seconds histogram");
      for (const one of series.values()) if (one.count > 0) lines.push(...histogram(one));
      lines.push("# HELP apiserver_storage_objects Number of stored objects by kind.", "# TYPE apiserver_storage_objects gauge");
      for (const { group, plural, count } of store.collections()) {
        lines.push(`apiserver_storage_objects{resource="${group ? `${plural}.${group}` : plural}"} ${count}`);
      }
      lines.push("# HELP process_resident_memory_bytes Resident memory size in bytes.", "# TYPE process_resident_memory_bytes gauge",
        `process_resident_memory_bytes ${process.memoryUsage.rss()}`);
      return `${lines.join("\n")}\n`;
    },
  };
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
