/** `/debug/api_priority_and_fairness/dump_*`: levels, queues and waiting requests as upstream's tables. */
import type { Level } from "./level.ts";
import type { FlowStats } from "./metrics.ts";

export interface DumpSource {
  readonly levels: readonly Level[];
  readonly stats: readonly FlowStats[];
  /** Levels that are configured; the others go when they are empty. */
  readonly configured: ReadonlySet<string>;
}

type Cell = string | number | boolean;
type Dump = (source: DumpSource, withDetails: boolean) => readonly (readonly Cell[])[];

/** What upstream counts here and this server does not: which flow an executing request is of, and work to come. */
const NONE = "<none>";
const NOT_STARTED = "0001-01-01T00:00:00Z";

const dumps: Readonly<Record<string, Dump>> = {
  dump_priority_levels: ({ levels, stats, configured }) => [
    ["PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests"],
    ...levels.map(({ name, flows, waiting, executing }) => {
      const own = stats.filter(({ level }) => level === name);
      const sum = (count: (flow: FlowStats) => number): number => own.reduce((total, flow) => total + count(flow), 0);
      const refused = (why: string): number => sum(({ rejected }) => rejected.get(why) ?? 0);
      return [
        name, flows.size, waiting + executing === 0, !configured.has(name), waiting, executing,
        sum(({ dispatched }) => dispatched), refused("queue-full") + refused("concurrency-limit"), refused("time-out"), refused("cancelled"),
      ];
    }),
  ],
  dump_queues: ({ levels }) => [
    ["PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR", "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"],
    ...levels.flatMap(({ name, flows }) => [...flows.values()].map((queue, index) => {
      const seats = queue.reduce((total, waiting) => total + waiting.seats, 0);
      return [name, index, queue.length, NONE, NONE, NONE, seats, seats, NONE];
    })),
  ],
  dump_requests: ({ levels }, withDetails) => [
    [
      "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime", "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
      ...(withDetails ? ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"] : []),
    ],
    ...levels.flatMap(({ name, flows }) => [...flows.values()].flatMap((queue, queueIndex) => queue.map(({ seats, request }, index) => {
      const { info, user } = request;
      return [
        name, request.schema, queueIndex, index, request.distinguisher, request.arrived.toISOString(), seats, 0, "0s", NOT_STARTED,
        ...(withDetails ? [user.name, info.verb, info.path, info.namespace, info.name, info.version, info.resource, info.subresource] : []),
      ];
    }))),
  ],
};

/** Undefined = there is no such table. */
export function dump(name: string, source: DumpSource, withDetails: boolean): string | undefined {
  return Object.hasOwn(dumps, name) ? table(dumps[name]!(source, withDetails)) : undefined;
}

/** Comma-separated, and aligned for those who read it. */
function table(rows: readonly (readonly Cell[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)) + 2);
  const line = (row: readonly Cell[]): string => row.map((cell, i) => (i === row.length - 1 ? String(cell) : `${cell},`.padEnd(widths[i]!))).join("");
  return rows.map((row) => `${line(row)}\n`).join("");
}
