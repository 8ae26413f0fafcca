/**
 * What a controller has written and not yet seen in its informers. While something is outstanding for a key the
 * controller must not create or delete again; an expectation that is never met lapses after five minutes.
 */

export interface Expectations {
  expectCreations(key: string, count: number): void;
  expectDeletions(key: string, uids: readonly string[]): void;
  /** A create was seen, or failed. */
  creationObserved(key: string): void;
  deletionObserved(key: string, uid: string): void;
  satisfied(key: string): boolean;
  forget(key: string): void;
}

const LAPSE_MS = 5 * 60_000;

export function createExpectations(now: () => Date): Expectations {
  const entries = new Map<string, { creations: number; deletions: Set<string>; since: number }>();

  const entry = (key: string) => {
    const before = entries.get(key);
    const made = before ?? { creations: 0, deletions: new Set<string>(), since: 0 };
    made.since = now().getTime();
    if (!before) entries.set(key, made);
    return made;
  };

  return {
    expectCreations(key, count) {
      if (count > 0) entry(key).creations += count;
    },
    expectDeletions(key, uids) {
      if (uids.length === 0) return;
      const { deletions } = entry(key);
      for (const uid of uids) deletions.add(uid);
    },
    creationObserved(key) {
      const known = entries.get(key);
      if (known && known.creations > 0) known.creations--;
    },
    deletionObserved(key, uid) {
      entries.get(key)?.deletions.delete(uid);
    },
    satisfied(key) {
      const known = entries.get(key);
      if (!known) return true;
      const met = known.creations <= 0 && known.deletions.size === 0;
      if (!met && now().getTime() - known.since < LAPSE_MS) return false;
      entries.delete(key);
      return true;
    },
    forget(key) {
      entries.delete(key);
    },
  };
}
