/** History from before this start, read from the datastore when somebody asks for it: informers resume over a restart. */
import type { Datastore, PastChange, Row } from "@k3s-p/plugin-api/slots";
import type { CacheEvent } from "./collection.ts";
import { type Entry, withRevision } from "./entry.ts";

/** Revisions that were skipped because somebody may have seen what was lost under them: those between the two. */
export interface Hole {
  readonly after: number;
  readonly until: number;
}

export interface Recalled {
  /** Revision that the events follow. */
  readonly after: number;
  readonly holes: readonly Hole[];
  /** By the place of the objects. */
  readonly events: ReadonlyMap<string, readonly CacheEvent[]>;
}

export interface RecallOptions {
  /** Revision at which the cache was filled; what happened later it has seen. */
  readonly until: number;
  readonly limit: number;
  /** Name of the collection that a key belongs to. */
  readonly placeOf: (key: string) => string;
  readonly toEntry: (row: Row) => Entry;
}

export async function recallHistory(datastore: Datastore, options: RecallOptions): Promise<Recalled> {
  const { until, limit, placeOf, toEntry } = options;
  const events = new Map<string, CacheEvent[]>();
  const latest = new Map<string, Entry>();
  const revisions: number[] = [];
  const take = (change: PastChange): void => {
    if (change.revision > until) return;
    revisions.push(change.revision);
    const event = eventOf(change, latest.get(change.key), toEntry);
    latest.set(change.key, event.entry);
    const place = placeOf(change.key);
    const list = events.get(place);
    if (list) list.push(event);
    else events.set(place, [event]);
  };
  const { after } = await datastore.history!(limit, (changes) => changes.forEach(take));
  return { after, holes: holesIn([after, ...revisions], until), events };
}

function eventOf(change: PastChange, last: Entry | undefined, toEntry: (row: Row) => Entry): CacheEvent {
  const { revision, key, value, createRevision, previous: row } = change;
  const previous = row && (last?.revision === row.modRevision ? last : toEntry(row));
  if (value) return { type: previous ? "MODIFIED" : "ADDED", revision, entry: toEntry({ key, value, createRevision, modRevision: revision }), previous };
  return { type: "DELETED", revision, entry: withRevision(previous!, revision), previous };
}

/** Each revision is followed by the next, unless there is a hole before that; the present one is sound in any case. */
function holesIn(revisions: readonly number[], until: number): Hole[] {
  const ends = [...revisions.slice(1).map((revision) => revision - 1), until];
  return ends.map((end, i) => ({ after: revisions[i]!, until: end })).filter((hole) => hole.until > hole.after + 1);
}
