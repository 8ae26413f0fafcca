/** Counts of requests that run, and the plain limits that hold when priority and fairness is off. */
import type { RequestInfo } from "../server/request.ts";
import { type FlowControl, type Ticket, tooManyRequests } from "./index.ts";

export interface InflightLimits {
  /** Reading requests; 0 = no limit. */
  readonly readOnly: number;
  readonly mutating: number;
}

const reading = new Set(["get", "list", "watch", "head", "options"]);
export const isReadOnly = ({ verb }: Pick<RequestInfo, "verb">): boolean => reading.has(verb);

/** A superuser always gets an answer. */
export function createInflightLimits(limits: InflightLimits): FlowControl {
  const running = { readOnly: 0, mutating: 0 };
  const refused = { readOnly: 0, mutating: 0 };
  const leave: Readonly<Record<keyof typeof running, Ticket>> = {
    readOnly: { leave: () => void running.readOnly-- }, mutating: { leave: () => void running.mutating-- },
  };
  return {
    enter({ user, info }) {
      const kind = isReadOnly(info) ? "readOnly" : "mutating";
      const limit = limits[kind];
      if (limit > 0 && running[kind] >= limit && !user.groups.includes("system:masters")) {
        refused[kind]++;
        throw tooManyRequests();
      }
      running[kind]++;
      return leave[kind];
    },
    render: () => [
      "# HELP apiserver_current_inflight_requests Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
      "# TYPE apiserver_current_inflight_requests gauge",
      ...Object.entries(running).map(([kind, count]) => `apiserver_current_inflight_requests{request_kind="${kind}"} ${count}`),
      "# HELP apiserver_dropped_requests_total Number of requests dropped with 'Try again later' response.",
      "# TYPE apiserver_dropped_requests_total counter",
      ...Object.entries(refused).map(([kind, count]) => `apiserver_dropped_requests_total{request_kind="${kind}"} ${count}`),
    ].map((line) => `${line}\n`).join(""),
  };
}
