/** The object cache over a datastore: writes go to the datastore, and come back through its watch into the cache. */
import type { Change, Datastore, Row } from "@k3s-p/plugin-api/slots";
import { createSealer, type ResourceName, type Sealer } from "../encryption/sealer.ts";
import type { CacheView, ResourceDef } from "../resources/types.ts";
import { type CacheEvent, type Collection, createCollection, type MutableCollection } from "./collection.ts";
import { type Canonical, type Entry, rawBytes, rawToEntry, toEntry, withRevision } from "./entry.ts";
import { type Hole, recallHistory } from "./recall.ts";

export type StoreResult =
  | { readonly ok: true; readonly entry: Entry }
  /** Somebody else was faster; the cache shows the state that won. */
  | { readonly ok: false };

export interface Store extends CacheView {
  /** Last revision that the cache shows. */
  readonly revision: number;
  collection(def: Pick<ResourceDef, "group" | "plural">): Collection;
  /** Every collection that holds or held objects. */
  collections(): readonly Collection[];
  /** `expect` is the entry to replace, undefined = must not exist. Resolves when durable and visible. */
  put(def: ResourceDef, namespace: string, name: string, next: Canonical, expect: Entry | undefined): Promise<StoreResult>;
  /** Resolves with the last state under the revision of the deletion. */
  remove(def: ResourceDef, entry: Entry): Promise<StoreResult>;
  /** Whether the object lies in the datastore otherwise than it would be written now, so that writing it again is of use. */
  isStale(def: ResourceName, entry: Entry): boolean;
  /** Resolves when the cache shows a revision; false after `timeout` milliseconds. */
  reached(revision: number, timeout: number): Promise<boolean>;
  /**
   * Reads history from before this start if a revision needs it and it has not been read; undefined when there is nothing
   * to wait for. It reaches back as far as the datastore remembers, within bounds.
   */
  recall(revision: number): Promise<void> | undefined;
  /**
   * Writes every object of a resource again as it is, so that all are sealed as they would be now, and drops what the
   * datastore has of before.
   */
  reseal(resource: ResourceName): Promise<void>;
  /** Forgets history up to a revision, here and in the datastore. */
  compact(revision: number): Promise<void>;
  close(): void;
}

const ROOT = "/registry/";
/** Changes from before the start that are read when a watch resumes. */
const MAX_RECALLED = 10_000;
/** Writes in flight while a resource is sealed anew; they share commits. */
const RESEAL_WRITERS = 32;
/** Own writes whose object is at hand without parsing, as whoever follows them reads them soon. */
const MAX_UNREAD = 32;

export async function openStore(datastore: Datastore, onError: (error: unknown) => void = () => {}, sealer: Sealer = createSealer()): Promise<Store> {
  const collections = new Map<string, MutableCollection>();
  /** Writes on their way, by their value's identity, so that nobody parses what this process wrote. */
  const proposed = new Map<Uint8Array, { readonly canonical: Canonical; entry?: Entry }>();
  const waiting = new Set<{ readonly revision: number; readonly resolve: () => void }>();
  const queue: Change[] = [];
  /** Keys of values that are sealed otherwise than they would be now. */
  const stale = new Set<string>();
  let draining = false;
  const unread: Entry[] = [];
  let writes = 0;

  const loaded: { readonly key: Key; readonly entry: Entry }[] = [];
  const { revision: start } = await scan(datastore, (row) => {
    const key = parseKey(row.key);
    if (sealer.isStale(key, row.value)) stale.add(row.key);
    loaded.push({ key, entry: rawToEntry(key.namespace, key.name, row.modRevision, sealer.open(key, row.key, row.value)) });
  });
  let revision = start;
  let historyStart = start;
  let holes: readonly Hole[] = [];
  let recalling: Promise<void> | undefined;
  let isRecalled = !datastore.history;
  const isLost = (at: number): boolean => holes.some((hole) => at > hole.after && at < hole.until);
  const at = (group: string, plural: string): MutableCollection => {
    const key = placeOf(group, plural);
    let found = collections.get(key);
    if (!found) collections.set(key, (found = createCollection(group, plural, { since: historyStart, isLost, onError })));
    return found;
  };
  for (const { key: { group, plural }, entry } of loaded) at(group, plural).load(entry);
  loaded.length = 0;

  /** Handlers may write; what that brings waits until the event at hand has reached everybody. */
  function receive(changes: readonly Change[]): void {
    for (const change of changes) queue.push(change);
    if (draining) return;
    draining = true;
    for (let i = 0; i < queue.length; i++) show(queue[i]!);
    queue.length = 0;
    draining = false;
    for (const waiter of [...waiting]) if (waiter.revision <= revision) waiter.resolve();
  }

  function show(change: Change): void {
    const key = parseKey(change.key);
    const collection = at(key.group, key.plural);
    const event = collection.apply(change.revision, key.name, key.namespace, entryOf(change, key));
    revision = change.revision;
    if (change.value && sealer.isStale(key, change.value)) stale.add(change.key);
    else stale.delete(change.key);
    if (!event) return;
    collection.publish(event);
  }

  function entryOf(change: Change, key: Key): Entry | undefined {
    if (!change.value) return undefined;
    const { namespace, name } = key;
    const own = proposed.get(change.value);
    if (!own) return rawToEntry(namespace, name, change.revision, sealer.open(key, change.key, change.value));
    return (own.entry = written(toEntry(namespace, name, change.revision, own.canonical)));
  }

  /** Lets go of the object written `MAX_UNREAD` writes ago if nobody has read it by now. */
  function written(entry: Entry): Entry {
    unread[writes % MAX_UNREAD]?.releaseUnread();
    unread[writes++ % MAX_UNREAD] = entry;
    return entry;
  }

  async function recall(): Promise<void> {
    const recalled = await recallHistory(datastore, {
      until: start, limit: MAX_RECALLED,
      placeOf(text) {
        const { group, plural } = parseKey(text);
        at(group, plural);
        return placeOf(group, plural);
      },
      toEntry(row) {
        const key = parseKey(row.key);
        const { namespace, name } = key;
        const live = at(key.group, key.plural).get(name, namespace);
        return live?.revision === row.modRevision ? live : rawToEntry(namespace, name, row.modRevision, sealer.open(key, row.key, row.value));
      },
    });
    for (const [place, collection] of collections) collection.recall(recalled.after, recalled.events.get(place) ?? []);
    holes = recalled.holes;
    historyStart = recalled.after;
  }

  /** Until it is written, by this or by somebody else who came first; or gone. */
  async function resealOne(resource: ResourceName, namespace: string, name: string): Promise<void> {
    const key = keyOf(resource, namespace, name);
    for (let isDone = false; !isDone;) {
      const entry = at(resource.group, resource.plural).get(name, namespace);
      if (!entry) return;
      isDone = (await datastore.write({ key, value: sealer.seal(resource, key, rawBytes(entry)), expect: entry.revision })).ok;
    }
  }

  const stop = await datastore.watch(start, receive);

  return {
    get revision() { return revision; },
    collection: ({ group, plural }) => at(group, plural),
    collections: () => [...collections.values()],
    get: (group, plural, name, namespace = "") => at(group, plural).get(name, namespace)?.object,
    list: (group, plural, namespace = "") => at(group, plural).list(namespace).map((entry) => entry.object),
    async put(def, namespace, name, next, expect) {
      const write = { canonical: next } as { readonly canonical: Canonical; entry?: Entry };
      const key = keyOf(def, namespace, name);
      const value = sealer.seal(def, key, next.raw);
      proposed.set(value, write);
      try {
        const result = await datastore.write({
          key, value, expect: expect?.revision ?? 0,
          ...(def.tier && { tier: def.tier }),
        });
        if (!result.ok) return { ok: false };
        return { ok: true, entry: write.entry ?? at(def.group, def.plural).get(name, namespace)! };
      } finally {
        proposed.delete(value);
      }
    },
    async remove(def, entry) {
      const key = keyOf(def, entry.namespace, entry.name);
      const result = await datastore.write({ key, value: null, expect: entry.revision, ...(def.tier && { tier: def.tier }) });
      if (!result.ok) return { ok: false };
      const event = at(def.group, def.plural).since(result.revision - 1)?.find(({ revision }) => revision === result.revision);
      return { ok: true, entry: event?.entry ?? withRevision(entry, result.revision) };
    },
    isStale: (def, entry) => stale.size > 0 && stale.has(keyOf(def, entry.namespace, entry.name)),
    reached(wanted, timeout) {
      if (wanted <= revision) return Promise.resolve(true);
      return new Promise((resolve) => {
        const waiter = { revision: wanted, resolve: () => done(true) };
        const timer = setTimeout(() => done(false), timeout);
        const done = (ok: boolean): void => {
          clearTimeout(timer);
          waiting.delete(waiter);
          resolve(ok);
        };
        waiting.add(waiter);
      });
    },
    recall(wanted) {
      if (isRecalled || wanted >= start) return undefined;
      return (recalling ??= recall().catch(onError).finally(() => (isRecalled = true)));
    },
    async reseal(resource) {
      // Reads wait for what was accepted before them, so nothing that was sealed earlier is still to come.
      await datastore.range(ROOT.slice(0, -1) + "-");
      const collection = at(resource.group, resource.plural);
      await inParallel(RESEAL_WRITERS, [...collection.list("")], ({ namespace, name }) => resealOne(resource, namespace, name));
      await datastore.compact(datastore.revision(), true);
    },
    async compact(upTo) {
      for (const collection of collections.values()) collection.expire(upTo);
      await datastore.compact(upTo);
    },
    close: stop,
  };
}

const placeOf = (group: string, plural: string): string => `${group || "core"}/${plural}`;

async function inParallel<T>(count: number, items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: count }, async () => {
    while (next < items.length) await work(items[next++]!);
  }));
}

function keyOf(def: ResourceName, namespace: string, name: string): string {
  return `${ROOT}${placeOf(def.group, def.plural)}/${namespace ? `${namespace}/` : ""}${name}`;
}

/** Every stored row, in parts where the datastore can. */
async function scan(datastore: Datastore, onRow: (row: Row) => void): Promise<{ readonly revision: number }> {
  if (datastore.scan) return datastore.scan(ROOT, (rows) => rows.forEach(onRow));
  const { revision, rows } = await datastore.range(ROOT);
  rows.forEach(onRow);
  return { revision };
}

interface Key {
  readonly group: string;
  readonly plural: string;
  readonly namespace: string;
  readonly name: string;
}

function parseKey(key: string): Key {
  const [, , group = "", plural = "", first = "", second] = key.split("/");
  return {
    group: group === "core" ? "" : group, plural,
    namespace: second === undefined ? "" : first, name: second ?? first,
  };
}

export type { CacheEvent, Collection, Entry };
