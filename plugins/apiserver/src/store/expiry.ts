/**
 * Objects that live for a limited time after their last write: Events, for an hour. The time is measured as it passes, so
 * that a clock that is set back or forth neither keeps nor drops them; only what was written before this start is judged by
 * the times that it speaks of.
 */
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { Engine } from "../verbs/engine.ts";
import type { Entry } from "./entry.ts";

interface Mark {
  /** Milliseconds of running time. */
  readonly at: number;
  /** Revision of the store then: what has it or a lower one has not been written since. */
  readonly revision: number;
}

/** Returns the function to call from time to time. `elapsed` is a clock that nobody sets. */
export function createExpiry(engine: Engine, elapsed: () => number = () => performance.now()): () => Promise<void> {
  const start: Mark = { at: elapsed(), revision: engine.store.revision };
  let marks: Mark[] = [start];

  async function removeOld(def: ResourceDef, ttl: number): Promise<void> {
    const unwritten = marks.findLast((mark) => mark.at <= elapsed() - ttl)?.revision ?? 0;
    const before = engine.now().getTime() - ttl;
    const isOld = (entry: Entry): boolean =>
      entry.revision <= unwritten || (entry.revision <= start.revision && touched(entry.object) < before);
    await Promise.all(engine.store.collection(def).list("").filter(isOld).map((entry) => engine.store.remove(def, entry)));
  }

  return async () => {
    const limited = engine.registry.list().filter((def) => def.ttlSeconds && !def.storedAs);
    for (const def of limited) await removeOld(def, def.ttlSeconds! * 1000);
    const longest = Math.max(0, ...limited.map((def) => def.ttlSeconds! * 1000));
    const oldest = marks.findLastIndex((mark) => mark.at <= elapsed() - longest);
    marks = [...marks.slice(Math.max(0, oldest)), { at: elapsed(), revision: engine.store.revision }];
  };
}

/** The latest time that the object speaks of. */
function touched(object: Obj): number {
  const times = [object.metadata?.creationTimestamp, object.lastTimestamp, object.eventTime, object.series?.lastObservedTime];
  return Math.max(...times.map((time) => (time ? Date.parse(time) : 0)));
}
