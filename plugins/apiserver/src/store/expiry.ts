/** Objects that live for a limited time after they were last touched: Events, for an hour. */
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { Engine } from "../verbs/engine.ts";

export async function removeExpired(engine: Engine): Promise<void> {
  const now = engine.now().getTime();
  for (const def of engine.registry.list()) {
    if (def.ttlSeconds && !def.storedAs) await removeOld(engine, def, now - def.ttlSeconds * 1000);
  }
}

async function removeOld(engine: Engine, def: ResourceDef, before: number): Promise<void> {
  const old = engine.store.collection(def).list("").filter((entry) => touched(entry.object) < before);
  await Promise.all(old.map((entry) => engine.store.remove(def, entry)));
}

/** The latest time that the object speaks of. */
function touched(object: Obj): number {
  const times = [object.metadata?.creationTimestamp, object.lastTimestamp, object.eventTime, object.series?.lastObservedTime];
  return Math.max(...times.map((time) => (time ? Date.parse(time) : 0)));
}
