/**
 * The scheduling queue.
 *
 *     add -> active -> pop -> (bound: remove | retry: backoff -> active | park -> parked -> activate -> active)
 *
 * Active pods are ordered by priority, then by age. A parked pod waits for an event that can help it and is then
 * tried at once; only a pod that keeps failing is slowed down to one attempt in 1 to 10 seconds.
 */
import type { PodInfo } from "./pod-info.ts";

export interface QueuedPod {
  info: PodInfo;
  attempts: number;
  /** Position among pods of the same priority. */
  readonly sequence: number;
  lastAttempt: number;
  /** Names of the plugins that rejected the pod last. */
  rejectedBy: ReadonlySet<string>;
  state: "active" | "backoff" | "parked" | "gated" | "popped";
  due: number;
  /** Counts activations, so that stale heap entries are known. */
  ticket: number;
}

export interface QueueClock {
  readonly now: () => number;
  readonly setTimer: (fn: () => void, ms: number) => NodeJS.Timeout;
}

export interface SchedulingQueue {
  /** Adds a pod, or replaces what is known of it. `gated` pods stay out until replaced. */
  add(info: PodInfo, gated: boolean): void;
  get(uid: string): QueuedPod | undefined;
  /** Replaces the object of a queued pod without moving it. */
  refresh(info: PodInfo): void;
  /** Makes a parked or backing-off pod active now: its own spec has changed. */
  renew(uid: string): void;
  remove(uid: string): void;
  pop(): QueuedPod | undefined;
  park(item: QueuedPod, rejectedBy: ReadonlySet<string>): void;
  /** Back to active after the back-off of its attempts (1 s, doubling to 10 s). */
  retry(item: QueuedPod): void;
  parked(): Iterable<QueuedPod>;
  /** Lets a parked pod run again, at once unless it has failed often and lately. */
  activate(item: QueuedPod): void;
  /** Number of active pods. */
  readonly ready: number;
  stop(): void;
}

const firstBackoff = 1_000;
const longestBackoff = 10_000;
/** A parked pod is tried at once so many times; then back-off keeps a stream of events from keeping it busy. */
const freeAttempts = 3;
/** Parked pods are tried again after this time even without an event, as upstream. */
const longestParked = 300_000;

const backoff = (attempts: number): number =>
  attempts <= 0 ? 0 : Math.min(longestBackoff, firstBackoff * 2 ** Math.min(attempts - 1, 10));

/** @param onReady called when a pod becomes active. */
export function createQueue({ now, setTimer }: QueueClock, onReady: () => void): SchedulingQueue {
  const items = new Map<string, QueuedPod>();
  const parked = new Set<QueuedPod>();
  const waiting = new Set<QueuedPod>();
  const heap = createHeap();
  let sequence = 0;
  let ready = 0;
  let timer: { due: number; handle: NodeJS.Timeout } | undefined;
  let flush: NodeJS.Timeout | undefined;

  function leave(item: QueuedPod): void {
    if (item.state === "active") ready--;
    parked.delete(item);
    waiting.delete(item);
  }

  function makeActive(item: QueuedPod): void {
    leave(item);
    item.state = "active";
    ready++;
    heap.push(item, ++item.ticket);
    onReady();
  }

  function delay(item: QueuedPod, due: number): void {
    if (due <= now()) return makeActive(item);
    leave(item);
    item.state = "backoff";
    item.due = due;
    waiting.add(item);
    arm();
  }

  function arm(): void {
    let due = Infinity;
    for (const item of waiting) due = Math.min(due, item.due);
    if (timer && timer.due <= due) return;
    if (timer) clearTimeout(timer.handle);
    timer = due === Infinity ? undefined : { due, handle: setTimer(wake, Math.max(1, due - now())) };
  }

  function wake(): void {
    timer = undefined;
    for (const item of [...waiting]) if (item.due <= now()) makeActive(item);
    if (waiting.size) arm();
  }

  function flushParked(): void {
    flush = undefined;
    for (const item of [...parked]) if (now() - item.lastAttempt >= longestParked) makeActive(item);
    if (parked.size) armFlush();
  }
  const armFlush = () => (flush ??= setTimer(flushParked, longestParked));

  return {
    add(info, gated) {
      const item = items.get(info.uid) ?? {
        info, attempts: 0, sequence: sequence++, lastAttempt: 0, rejectedBy: new Set(), state: "gated", due: 0, ticket: 0,
      };
      items.set(info.uid, item);
      item.info = info;
      if (!gated && item.state === "gated") makeActive(item);
    },
    get: (uid) => items.get(uid),
    refresh(info) {
      const item = items.get(info.uid);
      if (item) item.info = info;
    },
    renew(uid) {
      const item = items.get(uid);
      if (!item || item.state === "active" || item.state === "popped") return;
      item.attempts = 0;
      makeActive(item);
    },
    remove(uid) {
      const item = items.get(uid);
      if (!item) return;
      leave(item);
      item.state = "popped";
      items.delete(uid);
    },
    pop() {
      const item = heap.pop();
      if (!item) return undefined;
      ready--;
      item.state = "popped";
      item.attempts++;
      item.lastAttempt = now();
      return item;
    },
    park(item, rejectedBy) {
      if (items.get(item.info.uid) !== item) return;
      item.rejectedBy = rejectedBy;
      item.state = "parked";
      parked.add(item);
      armFlush();
    },
    retry(item) {
      items.set(item.info.uid, item);
      delay(item, now() + backoff(item.attempts));
    },
    parked: () => parked,
    activate: (item) => delay(item, item.lastAttempt + backoff(item.attempts - freeAttempts)),
    get ready() {
      return ready;
    },
    stop() {
      if (timer) clearTimeout(timer.handle);
      if (flush) clearTimeout(flush);
      items.clear();
      parked.clear();
      waiting.clear();
    },
  };
}

/** Binary heap; entries whose ticket is no longer the item's are skipped. */
function createHeap(): { push(item: QueuedPod, ticket: number): void; pop(): QueuedPod | undefined } {
  const entries: { item: QueuedPod; ticket: number; priority: number }[] = [];
  const before = (a: number, b: number): boolean => {
    const x = entries[a]!;
    const y = entries[b]!;
    return x.priority !== y.priority ? x.priority > y.priority : x.item.sequence < y.item.sequence;
  };
  const swap = (a: number, b: number): void => {
    [entries[a], entries[b]] = [entries[b]!, entries[a]!];
  };
  const sink = (): void => {
    for (let i = 0; ; ) {
      let first = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < entries.length && before(child, first)) first = child;
      if (first === i) return;
      swap(i, first);
      i = first;
    }
  };
  return {
    push(item, ticket) {
      entries.push({ item, ticket, priority: item.info.priority });
      for (let i = entries.length - 1; i > 0; ) {
        const parent = (i - 1) >> 1;
        if (!before(i, parent)) return;
        swap(i, parent);
        i = parent;
      }
    },
    pop() {
      while (entries.length) {
        swap(0, entries.length - 1);
        const { item, ticket } = entries.pop()!;
        sink();
        if (item.state === "active" && item.ticket === ticket) return item;
      }
      return undefined;
    },
  };
}
