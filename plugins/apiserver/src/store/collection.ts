/** All objects of one stored resource: look-up, sorted lists, a window of history, and the feed to watchers. */
import { type Entry, withRevision } from "./entry.ts";
import { createSorted, type Sorted } from "./sorted.ts";

export interface CacheEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly revision: number;
  /** The state after the change; for DELETED the last state, under the revision of the deletion. */
  readonly entry: Entry;
  readonly previous: Entry | undefined;
}

export interface Collection {
  readonly group: string;
  readonly plural: string;
  readonly count: number;
  get(name: string, namespace: string): Entry | undefined;
  /** Entries in key order; all namespaces when `namespace` is "". The same array until something changes. */
  list(namespace: string): readonly Entry[];
  /** The list as it was at a revision; undefined when that is beyond the window of history. */
  listAt(revision: number, namespace: string): readonly Entry[] | undefined;
  /** Events after a revision; undefined when some of them are gone, or may have been lost in a crash. */
  since(revision: number): readonly CacheEvent[] | undefined;
  /** Oldest revision that `since` and `listAt` can serve. */
  readonly oldest: number;
  /** Called for every event, in revision order; returns the unsubscribe function. */
  subscribe(fn: (event: CacheEvent) => void): () => void;
  /** Number of subscribers. */
  readonly watchers: number;
}

/** What the store alone may do to a collection. */
export interface MutableCollection extends Collection {
  /** Puts an entry in place without an event. */
  load(entry: Entry): void;
  apply(revision: number, name: string, namespace: string, next: Entry | undefined): CacheEvent | undefined;
  /** Gives an applied event to the subscribers. */
  publish(event: CacheEvent): void;
  /** Forgets history up to a revision. */
  expire(revision: number): void;
  /** Puts older history, which follows `after`, in front of its own. */
  recall(after: number, events: readonly CacheEvent[]): void;
}

export interface CollectionOptions {
  /** Revision at which it was filled. */
  readonly since: number;
  readonly onError: (error: unknown) => void;
  /** Whether a revision of the past stands for changes that were lost. */
  readonly isLost?: (revision: number) => boolean;
}

interface Slot {
  readonly key: string;
  entry: Entry;
}

interface Snapshot {
  readonly revision: number;
  readonly entries: readonly Entry[];
}

/** Bounds of the history of one collection. */
const MAX_EVENTS = 10_000;
const MAX_BYTES = 32 << 20;
/** So many states of the past are kept, for lists that are read in pages while somebody writes. */
const MAX_SNAPSHOTS = 4;

export function createCollection(group: string, plural: string, options: CollectionOptions): MutableCollection {
  const { since, onError, isLost = () => false } = options;
  const slots = new Map<string, Slot>();
  const all = createSorted<Slot>();
  const spaces = new Map<string, Sorted<Slot>>();
  const lists = new Map<string, readonly Entry[]>();
  const snapshots = new Map<string, Snapshot>();
  const subscribers = new Set<(event: CacheEvent) => void>();
  let history: CacheEvent[] = [];
  let oldest = since;
  let bytes = 0;

  function insert(entry: Entry): void {
    const slot = { key: keyOf(entry.namespace, entry.name), entry };
    slots.set(slot.key, slot);
    all.add(slot);
    if (!entry.namespace) return;
    let space = spaces.get(entry.namespace);
    if (!space) spaces.set(entry.namespace, (space = createSorted()));
    space.add(slot);
  }

  function remove(slot: Slot): void {
    slots.delete(slot.key);
    all.remove(slot);
    const space = spaces.get(slot.entry.namespace);
    if (!space) return;
    space.remove(slot);
    if (space.size === 0) spaces.delete(slot.entry.namespace);
  }

  function remember(event: CacheEvent): void {
    history.push(event);
    bytes += event.entry.bytes.length;
    if (history.length > MAX_EVENTS || bytes > MAX_BYTES) drop(Math.ceil(history.length / 8));
  }

  function drop(count: number): void {
    if (count === 0) return;
    for (let i = 0; i < count; i++) bytes -= history[i]!.entry.bytes.length;
    oldest = Math.max(oldest, history[count - 1]!.revision);
    history = history.slice(count);
    forgetSnapshots();
  }

  function forgetSnapshots(): void {
    for (const [key, { revision }] of snapshots) if (revision < oldest) snapshots.delete(key);
  }

  /** The state before the events from `at` on. */
  function undo(at: number, namespace: string): readonly Entry[] {
    const before = new Map<string, Entry | undefined>();
    for (let i = history.length - 1; i >= at; i--) {
      const { entry, previous } = history[i]!;
      if (!namespace || entry.namespace === namespace) before.set(keyOf(entry.namespace, entry.name), previous);
    }
    const slots = (namespace ? spaces.get(namespace) : all)?.items() ?? [];
    return overlay(slots, before);
  }

  /** Index of the first event after `revision`. */
  function firstAfter(revision: number): number {
    let low = 0;
    let high = history.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (history[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  return {
    group,
    plural,
    get count() { return slots.size; },
    get oldest() { return oldest; },
    get watchers() { return subscribers.size; },
    get: (name, namespace) => slots.get(keyOf(namespace, name))?.entry,
    list(namespace) {
      let list = lists.get(namespace);
      if (!list) lists.set(namespace, (list = (namespace ? spaces.get(namespace) : all)?.items().map((slot) => slot.entry) ?? []));
      return list;
    },
    listAt(revision, namespace) {
      if (revision < oldest || isLost(revision)) return undefined;
      const at = firstAfter(revision);
      if (at === history.length) return this.list(namespace);
      const key = `${revision} ${namespace}`;
      const kept = snapshots.get(key);
      if (kept) return kept.entries;
      const entries = undo(at, namespace);
      if (snapshots.size === MAX_SNAPSHOTS) snapshots.delete(snapshots.keys().next().value!);
      snapshots.set(key, { revision, entries });
      return entries;
    },
    since: (revision) => (revision < oldest || isLost(revision) ? undefined : history.slice(firstAfter(revision))),
    subscribe(fn) {
      subscribers.add(fn);
      return () => void subscribers.delete(fn);
    },
    load(entry) {
      lists.clear();
      insert(entry);
    },
    apply(revision, name, namespace, next) {
      const slot = slots.get(keyOf(namespace, name));
      const previous = slot?.entry;
      if (!next && !previous) return undefined;
      lists.delete("");
      lists.delete(namespace);
      if (!next) remove(slot!);
      else if (slot) slot.entry = next;
      else insert(next);
      const type = !next ? "DELETED" : previous ? "MODIFIED" : "ADDED";
      const event: CacheEvent = { type, revision, entry: next ?? withRevision(previous!, revision), previous };
      remember(event);
      return event;
    },
    publish(event) {
      for (const fn of [...subscribers]) {
        try {
          fn(event);
        } catch (error) {
          onError(error);
        }
      }
      event.previous?.release();
    },
    expire(revision) {
      drop(firstAfter(revision));
      oldest = Math.max(oldest, revision);
      forgetSnapshots();
    },
    recall(after, events) {
      // What followed the start is gone already: nothing can be put in front of that.
      if (oldest > since) return;
      let first = events.length;
      while (first > 0 && history.length + events.length - first < MAX_EVENTS && bytes < MAX_BYTES) bytes += events[--first]!.entry.bytes.length;
      history = [...events.slice(first), ...history];
      oldest = first > 0 ? events[first - 1]!.revision : after;
    },
  };
}

/** What is in the slots, but for the keys in `before`, which hold that or nothing; in key order. */
function overlay(slots: readonly Slot[], before: ReadonlyMap<string, Entry | undefined>): Entry[] {
  const entries: Entry[] = [];
  const others = [...before].sort(([a], [b]) => (a < b ? -1 : 1));
  let next = 0;
  const upTo = (key: string): void => {
    for (; next < others.length && others[next]![0] <= key; next++) if (others[next]![1]) entries.push(others[next]![1]!);
  };
  for (const { key, entry } of slots) {
    upTo(key);
    if (!before.has(key)) entries.push(entry);
  }
  upTo("\uffff");
  return entries;
}

const keyOf = (namespace: string, name: string): string => (namespace ? `${namespace}/${name}` : name);
