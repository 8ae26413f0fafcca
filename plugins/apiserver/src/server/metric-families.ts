/** Counters, gauges and histograms with labels, in Prometheus' text form; a family without values says nothing. */

export type Labels = Readonly<Record<string, string>>;

export interface Counter {
  add(labels: Labels): void;
  render(): string;
}

export interface Gauge {
  set(labels: Labels, value: number): void;
  clear(): void;
  render(): string;
}

export interface Histogram {
  observe(labels: Labels, value: number): void;
  render(): string;
}

const textOf = (labels: Labels): string => Object.entries(labels).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(",");
const head = (name: string, help: string, type: string): string => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;

export function counter(name: string, help: string): Counter {
  const counts = new Map<string, number>();
  return {
    add(labels: Labels): void {
      const key = textOf(labels);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    },
    render: (): string => (counts.size === 0 ? "" : head(name, help, "counter") + [...counts].map(([labels, count]) => `${name}{${labels}} ${count}\n`).join("")),
  };
}

export function gauge(name: string, help: string): Gauge {
  const values = new Map<string, number>();
  return {
    set: (labels, value) => void values.set(textOf(labels), value),
    clear: () => values.clear(),
    render: (): string => (values.size === 0 ? "" : head(name, help, "gauge") + [...values].map(([labels, value]) => `${name}{${labels}} ${value}\n`).join("")),
  };
}

export function histogram(name: string, help: string, bounds: readonly number[]): Histogram {
  const series = new Map<string, { count: number; sum: number; readonly buckets: number[] }>();
  const write = (labels: string, { count, sum, buckets }: { count: number; sum: number; readonly buckets: readonly number[] }): string => {
    const lines = bounds.map((bound, i) => `${name}_bucket{${labels},le="${bound}"} ${buckets[i]}`);
    return [...lines, `${name}_bucket{${labels},le="+Inf"} ${count}`, `${name}_sum{${labels}} ${sum}`, `${name}_count{${labels}} ${count}`].map((line) => `${line}\n`).join("");
  };
  return {
    observe(labels: Labels, value: number): void {
      const key = textOf(labels);
      let one = series.get(key);
      if (!one) series.set(key, (one = { count: 0, sum: 0, buckets: bounds.map(() => 0) }));
      one.count++;
      one.sum += value;
      bounds.forEach((bound, i) => { if (value <= bound) one.buckets[i]!++; });
    },
    render: (): string => (series.size === 0 ? "" : head(name, help, "histogram") + [...series].map(([labels, one]) => write(labels, one)).join("")),
  };
}
