/** Prometheus' text form, and the counters and histograms that a plugin keeps for it. */
import { readdirSync, readFileSync } from "node:fs";

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
  /** Unix milliseconds, for a figure that was not taken just now. */
  readonly time?: number;
  /** `_bucket`, `_sum` or `_count` of a histogram. */
  readonly suffix?: string;
}

export interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** The content type of the text. */
export const PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8";

export const family = (name: string, type: Family["type"], help: string, samples: readonly Sample[]): Family => ({ name, type, help, samples });

/** A gauge or counter without labels. */
export const single = (name: string, type: "counter" | "gauge", help: string, value: number): Family => family(name, type, help, [{ value }]);

/** The text of the families that have a sample. */
export function exposition(families: readonly Family[]): string {
  return families.filter(({ samples }) => samples.length > 0).map(({ name, type, help, samples }) => [
    `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`, `# TYPE ${name} ${type}`,
    ...samples.map((sample) => line(name, sample)), "",
  ].join("\n")).join("");
}

function line(name: string, { labels = {}, value, time, suffix = "" }: Sample): string {
  const list = Object.entries(labels).map(([key, text]) => `${key}="${escape(text)}"`).join(",");
  return `${name}${suffix}${list && `{${list}}`} ${number(value)}${time === undefined ? "" : ` ${time}`}`;
}

const escape = (text: string): string => text.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n");
const number = (value: number): string => (Number.isFinite(value) ? String(value) : Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");

export interface Counter {
  add(labels?: Labels, by?: number): void;
  /** Forgets the series that have these labels. */
  drop(labels: Labels): void;
  family(): Family;
}

export function counter(name: string, help: string): Counter {
  const series = new Map<string, { readonly labels: Labels; value: number }>();
  return {
    add(labels = {}, by = 1) {
      const key = JSON.stringify(labels);
      const known = series.get(key);
      if (known) known.value += by;
      else series.set(key, { labels, value: by });
    },
    drop: (labels) => dropSeries(series, labels),
    family: () => family(name, "counter", help, [...series.values()]),
  };
}

function dropSeries(series: Map<string, { readonly labels: Labels }>, labels: Labels): void {
  for (const [key, entry] of series) if (Object.entries(labels).every(([name, value]) => entry.labels[name] === value)) series.delete(key);
}

export interface Histogram {
  observe(value: number, labels?: Labels): void;
  /** Forgets the series that have these labels. */
  drop(labels: Labels): void;
  family(): Family;
}

/** `bounds` are the upper limits of the buckets, ascending, without the infinite one. */
export function histogram(name: string, help: string, bounds: readonly number[]): Histogram {
  const series = new Map<string, { readonly labels: Labels; readonly counts: number[]; sum: number; count: number }>();
  return {
    observe(value, labels = {}) {
      const key = JSON.stringify(labels);
      const entry = series.get(key) ?? { labels, counts: bounds.map(() => 0), sum: 0, count: 0 };
      series.set(key, entry);
      entry.sum += value;
      entry.count++;
      const at = bounds.findIndex((bound) => value <= bound);
      if (at >= 0) entry.counts[at]!++;
    },
    drop: (labels) => dropSeries(series, labels),
    family: () => family(name, "histogram", help, [...series.values()].flatMap(({ labels, counts, sum, count }): Sample[] => {
      let below = 0;
      const bucket = (le: string, value: number): Sample => ({ suffix: "_bucket", labels: { ...labels, le }, value });
      return [
        ...bounds.map((bound, i) => bucket(String(bound), (below += counts[i]!))), bucket("+Inf", count),
        { suffix: "_sum", labels, value: sum }, { suffix: "_count", labels, value: count },
      ];
    })),
  };
}

/** `count` bounds, each `factor` times the one before. */
export const exponential = (start: number, factor: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => Number((start * factor ** i).toPrecision(12)));

export const linear = (start: number, width: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => Number((start + width * i).toPrecision(12)));

/** What every client library of Prometheus tells of its process. */
export function processFamilies(): Family[] {
  const { user, system } = process.cpuUsage();
  const { rss } = process.memoryUsage();
  return [
    single("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", (user + system) / 1e6),
    single("process_max_fds", "gauge", "Maximum number of open file descriptors.", fromFile("/proc/self/limits", /^Max open files\s+(\d+)/m)),
    single("process_open_fds", "gauge", "Number of open file descriptors.", openFiles()),
    single("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", rss),
    single("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", Math.round(Date.now() / 1000 - process.uptime())),
    single("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", fromFile("/proc/self/status", /^VmSize:\s+(\d+)/m) * 1024),
  ];
}

function fromFile(path: string, pattern: RegExp): number {
  try {
    return Number(pattern.exec(readFileSync(path, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function openFiles(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return 0;
  }
}
