/** What flow control has done, by schema and level, in Prometheus' text form. */
import type { Level } from "./level.ts";

const BUCKETS = [0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30];

export interface FlowStats {
  readonly level: string;
  readonly labels: string;
  dispatched: number;
  readonly rejected: Map<string, number>;
  readonly waits: { count: number; sum: number; readonly buckets: number[] };
  wait(milliseconds: number): void;
}

/** Counts go on when a schema is changed. */
export function statsOf(known: Map<string, FlowStats>, schema: string, level: string): FlowStats {
  const labels = `flow_schema="${schema}",priority_level="${level}"`;
  let found = known.get(labels);
  if (!found) known.set(labels, (found = createStats(labels, level)));
  return found;
}

function createStats(labels: string, level: string): FlowStats {
  const waits = { count: 0, sum: 0, buckets: BUCKETS.map(() => 0) };
  return {
    labels, level, dispatched: 0, rejected: new Map(), waits,
    wait(milliseconds) {
      const seconds = milliseconds / 1000;
      waits.count++;
      waits.sum += seconds;
      const bucket = BUCKETS.findIndex((bound) => seconds <= bound);
      if (bucket >= 0) waits.buckets[bucket]!++;
    },
  };
}

export function renderFlows(levels: readonly Level[], flows: readonly FlowStats[]): string {
  const limited = levels.filter(({ config }) => !config.isExempt);
  const ofLevel = (of: readonly Level[], value: (level: Level) => number): string[] =>
    of.map((level) => `{priority_level="${level.name}"} ${value(level)}`);
  return [
    ...family("dispatched_requests_total", "counter", "Number of requests executed by API Priority and Fairness subsystem",
      flows.filter((flow) => flow.dispatched > 0).map((flow) => `{${flow.labels}} ${flow.dispatched}`)),
    ...family("rejected_requests_total", "counter", "Number of requests rejected by API Priority and Fairness subsystem",
      flows.flatMap((flow) => [...flow.rejected].map(([reason, count]) => `{${flow.labels},reason="${reason}"} ${count}`))),
    ...family("current_executing_requests", "gauge", "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage",
      ofLevel(levels, (level) => level.executing)),
    ...family("current_executing_seats", "gauge", "Concurrency (number of seats) occupied by the currently executing requests", ofLevel(levels, (level) => level.inUse)),
    ...family("current_inqueue_requests", "gauge", "Number of requests currently pending in queues", ofLevel(limited, (level) => level.waiting)),
    ...family("nominal_limit_seats", "gauge", "Nominal number of execution seats configured for each priority level", ofLevel(limited, ({ config }) => config.nominal)),
    ...family("lower_limit_seats", "gauge", "Configured lower bound on number of execution seats available to each priority level",
      ofLevel(limited, ({ config }) => config.nominal - config.lendable)),
    ...family("upper_limit_seats", "gauge", "Configured upper bound on number of execution seats available to each priority level",
      ofLevel(limited, ({ config }) => config.nominal + config.borrowable)),
    ...family("request_wait_duration_seconds", "histogram", "Length of time a request spent waiting in its queue", []),
    ...flows.filter(({ waits }) => waits.count > 0).flatMap(histogram),
  ].map((line) => `${line}\n`).join("");
}

export interface Running {
  readOnly: number;
  mutating: number;
}

const reading = new Set(["get", "list", "watch", "head", "options"]);
export const kindOf = (verb: string): keyof Running => (reading.has(verb) ? "readOnly" : "mutating");

export const renderRunning = (running: Running): string => [
  "# HELP apiserver_current_inflight_requests Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
  "# TYPE apiserver_current_inflight_requests gauge",
  ...Object.entries(running).map(([kind, count]) => `apiserver_current_inflight_requests{request_kind="${kind}"} ${count}`),
].map((line) => `${line}\n`).join("");

const PREFIX = "apiserver_flowcontrol_";

const family = (name: string, type: string, help: string, samples: readonly string[]): string[] =>
  [`# HELP ${PREFIX}${name} ${help}.`, `# TYPE ${PREFIX}${name} ${type}`, ...samples.map((sample) => `${PREFIX}${name}${sample}`)];

function histogram({ labels, waits }: FlowStats): string[] {
  let total = 0;
  const name = `${PREFIX}request_wait_duration_seconds`;
  return [
    ...waits.buckets.map((n, i) => `${name}_bucket{${labels},le="${BUCKETS[i]}"} ${(total += n)}`),
    `${name}_bucket{${labels},le="+Inf"} ${waits.count}`, `${name}_sum{${labels}} ${waits.sum}`, `${name}_count{${labels}} ${waits.count}`,
  ];
}
