/**
 * API priority and fairness: a request takes seats of its priority level, waits for them in the queue of its flow, or is
 * refused with 429. While there are seats this costs a few counters.
 */
import { apiError } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { CacheView, Obj } from "../resources/types.ts";
import type { ApiRequest, ApiResponse, RequestInfo } from "../server/request.ts";
import { type Classifier, createClassifier, type Schema, toSchema } from "./classify.ts";
import { mandatory } from "./defaults.ts";
import { dump } from "./dump.ts";
import { configure, createLevel, dispatch, enqueue, type Level, type Refusal, release, spareSeats, take } from "./level.ts";
import { type FlowStats, kindOf, renderFlows, renderRunning, type Running, statsOf } from "./metrics.ts";

export interface Ticket {
  readonly leave: () => void;
}

/** The part of the server that says when a request may run. */
export interface FlowControl {
  /** Tells the client, also one that is refused its request, to which schema and level it belongs. */
  mark(user: UserInfo, info: RequestInfo, res: Pick<ApiResponse, "common">): void;
  /** Throws or rejects with 429. */
  enter(req: Pick<ApiRequest, "user" | "info" | "signal">): Ticket | Promise<Ticket>;
  /** Prometheus' text. */
  render(): string;
  /** A table of what runs and waits, by upstream's name of it; undefined = there is none. */
  dump(name: string, withDetails: boolean): string | undefined;
}

export interface FlowControlOptions {
  readonly view: CacheView;
  /** Calls back on every change of a FlowSchema or PriorityLevelConfiguration. */
  readonly follow: (changed: () => void) => void;
  /** Requests that may run at the same time, all levels together. */
  readonly seats: number;
  /** Objects that a list returns, at most. */
  readonly sizeOf: (info: RequestInfo) => number;
  /** Milliseconds that a request may wait; default 15 s, a quarter of the request timeout as upstream. */
  readonly maxWait?: number;
}

interface Flow {
  readonly schema: Schema;
  readonly level: Level;
  readonly stats: FlowStats;
  /** Of every answer: who classified the request. */
  readonly headers: Readonly<Record<string, string>>;
}

export const GROUP = "flowcontrol.apiserver.k8s.io";
const MAX_WAIT = 15_000;
const OBJECTS_PER_SEAT = 100;
const MAX_SEATS = 10;

export function createFlowControl({ view, follow, seats: total, sizeOf, maxWait = MAX_WAIT }: FlowControlOptions): FlowControl {
  const levels = new Map<string, Level>();
  const stats = new Map<string, FlowStats>();
  let flows: { readonly classifier: Classifier; readonly bySchema: ReadonlyMap<Schema, Flow> } | undefined;
  let waiting = 0;
  const running: Running = { readOnly: 0, mutating: 0 };
  follow(() => (flows = undefined));

  function compile(): NonNullable<typeof flows> {
    const specs = stored(view, "prioritylevelconfigurations", mandatory.levels);
    for (const [name, config] of configure(new Map([...specs].map(([name, { metadata, spec }]) => [name, { uid: metadata?.uid ?? "", spec }])), total)) {
      const known = levels.get(name);
      if (known) known.config = config;
      else levels.set(name, createLevel(name, config));
    }
    for (const [name, level] of levels) if (!specs.has(name) && level.executing === 0 && level.waiting === 0) levels.delete(name);
    const schemas = [...stored(view, "flowschemas", mandatory.schemas).values()].map(toSchema).filter(({ level }) => levels.has(level));
    const bySchema = new Map(schemas.map((schema): [Schema, Flow] => {
      const level = levels.get(schema.level)!;
      return [schema, { schema, level, stats: statsOf(stats, schema.name, schema.level), headers: headersOf(schema, level) }];
    }));
    return { classifier: createClassifier(schemas), bySchema };
  }

  const lentTo = (level: Level) => (): number => spareSeats(levels.values(), level);

  function leave(level: Level, seats: number, kind: keyof Running): void {
    running[kind]--;
    release(level, seats, lentTo(level));
    // What one level gives back another may borrow.
    if (waiting > 0) for (const other of levels.values()) if (other !== level && other.waiting > 0) dispatch(other, lentTo(other));
  }

  function wait({ schema, level, stats: counts }: Flow, user: UserInfo, info: RequestInfo, seats: number, signal: AbortSignal, ticket: Ticket): Promise<Ticket> {
    const since = performance.now();
    return new Promise((resolve, reject) => {
      const over = (): void => {
        waiting--;
        counts.wait(performance.now() - since);
        clearTimeout(timer);
        signal.removeEventListener("abort", cancel);
      };
      const start = (): void => {
        over();
        counts.dispatched++;
        running[kindOf(info.verb)]++;
        resolve(ticket);
      };
      const request = { schema: schema.name, distinguisher: distinguish(schema, user, info), user, info, arrived: new Date() };
      const takeOut = enqueue(level, { seats, request, start });
      if (typeof takeOut === "string") return reject(refuse(counts, takeOut));
      waiting++;
      const giveUp = (why: Refusal) => (): void => {
        takeOut();
        over();
        reject(refuse(counts, why));
      };
      const cancel = giveUp("cancelled");
      const timer = setTimeout(giveUp("time-out"), maxWait);
      signal.addEventListener("abort", cancel);
    });
  }

  let latest: { readonly user: UserInfo; readonly info: RequestInfo; readonly flow: Flow } | undefined;

  /** Asked twice in a row for each request. */
  function flowOf(user: UserInfo, info: RequestInfo): Flow {
    if (flows && latest?.info === info && latest.user === user) return latest.flow;
    flows ??= compile();
    const flow = flows.bySchema.get(flows.classifier.classify(user, info))!;
    latest = { user, info, flow };
    return flow;
  }

  return {
    mark(user, info, res) {
      res.common = flowOf(user, info).headers;
    },
    enter(req) {
      const { user, info } = req;
      const flow = flowOf(user, info);
      const { level, stats: counts } = flow;
      const seats = info.verb === "list" && !level.config.isExempt ? widthOf(sizeOf(info)) : 1;
      const kind = kindOf(info.verb);
      const ticket: Ticket = { leave: () => leave(level, seats, kind) };
      if (!take(level, seats, lentTo(level))) return wait(flow, user, info, seats, req.signal, ticket);
      counts.dispatched++;
      running[kind]++;
      return ticket;
    },
    render() {
      flows ??= compile();
      return renderRunning(running) + renderFlows([...levels.values()], [...stats.values()]);
    },
    dump(name, withDetails) {
      flows ??= compile();
      const configured = new Set(stored(view, "prioritylevelconfigurations", mandatory.levels).keys());
      const sorted = [...levels.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      return dump(name, { levels: sorted, stats: [...stats.values()], configured }, withDetails);
    },
  };
}

const widthOf = (objects: number): number => Math.min(MAX_SEATS, Math.max(1, Math.ceil(objects / OBJECTS_PER_SEAT)));

function distinguish(schema: Schema, user: UserInfo, info: RequestInfo): string {
  if (schema.distinguisher === "ByUser") return user.name;
  return schema.distinguisher === "ByNamespace" ? info.namespace : "";
}

function refuse(stats: FlowStats, why: Refusal): Error {
  stats.rejected.set(why, (stats.rejected.get(why) ?? 0) + 1);
  return tooManyRequests();
}

export const tooManyRequests = (): Error =>
  apiError(429, "TooManyRequests", "Too many requests, please try again later.", { retryAfterSeconds: 1 });

/** What is stored, and what holds without being stored. */
function stored(view: CacheView, plural: string, always: readonly Obj[]): ReadonlyMap<string, Obj> {
  return new Map([...always, ...view.list(GROUP, plural)].map((object) => [object.metadata!.name!, object]));
}

const longRunning = new Set(["attach", "exec", "proxy", "log", "portforward"]);

/** Requests that last as long as their client likes; they take no seat. */
export const isLongRunning = ({ verb, subresource, isResource }: Pick<RequestInfo, "verb" | "subresource" | "isResource">): boolean =>
  isResource && (verb === "watch" || longRunning.has(subresource));

const headersOf = (schema: Schema, { config }: Level): Flow["headers"] => Object.freeze({
  ...(schema.uid && { "X-Kubernetes-PF-FlowSchema-UID": schema.uid }),
  ...(config.uid && { "X-Kubernetes-PF-PriorityLevel-UID": config.uid }),
});
