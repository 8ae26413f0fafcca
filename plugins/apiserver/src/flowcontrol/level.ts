/**
 * The seats of a priority level. Each flow has a queue of its own, and free seats go round the flows: one that asks for
 * much waits for itself. A level may take seats that others lend as long as those do not need them.
 */
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { RequestInfo } from "../server/request.ts";

export interface LevelConfig {
  readonly uid: string;
  readonly isExempt: boolean;
  /** Seats that are the level's own, of which `lendable` may be with others, and how many it may borrow. */
  readonly nominal: number;
  readonly lendable: number;
  readonly borrowable: number;
  /** Requests that may wait, of one flow and in all; 0 = what finds no seat is refused. */
  readonly flowLimit: number;
  readonly queueLimit: number;
}

export type Refusal = "queue-full" | "concurrency-limit" | "time-out" | "cancelled";

/** Who waits, for those who look at the queues. */
export interface WaitingRequest {
  readonly schema: string;
  readonly distinguisher: string;
  readonly user: UserInfo;
  readonly info: RequestInfo;
  readonly arrived: Date;
}

export interface Waiting {
  readonly seats: number;
  readonly request: WaitingRequest;
  start(): void;
}

export interface Level {
  readonly name: string;
  config: LevelConfig;
  inUse: number;
  executing: number;
  waiting: number;
  readonly flows: Map<string, Waiting[]>;
}

export const createLevel = (name: string, config: LevelConfig): Level =>
  ({ name, config, inUse: 0, executing: 0, waiting: 0, flows: new Map() });

/** Takes seats at once, if there are enough and nobody waits for them. */
export function take(level: Level, seats: number, lent: () => number): boolean {
  const { config } = level;
  if (!config.isExempt && (level.waiting > 0 || !fits(level, seats, lent))) return false;
  level.inUse += seats;
  level.executing++;
  return true;
}

/** A level whose seats are all free lets in a request of any width. */
const fits = ({ inUse, config }: Level, seats: number, lent: () => number): boolean =>
  inUse + seats <= config.nominal || inUse === 0 || (inUse + seats - config.nominal <= config.borrowable && inUse + seats - Math.max(inUse, config.nominal) <= lent());

/** Puts a request into the queue of its flow; returns how to take it out again, or why it may not wait. */
export function enqueue(level: Level, entry: Waiting): Refusal | (() => void) {
  const flow = `${entry.request.schema} ${entry.request.distinguisher}`;
  const { flowLimit, queueLimit } = level.config;
  if (queueLimit === 0) return "concurrency-limit";
  const queue = level.flows.get(flow) ?? [];
  if (queue.length >= flowLimit || level.waiting >= queueLimit) return "queue-full";
  queue.push(entry);
  level.flows.set(flow, queue);
  level.waiting++;
  return () => {
    const at = queue.indexOf(entry);
    if (at < 0) return;
    queue.splice(at, 1);
    level.waiting--;
    if (queue.length === 0) level.flows.delete(flow);
  };
}

/** Starts what waits, a request of each flow in turn, as long as there are seats. */
export function dispatch(level: Level, lent: () => number): void {
  while (level.waiting > 0) {
    const [flow, queue] = level.flows.entries().next().value!;
    const next = queue[0]!;
    if (!level.config.isExempt && !fits(level, next.seats, lent)) return;
    queue.shift();
    level.waiting--;
    // To the end of the round.
    level.flows.delete(flow);
    if (queue.length > 0) level.flows.set(flow, queue);
    level.inUse += next.seats;
    level.executing++;
    next.start();
  }
}

export function release(level: Level, seats: number, lent: () => number): void {
  level.inUse -= seats;
  level.executing--;
  if (level.waiting > 0) dispatch(level, lent);
}

/** Seats that other levels can spare, without those that are lent already. */
export function spareSeats(levels: Iterable<Level>, borrower: Level): number {
  let spare = 0;
  for (const level of levels) {
    const { isExempt, nominal, lendable } = level.config;
    if (isExempt) continue;
    if (level.inUse > nominal) spare -= level.inUse - nominal;
    else if (level !== borrower) spare += Math.min(lendable, nominal - level.inUse);
  }
  return spare;
}

const percent = (value: unknown, of: number): number => Math.round((Number(value ?? 0) / 100) * of);
type Spec = Record<string, any>;

const sharesOf = (spec: Spec): number => (spec["type"] === "Exempt" ? spec["exempt"]?.nominalConcurrencyShares ?? 0 : spec["limited"]?.nominalConcurrencyShares ?? 30);

/** Divides the server's seats by the levels' shares. */
export function configure(specs: ReadonlyMap<string, { readonly uid: string; readonly spec: Spec }>, seats: number): Map<string, LevelConfig> {
  let sum = 0;
  for (const { spec } of specs.values()) sum += sharesOf(spec);
  return new Map([...specs].map(([name, { uid, spec }]) => {
    const isExempt = spec["type"] === "Exempt";
    const nominal = sum === 0 ? 0 : Math.ceil((seats * sharesOf(spec)) / sum);
    const { lendablePercent, borrowingLimitPercent, limitResponse } = spec[isExempt ? "exempt" : "limited"] ?? {};
    const { queues = 64, handSize = 8, queueLengthLimit = 50 } = limitResponse?.queuing ?? {};
    const waits = limitResponse?.type === "Queue";
    return [name, {
      uid, isExempt, nominal, lendable: percent(lendablePercent, nominal),
      borrowable: typeof borrowingLimitPercent === "number" ? percent(borrowingLimitPercent, nominal) : seats,
      flowLimit: waits ? handSize * queueLengthLimit : 0, queueLimit: waits ? queues * queueLengthLimit : 0,
    }];
  }));
}
