/** Counts of requests that run, and the plain limits that hold when priority and fairness is off. */
import { type FlowControl, type Ticket, tooManyRequests } from "./index.ts";
import { kindOf, renderRunning, type Running } from "./metrics.ts";

export interface InflightLimits {
  /** Reading requests; 0 = no limit. */
  readonly readOnly: number;
  readonly mutating: number;
}

/** A superuser always gets an answer. */
export function createInflightLimits(limits: InflightLimits): FlowControl {
  const running: Running = { readOnly: 0, mutating: 0 };
  const refused = { readOnly: 0, mutating: 0 };
  const leave: Readonly<Record<keyof Running, Ticket>> = {
    readOnly: { leave: () => void running.readOnly-- }, mutating: { leave: () => void running.mutating-- },
  };
  return {
    mark() {},
    dump: () => undefined,
    enter({ user, info }) {
      const kind = kindOf(info.verb);
      const limit = limits[kind];
      if (limit > 0 && running[kind] >= limit && !user.groups.includes("system:masters")) {
        refused[kind]++;
        throw tooManyRequests();
      }
      running[kind]++;
      return leave[kind];
    },
    render: () => renderRunning(running) + [
      "# HELP apiserver_dropped_requests_total Number of requests dropped with 'Try again later' response.",
      "# TYPE apiserver_dropped_requests_total counter",
      ...Object.entries(refused).map(([kind, count]) => `apiserver_dropped_requests_total{request_kind="${kind}"} ${count}`),
    ].map((line) => `${line}\n`).join(""),
  };
}
